"""The command line's verbs for integrity scans and tickets; the exit status is for pipelines."""

from __future__ import annotations

import json

import pytest

from tests.commands import commanded


@pytest.fixture
def tidemark(configured, capsys, monkeypatch, tmp_path):
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as run:
        yield run


@pytest.fixture
def tree(configured, tmp_path, tidemark):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "main.py").write_text("import os\nprint(1)\n")
    configured(HXO_SOURCE_DIR=str(folder))
    return folder


def test_a_scan_that_finds_nothing_grave_ends_with_zero_and_one_that_does_with_one(tidemark, tree):
    status, out, err = tidemark("arie", "scan", "--policy", "SAFE_EDIT")
    assert (status, "os is imported and not used" in out, "--apply --confirm" in err) == (0, True, True)
    (tree / "main.py").write_text("def f(:\n")
    status, out, err = tidemark("arie", "scan")
    assert (status, "cannot be read" in out, "1 grave findings" in err) == (1, True, True)
    assert tidemark("arie", "report")[0] == 1


def test_a_fix_is_made_and_taken_back(tidemark, tree):
    before = (tree / "main.py").read_bytes()
    status, out, _ = tidemark("arie", "scan", "--policy", "SAFE_EDIT", "--apply", "--json")
    assert (status, (tree / "main.py").read_text()) == (0, "print(1)\n")
    patch = json.loads(out)["patches"][0]["id"]
    assert tidemark("arie", "rollback", patch)[0] == 0
    assert (tree / "main.py").read_bytes() == before
    assert tidemark("arie", "rollback", patch)[0] == 5


def test_tickets_are_listed_shown_and_settled(tidemark, sql):
    sql("insert into tidemark.tickets (fingerprint, kind, title, message) values ('f', 'deploy.trigger', 'It failed', 'm')")
    status, out, _ = tidemark("tickets", "list")
    assert (status, out.splitlines()[1].split("\t")[1:4]) == (0, ["open", "1", "deploy.trigger"])
    number = out.splitlines()[1].split("\t")[0]
    assert json.loads(tidemark("tickets", "show", number, "--json")[1])["title"] == "It failed"
    assert tidemark("tickets", "acknowledge", number, "--note", "seen")[0] == 0
    assert tidemark("tickets", "resolve", number)[0] == 0
    assert tidemark("tickets", "resolve", number)[0] == 5
    assert tidemark("tickets", "show", "999999")[0] == 3
    assert json.loads(tidemark("tickets", "list", "--status", "resolved", "--json")[1])[0]["note"] == "seen"
