"""What ended badly: listed by cause, shown, tried again, edited, given up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, segment, unknown

dead_letters = group("Events that ended badly.")
GROUPS = ("fingerprint", "count", "kind", "entity_type", "error_code", "last_seen", "cause")
LETTERS = ("id", "kind", "at", "entity_type", "entity_id", "attempts", "error_code", "reason")
STEPS = ("step", "letters", "done", "again", "under_way", "gone", "began_at", "ended_at")
BASE = "/api/dead-letters"

Fingerprint = Annotated[str | None, typer.Option(help="Only of this cause, as `dead-letters causes` names it.")]
Entity = Annotated[str | None, typer.Option(help="Only of this entity.")]
Kind = Annotated[str | None, typer.Option(help="Only dead_letter, or only quarantine.")]
Code = Annotated[str | None, typer.Option(help="Only with this error code.")]
Before = Annotated[str | None, typer.Option(help="Only what ended before this moment, such as 2026-06-09T09:45:00Z.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Only these.")]
Confirm = Annotated[str | None, typer.Option(help="What the dry run gave; without it, this is a dry run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it at once, to whatever the filter means now.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks.")]


@dead_letters.command("list")
def list_dead_letters(
    *,
    fingerprint: Fingerprint = None, entity: Entity = None, kind: Kind = None,
    limit: Limit = 20,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Dead letters and quarantined events, latest first."""
    found = Api(url, key).get(BASE, fingerprint=fingerprint, entity_type=entity, kind=kind, limit=limit)
    if as_json:
        write_json(found["items"])
    else:
        write_rows(LETTERS, [[item.get(column) for column in LETTERS] for item in found["items"]])


