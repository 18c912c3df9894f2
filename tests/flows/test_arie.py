"""ARIE: scans, the fixes that a policy allows, and their way back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.clients import audits
from common.flows import arie
from common.outgoing import source_edits
from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.deploys import a_deployment
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

Sql = Callable[..., list[list[Any]]]
FILES = {
    "app/__init__.py": "",
    "app/__main__.py": "import datetime\nimport json\n\nfrom app import used\n\nprint(used.f(), datetime.datetime.utcnow())\n",
    "app/used.py": "import os\nimport third_party\n\n\ndef f():\n    return 1\n",
    "app/dead.py": "x = 'grüße'\n",
    "readme.md": "nothing\n",
}
NOBODY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def tree(configured: Any) -> Iterator[Path]:
    """A source directory with something wrong in it, where other users may look as well."""
    folder = Path(tempfile.mkdtemp(prefix="arie-"))
    folder.chmod(0o755)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "app/used.py").chmod(0o750)
    configured(HXO_SOURCE_DIR=str(folder))
    yield folder
    shutil.rmtree(folder)


def ask(method: str, path: str, body: Any = None) -> Reply:
    path, _, query = path.partition("?")
    sent = b"" if body is None else json.dumps(body).encode()
    return wsgi(Request(method, path, query, (("authorization", f"Bearer {OWNER}"),), sent), gateway.target_of(method, path))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and its mode."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def applied(policy: str = "SAFE_EDIT", **more: Any) -> dict[str, Any]:
    reply = ask("POST", "/api/arie/run", {"policy": policy, "apply": True, **more})
    assert reply.status == 200, reply.body
    return reply.json


@pytest.mark.parametrize("path", ["/api/arie/run", "/api/arie/scan"])
def test_a_scan_says_what_it_finds_and_changes_nothing(path, tree):
    before = state(tree)
    told = ask("POST", path).json
    assert (told["policy"], told["dry_run"], told["fixes_applied"], told["patches"]) == ("LINT_ONLY", True, 0, [])
    assert told["findings_by_severity"] == {"medium": 1, "low": 4}
    assert told["findings_by_category"] == {"deprecated": 1, "unused": 3, "dead": 1}
    assert told["findings_count"] == len(told["findings"]) == 5
    assert told["findings"][0].keys() == {
        "id", "analyzer", "severity", "category", "file_path", "line_number", "description", "code_snippet", "suggested_fix", "metadata",
    }  # fmt: skip
    assert told["certification_status"] == "not_certified"
    assert state(tree) == before
    report = ask("GET", "/api/arie/report").json
    assert (report["run_id"], report["findings"], report["requested_by"]) == (told["run_id"], told["findings"], "admiral")


def test_a_dry_run_shows_what_would_be_done(tree):
    before = state(tree)
    plan = ask("POST", "/api/arie/run", {"policy": "SAFE_EDIT"}).json["plan"]
    assert [each["path"] for each in plan["actions"]] == ["app/__main__.py", "app/used.py"]
    assert plan["requires_approval"] is False
    assert "-import json" in plan["diff"]
    assert state(tree) == before


@pytest.mark.parametrize(
    ("policy", "changed"),
    [
        ("LINT_ONLY", []),
        ("SAFE_EDIT", ["app/__main__.py", "app/used.py"]),
        ("REFACTOR", ["app/__main__.py", "app/used.py"]),
        ("ARCHIVE", ["app/dead.py"]),
    ],
)
def test_what_was_applied_and_taken_back_is_the_tree_that_was_byte_for_byte(policy, changed, tree, sql: Sql):
    before = state(tree)
    plan = ask("POST", "/api/arie/run", {"policy": policy}).json["plan"]
    told = applied(policy, confirm=plan["id"])
    assert sorted(path for path in before if state(tree).get(path) != before[path]) == changed
    if not changed:
        assert told["patches"] == []
        return
    (patch,) = told["patches"]
    assert (patch["files_modified"], patch["plan_id"], patch["rollback_available"], patch["certified"]) == (
        changed,
        plan["id"],
        True,
        False,
    )
    assert told["fixes_applied"] == len(plan["findings"])
    back = ask("POST", "/api/arie/rollback", {"patch_id": patch["id"]}).json
    assert (back["success"], back["restored_files"], back["error"]) == (True, changed, None)
    assert state(tree) == before
    assert sql("select state, rolled_back_by from tidemark.arie_patches") == [["rolled_back", "admiral"]]
    again = ask("POST", "/api/arie/rollback", {"patch_id": patch["id"]})
    assert (again.status, "taken back by admiral" in again.json["detail"]) == (409, True)


def test_the_code_does_the_same_after_a_safe_edit(tree):
    applied()
    text = (tree / "app/__main__.py").read_text()
    assert text == (
        "import datetime\n\nfrom app import used\n\nprint(used.f(), datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None))\n"
    )
    assert (tree / "app/used.py").read_text() == "import third_party\n\n\ndef f():\n    return 1\n"
    assert ask("POST", "/api/arie/run", {"policy": "SAFE_EDIT"}).json["plan"]["actions"] == []


@pytest.mark.parametrize("policy", ["REFACTOR", "ARCHIVE"])
def test_what_changes_the_code_is_applied_only_by_whoever_has_seen_the_plan(policy, tree):
    before = state(tree)
    for confirm in (None, "f" * 32):
        reply = ask("POST", "/api/arie/run", {"policy": policy, "apply": True, "confirm": confirm})
        assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (412, True)
    plan = reply.json["plan"]
    (tree / "app/dead.py").write_text("y = 2\n")
    (tree / "app/used.py").write_text("import third_party\n")
    assert ask("POST", "/api/arie/run", {"policy": policy, "apply": True, "confirm": plan["id"]}).status == 412
    assert {path for path in before if state(tree)[path] != before[path]} == {"app/dead.py", "app/used.py"}


def test_a_file_that_has_changed_since_is_not_taken_back_but_by_force(tree):
    patch = applied()["patches"][0]["id"]
    (tree / "app/used.py").write_text("somebody's work\n")
    changed = state(tree)
    refused = ask("POST", "/api/arie/rollback", {"patch_id": patch})
    assert (refused.status, refused.json["paths"]) == (409, ["app/used.py"])
    assert state(tree) == changed
    assert ask("POST", "/api/arie/rollback", {"patch_id": patch, "force": True}).status == 200
    assert {path: content.decode() for path, (content, _) in state(tree).items()} == FILES


def test_a_file_that_changes_between_the_look_and_the_edit_is_not_touched(tree, monkeypatch: pytest.MonkeyPatch, sql: Sql):
    real = source_edits.mode

    def meanwhile(path: str) -> int:
        (tree / "app/used.py").write_text("somebody's work\n")
        return real(path)

    monkeypatch.setattr(source_edits, "mode", meanwhile)
    reply = ask("POST", "/api/arie/run", {"policy": "SAFE_EDIT", "apply": True})
    assert (reply.status, reply.json["paths"]) == (409, ["app/used.py"])
    assert (tree / "app/__main__.py").read_text() == FILES["app/__main__.py"]
    assert sql("select state from tidemark.arie_patches") == [["rolled_back"]]


def test_a_patch_whose_maker_died_half_way_is_taken_back_whole(tree, sql: Sql):
    before = state(tree)
    patch = applied()["patches"][0]["id"]
    (tree / "app/used.py").write_bytes(before["app/used.py"][0])  # as if it had died before this one
    (tree / "app/used.py").chmod(0o750)
    sql("update tidemark.arie_patches set state = 'intended', applied_at = null")
    assert ask("POST", "/api/arie/rollback", {"patch_id": patch}).json["restored_files"] == ["app/__main__.py"]
    assert state(tree) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody who may not write")
def test_on_a_tree_that_cannot_be_written_to_apply_says_so_and_nothing_changes(tree, sql: Sql):
    (tree / "app/used.py").chmod(0o755)
    before, plan = state(tree), _archive_plan()
    os.seteuid(65534)
    try:
        reply = ask("POST", "/api/arie/run", {"policy": "ARCHIVE", "apply": True, "confirm": plan})
    finally:
        os.seteuid(0)
    assert (reply.status, "cannot be written to" in reply.json["detail"]) == (409, True)
    assert state(tree) == before
    assert sql("select state from tidemark.arie_patches") == [["rolled_back"]]


def _archive_plan() -> str:
    return str(ask("POST", "/api/arie/run", {"policy": "ARCHIVE"}).json["plan"]["id"])


def test_a_write_that_fails_in_the_middle_takes_back_what_was_written(tree, monkeypatch: pytest.MonkeyPatch):
    before = state(tree)
    real, made = source_edits._write, []

    def full(path: str, *rest: Any) -> None:
        made.append(path)
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(source_edits, "_write", full)
    assert ask("POST", "/api/arie/run", {"policy": "SAFE_EDIT", "apply": True}).status == 409
    assert made == ["app/__main__.py", "app/used.py", "app/__main__.py"]
    assert state(tree) == before


def test_a_link_out_of_the_tree_is_never_written_through(tree, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text("mine\n")
    (tree / "app/link.py").symlink_to(outside)
    with pytest.raises(arie.Conflict):
        source_edits.apply([source_edits.Edit("app/link.py", 0o644, b"mine\n", b"yours\n")])
    with pytest.raises(arie.Conflict):
        source_edits.apply([source_edits.Edit("../outside.py", 0o644, b"mine\n", b"yours\n")])
    assert outside.read_text() == "mine\n"
    assert ask("POST", "/api/arie/run").status == 422


def test_two_do_not_write_at_once(tree):
    done: list[int] = []
    with arie._alone():
        other = threading.Thread(
            target=lambda: done.append(ask("POST", "/api/arie/run", {"policy": "SAFE_EDIT", "apply": True}).status)
        )
        other.start()
        other.join(30)
    assert done == [409]


def test_only_what_lies_below_the_paths_is_told_of_and_changed(tree):
    told = applied(paths=["app/used.py"])
    assert {each["file_path"] for each in told["findings"]} == {"app/used.py"}
    assert told["patches"][0]["files_modified"] == ["app/used.py"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"policy": "DESTROY"}, "/policy"),
        ({"apply": "yes"}, "/apply"),
        ({"apply": True, "dry_run": True}, "/dry_run"),
        ({"paths": ["../etc"]}, "/paths"),
        ({"paths": ["/etc"]}, "/paths"),
        ({"paths": "app"}, "/paths"),
        ({"confirm": 5}, "/confirm"),
        ({"colour": 1}, "/colour"),
    ],
)
def test_a_scan_that_cannot_be_run_as_asked_is_refused(body, pointer, tree):
    reply = ask("POST", "/api/arie/run", body)
    assert (reply.status, pointer in [each["pointer"] for each in reply.json["errors"]]) == (422, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"patch_id": "mine"}, 422),
        ({"patch_id": NOBODY, "force": 1}, 422),
        ({"patch_id": NOBODY}, 404),
        ({"patch": NOBODY}, 422),
    ],
)
def test_a_rollback_that_cannot_be_is_refused(body, status, tree):
    reply = ask("POST", "/api/arie/rollback", body)
    assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (status, True)


def test_a_patch_of_another_tree_is_not_taken_back_here(tree, configured, tmp_path):
    patch = applied()["patches"][0]["id"]
    configured(HXO_SOURCE_DIR=str(tmp_path))
    reply = ask("POST", "/api/arie/rollback", {"patch_id": patch})
    assert (reply.status, "not the source directory here" in reply.json["detail"]) == (409, True)


def test_without_a_scan_there_is_no_report(database_url):
    assert ask("GET", "/api/arie/report").status == 404
    assert ask("GET", f"/api/arie/report?run={NOBODY}").status == 404
    assert ask("GET", "/api/arie/report?run=mine").status == 422


# After a deploy ----------------------------------------------------------------------------------------------------


def test_after_a_deploy_the_scan_is_kept_with_it_and_told_of(tree, sql: Sql):
    made = a_deployment(sql)
    told = arie.after_deploy(made.id)
    assert (told["findings_count"], told["findings_by_severity"]) == (5, {"medium": 1, "low": 4})
    assert sql("select deployment::text, dry_run, requested_by from tidemark.arie_runs") == [[made.id, True, "tidemark"]]
    assert sql("select topic, correlation_id, payload ->> 'action' from tidemark.notices") == [["hxo.audit", made.id, "arie.run"]]
    assert sql("select count(*) from tidemark.tickets") == [[0]]
    assert ask("GET", "/api/arie/report").json["deployment_id"] == made.id


def test_what_is_grave_after_a_deploy_makes_one_ticket_however_often_it_is_found(tree, sql: Sql, configured):
    made = a_deployment(sql)
    (tree / "app/used.py").write_text("def f(:\n")
    for _ in range(2):
        arie.after_deploy(made.id)
    assert sql("select kind, count, deployment::text from tidemark.tickets") == [["system.arie", 2, made.id]]
    configured(STABILIZER_ENABLED="false", HXO_SOURCE_DIR=str(tree))
    arie.after_deploy(made.id)
    assert sql("select count from tidemark.tickets") == [[2]]


def test_with_the_audit_switched_off_nothing_is_scanned(tree, sql: Sql, configured):
    configured(HXO_AUTO_AUDIT_AFTER_DEPLOY="false")
    assert arie.after_deploy(a_deployment(sql).id) is None
    assert sql("select count(*) from tidemark.arie_runs") == [[0]]


def test_a_scan_that_breaks_after_a_deploy_is_a_ticket_and_the_deploy_goes_on(tree, sql: Sql, monkeypatch: pytest.MonkeyPatch):
    def broken() -> Any:
        raise RuntimeError

    monkeypatch.setattr(audits, "analyzers", broken)
    made = a_deployment(sql)
    assert arie.after_deploy(made.id) is None
    assert sql("select kind, title, deployment::text from tidemark.tickets") == [
        ["system.arie", "The scan after a deploy broke", made.id]
    ]
