"""Integrity scans of the deployed source tree; the exit status says whether something grave was found, for pipelines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url, group, unknown

arie = group("Integrity scans of the source tree, and their fixes.")
COLUMNS = ("severity", "analyzer", "file_path", "line_number", "description")
FACTS = ("run_id", "timestamp", "policy", "dry_run", "findings_count", "fixes_applied", "fixes_failed", "duration_seconds")
GRAVE = ("critical", "high")
SECONDS = 120.0  # a large tree takes its time

Policy = Annotated[str, typer.Option(help="LINT_ONLY, SAFE_EDIT, REFACTOR or ARCHIVE.")]
Paths = Annotated[list[str] | None, typer.Argument(help="Only what lies in these files or folders.")]
Apply = Annotated[bool, typer.Option("--apply", help="Make the fixes that the policy allows; without it, only look.")]
Confirm = Annotated[str | None, typer.Option(help="The plan's id, as a run without --apply gave it.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that have changed since.")]


@arie.command()
def scan(
    paths: Paths = None,
    *,
    policy: Policy = "LINT_ONLY", apply: Apply = False, confirm: Confirm = None,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Look at the tree, and make the fixes of a policy if asked to. Status 1: something grave was found, or a fix failed."""
    asked = {"policy": policy, "apply": apply, "paths": paths or [], "confirm": confirm}
    found = Api(url, key, seconds=SECONDS).call("POST", "/api/arie/run", asked)
    _shown(found, as_json=as_json)
    if found["plan"]["actions"] and not apply:
        say(f"{len(found['plan']['actions'])} files could be put right: --policy {policy} --apply --confirm {found['plan']['id']}")
    _judged(found)


@arie.command()
def report(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """What the last scan found. Status 1: something grave."""
    with unknown(then="tidemark arie scan"):
        found = Api(url, key).get("/api/arie/report")
    _shown(found, as_json=as_json)
    _judged(found)


@arie.command("rollback")
def take_back(patch: str, *, force: Force = False, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Take a patch back: every file is as it was, byte for byte."""
    with unknown(then="tidemark arie report --json"):
        found = Api(url, key).call("POST", "/api/arie/rollback", {"patch_id": patch, "force": force})
    (write_json if as_json else write_facts)(found)


def _shown(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_facts({name: found.get(name) for name in FACTS} | {"patches": ", ".join(each["id"] for each in found["patches"])})
    if found["findings"]:
        write_rows(COLUMNS, [[each[column] for column in COLUMNS] for each in found["findings"]])


def _judged(found: dict[str, Any]) -> None:
    grave = sum(found["findings_by_severity"].get(name, 0) for name in GRAVE)
    if grave or found["fixes_failed"]:
        cause = f"{grave} grave findings, {found['fixes_failed']} fixes that would break something."
        raise Problem(cause, Exit.FAILED, then="put them right, then: tidemark arie scan")