@dead_letters.command()
def causes(
    *, entity: Entity = None, kind: Kind = None, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """The causes of all of them, the most frequent first."""
    found = Api(url, key).get(BASE, entity_type=entity, kind=kind, limit=1)["groups"]
    if as_json:
        write_json(found)
    else:
        write_rows(GROUPS, [[each.get(column) for column in GROUPS] for each in found])


@dead_letters.command()
def show(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """One, with what was received, and what people did about it."""
    with unknown(then="tidemark dead-letters list"):
        found = Api(url, key).get(f"{BASE}/{segment(identifier)}")
    (write_json if as_json else write_facts)(found)


@dead_letters.command("retry")
def retry_dead_letter(identifier: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Give a dead letter one more attempt, now."""
    with unknown(then="tidemark dead-letters list"):
        found = Api(url, key).call("POST", f"/dashboard/dead-letter/{segment(identifier)}/retry")
    (write_json if as_json else write_facts)(found)


@dead_letters.command()
def replay(
    ids: Ids = None,
    *,
    fingerprint: Fingerprint = None, entity: Entity = None, kind: Kind = None, code: Code = None, before: Before = None,
    confirm: Confirm = None, yes: Yes = False, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Try many again: one, then ten, then the rest; it stops by itself when one fails again."""
    given = {"filter": _filter(ids=ids, fingerprint=fingerprint, entity_type=entity, kind=kind, error_code=code, before=before)}
    api = Api(url, key)
    confirm = confirm or _confirmed(api, "replay", given, yes=yes, as_json=as_json)
    if confirm is None:
        return
    found = api.call("POST", f"{BASE}/replay", given | {"confirm": confirm})
    _show_replay(found, as_json=as_json)
    if not as_json:
        say(f"To see how it goes: tidemark dead-letters replays {found['id']}")


@dead_letters.command()
def replays(
    identifier: Annotated[str | None, typer.Argument(help="One; else the latest.")] = None,
    *, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """How replays go; exit status 1 for one that was stopped because something failed again."""
    api = Api(url, key)
    if identifier is None:
        found = api.get(f"{BASE}/replays")["replays"]
        columns = ("id", "state", "total", "step", "requested_by", "requested_at", "message")
        if as_json:
            write_json(found)
        else:
            write_rows(columns, [[each.get(column) for column in columns] for each in found])
        return
    with unknown(then="tidemark dead-letters replays"):
        found = api.get(f"{BASE}/replays/{segment(identifier)}")
    _show_replay(found, as_json=as_json)
    if found["state"] == "stopped":
        cause = f"The replay stopped: {found['message']}"
        raise Problem(cause, Exit.FAILED, then="tidemark dead-letters causes")


@dead_letters.command()
def edit(
    identifier: str,
    *,
    reason: Reason,
    payload: Annotated[str | None, typer.Option(help="File with the whole payload as JSON.")] = None,
    patch: Annotated[str | None, typer.Option(help="What is to change, as a JSON merge patch.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Apply one with another payload; the original stays as it came."""
    given: dict[str, Any] = {"reason": reason, "dry_run": dry_run}
    if payload is not None:
        given["payload"] = _json(_text(payload), payload)
    if patch is not None:
        given["patch"] = _json(patch, "--patch")
    with unknown(then="tidemark dead-letters list"):
        found = Api(url, key).call("POST", f"{BASE}/{segment(identifier)}/edit", given)
    if as_json:
        write_json(found)
        return
    columns = ("pointer", "before", "after")
    write_rows(columns, [[each.get(column) for column in columns] for each in found["changed"]])
    say("Nothing was done." if dry_run else f"{found['message']} It is event {found['event_id']}.")


@dead_letters.command()
def discard(
    ids: Ids = None,
    *,
    reason: Reason,
    fingerprint: Fingerprint = None, entity: Entity = None, kind: Kind = None, code: Code = None, before: Before = None,
    confirm: Confirm = None, yes: Yes = False, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Give some up for good."""
    given = {
        "filter": _filter(ids=ids, fingerprint=fingerprint, entity_type=entity, kind=kind, error_code=code, before=before),
        "reason": reason,
    }
    api = Api(url, key)
    confirm = confirm or _confirmed(api, "discard", given, yes=yes, as_json=as_json)
    if confirm is None:
        return
    found = api.call("POST", f"{BASE}/discard", given | {"confirm": confirm})
    (write_json if as_json else write_facts)(found)


def _filter(**given: Any) -> dict[str, Any]:
    """Raises: Problem, for none at all."""
    asked = {name: value for name, value in given.items() if value}
    if not asked:
        cause = "Say which are meant, such as --kind dead_letter for all of them."
        raise Problem(cause, Exit.USAGE, then="tidemark dead-letters causes")
    return asked


def _confirmed(api: Api, verb: str, given: dict[str, Any], *, yes: bool, as_json: bool) -> str | None:
    """What confirms it; None when it was only to be looked at, which is written then.

    Raises: Problem, when the filter means nothing.
    """
    found = api.call("POST", f"{BASE}/{verb}", given | {"dry_run": True})
    if not found["count"]:
        cause = "The filter means no open dead letter that no replay is at."
        raise Problem(cause, Exit.NOT_FOUND, then="tidemark dead-letters causes")
    if yes:
        return str(found["confirm"])
    (write_json if as_json else write_facts)(found)
    if not as_json:
        say(f"Nothing was done. To {verb} exactly these, say the same again with --confirm {found['confirm']}")
    return None


def _show_replay(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_facts({name: value for name, value in found.items() if name not in {"steps", "failed_again"} and value is not None})
    write_rows(STEPS, [[step.get(column) for column in STEPS] for step in found["steps"]])


def _text(file: str) -> str:
    """Raises: Problem."""
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        cause = f"{file} cannot be read: {error}."
        raise Problem(cause, Exit.USAGE) from error


def _json(text: str, where: str) -> Any:
    """Raises: Problem."""
    try:
        return json.loads(text)
    except ValueError as error:
        cause = f"{where} is not JSON: {error}."
        raise Problem(cause, Exit.USAGE) from error
