"""Dead letters: shown by cause, tried again many at once, given up. Each verb says who did it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from common import db, entities, log
from common.errors import Invalid, PreconditionFailed, Unknown
from common.flows import replays, ring
from common.flows.status import id_of, limit_of
from common.rules import letters
from common.rules.http import Request
from common.rules.instants import instant
from common.rules.plan import Reader
from common.sources import zoho
from common.stores import dead_letters
from common.stores import replays as replay_store
from common.stores.dead_letters import Event, Filter, Found, Group, Matched

KINDS = ("dead_letter", "quarantine")
FILTER = frozenset({"fingerprint", "entity_type", "kind", "error_code", "before", "ids"})
MOST_IDS, MOST_GROUPS = 1000, 200
REASON_CHARACTERS = 500


def listed(request: Request) -> dict[str, Any]:
    """What /api/dead-letters tells: causes, and a page of letters, both as far as fingerprint, entity_type and kind say.

    `next` goes into `after` to read on.
    Raises: Invalid.
    """
    arguments, reader = request.arguments, Reader()
    given: dict[str, Any] = {key: arguments[key] for key in ("fingerprint", "entity_type", "kind") if key in arguments}
    asked, limit = _read(given, reader, ""), limit_of(request)
    before, after = _place(arguments.get("after"), reader)
    check(reader, "Dead letters cannot be listed as asked.")
    with db.transaction("status", read_only=True) as tx:
        groups = dead_letters.groups(tx, asked, limit=MOST_GROUPS)
        page = dead_letters.page(tx, asked, before=before, after=after, limit=limit)
    last = page[-1] if len(page) == limit else None
    return {
        "groups": [_shown(group) for group in groups],
        "total": sum(group.letters for group in groups),
        "items": [letter._asdict() for letter in page],
        "count": len(page),
        "next": f"{last.at.isoformat()}_{last.id}" if last else None,
    }


def _shown(group: Group) -> dict[str, Any]:
    shown = group._asdict()
    return {**shown, "count": shown.pop("letters")}


def one(identifier: str) -> dict[str, Any]:
    """One letter with what its event was received as, and what people did about it.

    Raises: Unknown.
    """
    letter, event = found(identifier)
    with db.transaction("status", read_only=True) as tx:
        done = dead_letters.interventions(tx, letter.event_id)
    return {
        **letter._asdict(),
        "payload": event.payload if event else None,
        "interventions": [each._asdict() for each in done],
    }


def found(identifier: str) -> tuple[Found, Event | None]:
    """A letter and its event. Raises: Unknown."""
    with db.transaction("status", read_only=True) as tx:
        letter = dead_letters.find(tx, id_of(identifier))
        if letter is None:
            message = f"There is no dead letter {identifier}."
            raise Unknown(message)
        return letter, dead_letters.event(tx, letter.event_id)


# Many at once ------------------------------------------------------------------------------------------------------


def replay(given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Try again what a filter means: first {filter, dry_run: true}, then {filter, confirm}.

    Raises: Invalid, with pointers; PreconditionFailed, when what was confirmed is not what the filter means now.
    """
    asked, shown, is_dry = _asked(given, frozenset({"filter", "dry_run", "confirm"}))
    if is_dry:
        return 200, _dry("replay", asked, shown)
    actor = str(log.field("operator"))
    with db.transaction("operator") as tx:
        wanted = dead_letters.matched(tx, asked)
        _confirm("replay", given, shown, wanted)
        identifier, matched = replay_store.add(tx, asked, shown=shown, total=wanted.letters, actor=actor)
        _confirm("replay", given, shown, matched)
    log.info("replay.requested", replay=str(identifier), letters=matched.letters, operator=actor)
    replays.advance()
    ring.ring("process")
    return 202, replays.one(str(identifier))


