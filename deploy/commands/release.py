"""A release: drained before it goes; and how its data stands to the source's."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url

COLUMNS = ("entity_type", "source_count", "local_count", "match_percentage", "recommendation", "priority", "requires_sync")
LONGEST_LOOK = 25  # seconds that one question may wait


def drain(
    *,
    deadline: Annotated[int, typer.Option(min=1, max=3600, help="Seconds until what is held is taken from it.")] = 30,
    resume: Annotated[bool, typer.Option("--resume", help="Let it take work again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it holds nothing; exit status 7 if it does not.")] = False,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Let this release finish what it is at, and take nothing new."""
    api = Api(url, key, seconds=LONGEST_LOOK + 10.0)
    asked: dict[str, Any] = {"resume": True} if resume else {"deadline_seconds": deadline}
    found = api.call("POST", "/api/hxo/graceful-shutdown", asked)
    if wait and not resume:
        found = _waited(api, found, until=time.monotonic() + deadline)
    (write_json if as_json else write_facts)(found)
    if wait and not resume and not found["idle"]:
        cause = "It still holds work after its deadline."
        raise Problem(cause, Exit.TIMEOUT, then="tidemark drain --wait")


def _waited(api: Api, found: dict[str, Any], until: float) -> dict[str, Any]:
    """How it stands once it holds nothing, or a moment after the deadline, when what it held has been taken from it."""
    is_over = False
    while not found["idle"] and not is_over:
        left = until - time.monotonic()
        is_over = left <= 0
        found = api.get("/api/hxo/wait-for-idle", timeout=min(LONGEST_LOOK, max(1, math.ceil(left))))
        if not found["idle"]:
            say("  it is still at work")
    return found


def stats(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """How much of what is here equals what the source has, as last compared."""
    found = Api(url, key).get("/api/tds/statistics")
    if as_json:
        write_json(found)
        return
    write_facts(
        {"overall_score": found["overall_score"], "status": found["status"], "not_compared": ", ".join(found["not_compared"])}
    )
    write_rows(COLUMNS, [[each[column] for column in COLUMNS] for each in found["entities"].values()])


def compare(
    entities: Annotated[list[str] | None, typer.Argument(help="Entities, such as invoice; else all.")] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Row by row, whatever it costs.")] = False,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Compare with the source now, and repair what differs."""
    asked: dict[str, Any] = {"mode": "full"} if full else {}
    if entities:
        asked["entities"] = entities
    found = Api(url, key).call("POST", "/api/tds/statistics/compare", asked)
    (write_json if as_json else write_facts)(found)
    if found.get("plan_id"):
        say(f"To watch it: tidemark watch {found['plan_id']}")
