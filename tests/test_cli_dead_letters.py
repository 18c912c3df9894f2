"""The command line's verbs for what ended badly."""

from __future__ import annotations

import json

import pytest

from common.flows import process
from tests.commands import commanded
from tests.flows.test_dead_letters import CURE, TRIGGER
from tests.make import an_item, send

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def tidemark(configured, capsys, monkeypatch, tmp_path):
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as run:
        yield run


@pytest.fixture
def broken(tidemark, sql):
    """Twelve dead letters of one cause, and a quarantined event."""
    sql(TRIGGER)
    for n in range(12):
        send("products", an_item(f"bad{n}", name=f"Bad {n}"))
    send("products", an_item("q", rate="much"))
    process.process()
    return [str(row[0]) for row in sql("select id from tds_dead_letter_queue order by created_at, id")]


def facts(out):
    return dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)


def test_causes_are_listed_and_letters_of_one_shown(tidemark, broken):
    status, out, _ = tidemark("dead-letters", "causes")
    header, first, second = out.splitlines()
    assert (status, header.split("\t")[:3]) == (0, ["fingerprint", "count", "kind"])
    fingerprint, count, kind = first.split("\t")[:3]
    assert (count, kind, second.split("\t")[1:3]) == ("12", "dead_letter", ["1", "quarantine"])
    assert len(json.loads(tidemark("dead-letters", "list", "--fingerprint", fingerprint, "--json")[1])) == 12
    assert len(tidemark("dead-letters", "list", "--kind", "quarantine")[1].splitlines()) == 2
    assert json.loads(tidemark("dead-letters", "causes", "--entity", "product", "--json")[1])[0]["fingerprint"] == fingerprint
    status, out, _ = tidemark("dead-letters", "show", broken[0])
    assert (status, facts(out)["fingerprint"], facts(out)["is_open"]) == (0, fingerprint, "yes")
    assert json.loads(tidemark("dead-letters", "show", broken[0], "--json")[1])["payload"]["item"]["item_id"] == "bad0"


def test_a_replay_is_looked_at_first_then_done_and_watched(tidemark, broken, sql):
    sql(CURE)
    status, out, err = tidemark("dead-letters", "replay", "--kind", "dead_letter")
    assert (status, facts(out)["count"]) == (0, "12")
    confirm = facts(out)["confirm"]
    assert f"--confirm {confirm}" in err
    assert sql("select count(*) from tidemark.replays") == [[0]]
    status, out, err = tidemark("dead-letters", "replay", "--kind", "dead_letter", "--confirm", confirm)
    assert (status, facts(out)["state"]) == (0, "running")
    replay = facts(out)["id"]
    assert f"tidemark dead-letters replays {replay}" in err
    process.process()
    status, out, _ = tidemark("dead-letters", "replays", replay)
    assert (status, facts(out)["state"]) == (0, "done")
    assert [line.split("\t")[:3] for line in out.splitlines()[-3:]] == [["1", "1", "1"], ["2", "10", "10"], ["3", "1", "1"]]
    assert json.loads(tidemark("dead-letters", "replays", "--json")[1])[0]["total"] == 12
    assert replay in tidemark("dead-letters", "replays")[1]


def test_a_replay_that_stopped_is_a_failure_to_who_asks(tidemark, broken):
    status, out, _ = tidemark("dead-letters", "replay", broken[0], broken[1], "--yes", "--json")
    replay = json.loads(out)["id"]
    process.process()
    status, out, err = tidemark("dead-letters", "replays", replay)
    assert (status, facts(out)["state"], facts(out)["left"]) == (1, "stopped", "1")
    assert "for the same cause" in err


def test_a_confirmation_that_is_stale_is_a_conflict(tidemark, broken):
    status, _, err = tidemark("dead-letters", "replay", "--kind", "dead_letter", "--confirm", "0" * 32)
    assert (status, "other letters now than in the dry run" in err) == (5, True)


def test_one_is_edited_and_its_differences_are_shown(tidemark, broken, sql, tmp_path):
    words = ("dead-letters", "edit", broken[0], "--patch", '{"item": {"name": "Good"}}', "--reason", "typo")
    status, out, err = tidemark(*words, "--dry-run")
    assert (status, out.splitlines()[1], err) == (0, "/item/name\tBad 0\tGood", "Nothing was done.\n")
    status, out, err = tidemark(*words)
    assert (status, "waits to be applied" in err) == (0, True)
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(an_item("bad1", name="Good as well")))
    assert tidemark("dead-letters", "edit", broken[1], "--payload", str(file), "--reason", "typo", "--json")[0] == 0
    process.process()
    assert sql("select name from erp.products order by 1") == [["Good"], ["Good as well"]]
    assert tidemark(*words)[0] == 5


def test_letters_are_given_up(tidemark, broken, sql):
    words = ("dead-letters", "discard", "--kind", "dead_letter", "--reason", "test data")
    assert facts(tidemark(*words)[1])["count"] == "12"
    assert sql("select count(*) from tds_dead_letter_queue where resolved") == [[0]]
    status, out, _ = tidemark(*words, "--yes")
    assert (status, facts(out)["discarded"]) == (0, "12")
    assert sql("select distinct resolved_by, resolution_notes from tds_dead_letter_queue") == [["admiral", "discarded: test data"]]


TROUBLE = [
    (("dead-letters", "show", MISSING), 3, "tidemark dead-letters list"),
    (("dead-letters", "show", "not-an-id"), 2, "is not an id"),
    (("dead-letters", "retry", MISSING), 3, "tidemark dead-letters list"),
    (("dead-letters", "replay"), 2, "Say which are meant"),
    (("dead-letters", "replay", "--kind", "unicorn"), 2, "/filter/kind"),
    (("dead-letters", "replay", MISSING), 3, "no open dead letter"),
    (("dead-letters", "replays", MISSING), 3, "tidemark dead-letters replays"),
    (("dead-letters", "discard", "--kind", "quarantine"), 2, "reason"),
    (("dead-letters", "edit", MISSING, "--reason", "x"), 2, "/payload"),
    (("dead-letters", "edit", MISSING, "--reason", "x", "--patch", "{"), 2, "is not JSON"),
    (("dead-letters", "edit", MISSING, "--reason", "x", "--patch", "{}"), 3, "tidemark dead-letters list"),
    (("dead-letters", "edit", MISSING, "--reason", "x", "--payload", "/nowhere"), 2, "cannot be read"),
    (("dead-letters", "list", "--entity", "spaceship"), 2, "must be one of"),
]


def test_trouble_has_a_cause_a_next_step_and_a_status_of_its_kind(tidemark):
    for words, status, said in TROUBLE:
        found, out, err = tidemark(*words)
        assert (words, found, out) == (words, status, "")
        assert said in err, (words, err)
        assert "Traceback" not in err, words
