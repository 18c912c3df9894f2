"""Tickets: what went wrong in deploys and in the system, once for each fault."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.client import Api, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, segment, unknown

tickets = group("What went wrong in deploys and in the system.")
COLUMNS = ("id", "status", "count", "kind", "last_at", "target", "title")
BASE = "/api/tickets"

Status = Annotated[str, typer.Option(help="unresolved, open, acknowledged, resolved or all.")]
Note = Annotated[str | None, typer.Option(help="What to remember of it.")]


@tickets.command("list")
def list_tickets(
    *, status: Status = "unresolved", deployment: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    limit: Limit = 20, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Tickets, the newest first."""
    found = Api(url, key).get(BASE, status=status, deployment=deployment, limit=limit)["tickets"]
    if as_json:
        write_json(found)
    else:
        write_rows(COLUMNS, [[each[column] for column in COLUMNS] for each in found])


@tickets.command()
def show(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """One ticket, whole."""
    with unknown(then="tidemark tickets list"):
        found = Api(url, key).get(f"{BASE}/{segment(identifier)}")
    (write_json if as_json else write_facts)(found)


@tickets.command()
def acknowledge(identifier: str, *, note: Note = None, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Say that somebody has seen it."""
    _told(identifier, "acknowledge", note, as_json=as_json, api=Api(url, key))


@tickets.command()
def resolve(identifier: str, *, note: Note = None, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Say that it is put right; if it happens again, there is a new ticket."""
    _told(identifier, "resolve", note, as_json=as_json, api=Api(url, key))


def _told(identifier: str, verb: str, note: str | None, *, as_json: bool, api: Api) -> None:
    with unknown(then="tidemark tickets list"):
        found = api.call("POST", f"{BASE}/{segment(identifier)}/{verb}", {"note": note})["ticket"]
    (write_json if as_json else write_facts)(found)