def discard(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give up what a filter means, for a reason: first {filter, reason, dry_run: true}, then {filter, reason, confirm}.

    Raises: Invalid, with pointers; PreconditionFailed, when what was confirmed is not what the filter means now.
    """
    reader = Reader()
    reason = reader.text(given.get("reason"), "/reason", REASON_CHARACTERS)
    asked, shown, is_dry = _asked(given, frozenset({"filter", "dry_run", "confirm", "reason"}), reader)
    if is_dry:
        return _dry("discard", asked, shown)
    with db.transaction("operator") as tx:
        matched = dead_letters.discard(tx, asked, actor=str(log.field("operator")), reason=reason)
        _confirm("discard", given, shown, matched)
    return {"success": True, "discarded": matched.letters, "message": "They will not be tried again."}


def discard_one(identifier: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give up one letter, for a reason.

    Raises: Invalid, Unknown.
    """
    reader = Reader()
    reader.unknown(given, frozenset({"reason"}), "")
    reason = reader.text(given.get("reason"), "/reason", REASON_CHARACTERS)
    wanted = id_of(identifier)
    check(reader, "The letter cannot be discarded as asked.")
    with db.transaction("operator") as tx:
        matched = dead_letters.discard(tx, Filter(ids=[str(wanted)]), actor=str(log.field("operator")), reason=reason)
    if not matched.letters:
        message = f"There is no open dead letter {identifier} that no replay is at."
        raise Unknown(message)
    return {"success": True, "discarded": 1, "message": "It will not be tried again."}


def _asked(given: Mapping[str, Any], known: frozenset[str], reader: Reader | None = None) -> tuple[Filter, dict[str, Any], bool]:
    """The filter, the filter as it was given, and whether this is a dry run.

    Raises: Invalid.
    """
    reader = reader or Reader()
    reader.unknown(given, known, "")
    shown = given.get("filter")
    if not isinstance(shown, dict) or not shown:
        reader.fault("/filter", f"must be an object with one or more of {', '.join(sorted(FILTER))}")
        shown = {}
    reader.unknown(shown, FILTER, "/filter")
    asked = _read(shown, reader, "/filter")
    is_dry = given.get("dry_run", False)
    if not isinstance(is_dry, bool):
        reader.fault("/dry_run", "must be true or false")
    if not isinstance(given.get("confirm"), str | None):
        reader.fault("/confirm", "must be the text that the dry run gave")
    check(reader, "It cannot be done as asked.")
    return asked, shown, bool(is_dry)


def _dry(verb: str, asked: Filter, shown: dict[str, Any]) -> dict[str, Any]:
    with db.transaction("operator") as tx:
        matched = dead_letters.matched(tx, asked)
    confirm = letters.confirmation(verb, shown, matched.digest) if matched.letters else None
    return {"dry_run": True, "count": matched.letters, "sample": matched.sample or [], "confirm": confirm}


def _confirm(verb: str, given: Mapping[str, Any], shown: dict[str, Any], matched: Matched) -> None:
    """Raises: PreconditionFailed, unless exactly these letters were confirmed; the transaction around it is undone."""
    if matched.letters and given.get("confirm") == letters.confirmation(verb, shown, matched.digest):
        return
    message = (
        "Do a dry run first, and send its confirm."
        if given.get("confirm") is None
        else "The filter means other letters now than in the dry run: do another one, and look at it."
    )
    raise PreconditionFailed(message, count=matched.letters)


def _read(given: Mapping[str, Any], reader: Reader, pointer: str) -> Filter:
    entity, kind, ids, before = given.get("entity_type"), given.get("kind"), given.get("ids"), None
    if entity is not None:
        home = zoho.named(entity, {}, entities.every()) if isinstance(entity, str) else None
        if home is None:
            reader.fault(f"{pointer}/entity_type", f"must be one of {', '.join(sorted(entities.by_label()))}")
        entity = home.label if home else None
    if kind is not None and kind not in KINDS:
        reader.fault(f"{pointer}/kind", f"must be one of {', '.join(KINDS)}")
    for key in ("fingerprint", "error_code"):
        if given.get(key) is not None:
            reader.text(given[key], f"{pointer}/{key}")
    if given.get("before") is not None:
        try:
            before = instant(given["before"])
        except (ValueError, TypeError) as error:
            reader.fault(f"{pointer}/before", f"must be a moment such as 2026-06-09T09:45:00Z: {error}")
    if ids is not None:
        ids = _ids(ids, reader, f"{pointer}/ids")
    return Filter(given.get("fingerprint"), entity, kind, given.get("error_code"), before, ids)


def _ids(given: Any, reader: Reader, pointer: str) -> list[str]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_IDS:
        reader.fault(pointer, f"must be a list of 1 to {MOST_IDS:,} ids")
        return []
    found = []
    for position, each in enumerate(given):
        try:
            found.append(str(UUID(each)))
        except (ValueError, TypeError, AttributeError):
            reader.fault(f"{pointer}/{position}", "is not an id")
    return found


def _place(text: str | None, reader: Reader) -> tuple[datetime | None, UUID | None]:
    """The letter after which a page begins."""
    if text is None:
        return None, None
    at, _, identifier = text.rpartition("_")
    try:
        return instant(at.replace(" ", "+")), UUID(identifier)
    except ValueError:
        reader.fault("/after", "must be the `next` of the page before")
        return None, None


def check(reader: Reader, message: str) -> None:
    """Raises: Invalid, when something is wrong with what was read."""
    if reader.faults:
        raise Invalid(message, errors=reader.faults)
