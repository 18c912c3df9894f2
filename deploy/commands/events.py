"""Events that were received, the queue, and the tokens of operators."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.client import Api, say, write, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, segment, unknown

events = group("Events that were received.")
queue = group("The queue.")
token = group("Tokens of operators.")


@events.command("list")
def list_events(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.")] = None,
    limit: Limit = 20,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """The events that came last, and what became of each."""
    found = Api(url, key).get("/dashboard/recent-events", limit=limit, entity=entity)
    if as_json:
        write_json(found["events"])
        return
    columns = ("event_id", "received_at", "entity_type", "entity_id", "operation", "status", "outcome", "error_message")
    write_rows(columns, [[event.get(column) for column in columns] for event in found["events"]])


@events.command("show")
def show_event(event_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """One event, whole."""
    found = Api(url, key).get(f"/dashboard/recent-events/{segment(event_id)}")
    (write_json if as_json else write_facts)(found)


@queue.command("stats")
def queue_stats(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """How many events are in each state, and how each ended so far."""
    found = Api(url, key).get("/queue/stats")
    if as_json:
        write_json(found)
        return
    outcomes = found.pop("outcomes", None) or {}
    write_facts({name: value for name, value in found.items() if value != {}})
    write_facts({f"outcome {name}": number for name, number in outcomes.items()})


@token.command("create")
def create_token(
    name: str,
    *,
    role: Annotated[str, typer.Option(help="owner, operator or viewer.")] = "viewer",
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it counts.")] = 90,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """A new token; it is shown this once and never again."""
    found = Api(url, key).call("POST", "/admin/tokens", {"name": name, "role": role, "days": days})
    if as_json:
        write_json(found)
        return
    say(f"Token {found['id']} for {name}, as {found['role']}, for {days} days. Keep it now: it is not shown again.")
    write(found["token"])


@token.command("list")
def list_tokens(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Every token, without what proves it."""
    found = Api(url, key).get("/admin/tokens")["tokens"]
    if as_json:
        write_json(found)
        return
    columns = tuple(found[0]) if found else ("id", "name", "role")
    write_rows(columns, [[each.get(column) for column in columns] for each in found])


@token.command("revoke")
def revoke_token(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Let a token count no more."""
    with unknown(then="tidemark token list"):
        found = Api(url, key).call("DELETE", f"/admin/tokens/{segment(identifier)}")
    (write_json if as_json else write_facts)(found)
