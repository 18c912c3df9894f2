"""Schedules: listed, run now, paused, and looked ahead."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, say, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, segment, unknown

schedule = group("Schedules: what runs by itself, and when.")
COLUMNS = ("name", "cron", "time_zone", "function", "paused", "next_run", "last_run", "success_rate")


@schedule.command("list")
def list_schedules(*, limit: Limit = 100, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Schedules by name."""
    found = Api(url, key).get("/api/schedules", limit=limit)["schedules"]
    if as_json:
        write_json(found)
    else:
        write_rows(COLUMNS, [[each.get(column) for column in COLUMNS] for each in found])


@schedule.command()
def run(name: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Fire a schedule now, beside its slots and also while it is paused."""
    found = _asked("POST", name, "run", Api(url, key), {})
    (write_json if as_json else write_facts)(found)
    say("It waits until the one before it is over." if found["waits"] else "It has been rung for.")


@schedule.command()
def pause(
    name: str,
    *,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever looks.")] = None,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Let a schedule stand still, whatever comes due."""
    _show(_asked("POST", name, "pause", Api(url, key), {"reason": reason} if reason else {}), as_json=as_json)


@schedule.command()
def resume(name: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Let a schedule go on."""
    _show(_asked("POST", name, "resume", Api(url, key), {}), as_json=as_json)


@schedule.command()
def preview(
    name: str,
    *,
    count: Annotated[int, typer.Option("--next", min=1, max=100, help="How many slots.")] = 10,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """When a schedule is due next, with what changes of the clock do to it."""
    found = _asked("GET", name, f"preview?next={count}", Api(url, key))
    if as_json:
        write_json(found)
        return
    write_rows(("at", "wall", "edge"), [[slot["at"], slot["wall"], slot["edge"]] for slot in found["slots"]])
    if found["paused"]:
        say(f"{name} is paused: none of these fires before `tidemark schedule resume {name}`.")


def _asked(method: str, name: str, what: str, api: Api, body: Any = None) -> Any:
    with unknown(then="tidemark schedule list"):
        return api.call(method, f"/api/schedules/{segment(name)}/{what}", body)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write_facts({column: found.get(column) for column in (*COLUMNS, "pause_reason")})
