"""Zoho Books and Inventory: what their webhooks say, in whatever form they say it.

Nothing here refuses: what cannot be read becomes a reading with faults, to be kept in quarantine.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from common import encoding
from common.rules import batches
from common.rules.entity import Entity
from common.rules.http import Request
from common.rules.instants import instant
from common.rules.keys import NESTED

OPERATIONS = ("delete", "create", "update", "upsert")
EMPTY_BATCH = ({"pointer": "/events", "message": "the batch is empty"},)
LONG_NUMBER = re.compile(rb"[0-9]{19}")
REPLACED = ("nul",)  # what Postgres cannot hold was replaced in the stored JSON
LETTERS = 512  # ids longer than this are nobody's


class Reading(NamedTuple):
    """One event as far as it could be read; with `faults` it goes into quarantine."""

    entity: Entity
    entity_id: str = ""
    operation: str = "upsert"
    stamp: datetime | None = None
    record: Any = None
    path: tuple[str, ...] = ()
    body: bytes = b""
    payload: str | None = None  # the JSON to store when the body is not JSON itself, or holds what Postgres cannot
    delivery_id: str | None = None
    organization: str = ""
    flags: tuple[str, ...] = ()
    faults: tuple[dict[str, str], ...] = ()


def read(request: Request, home: Entity, entities: Sequence[Entity]) -> list[Reading]:
    """The events of a request to the webhook of `home`, one for each item of a batch; never an empty list."""
    try:
        value, payload, flags = _decoded(request.body) if request.body.strip() else _queried(request, home)
    except (ValueError, RecursionError) as error:
        return [_kept(home, request.body, "", f"the body cannot be read: {error}")]
    if not isinstance(value, dict):
        return [_kept(home, request.body, "", "the body is not an object", payload)]
    if isinstance(value.get("events"), list):
        return _batch(request, value, payload, home, entities)
    reading = _event(value, request, home, entities)
    delivery = request.header("webhook-id") or reading.delivery_id
    return [reading._replace(body=request.body, payload=payload, flags=flags, delivery_id=delivery)]


def _batch(request: Request, value: dict[str, Any], payload: str | None, home: Entity, entities: Sequence[Entity]) -> list[Reading]:
    events = value["events"]
    if not events:
        return [Reading(entity=home, body=request.body, payload=payload, faults=EMPTY_BATCH)]
    texts = batches.slices(payload or request.body.decode(), "events")
    readings = []
    for item, text in zip(events, texts, strict=True):
        body = text.encode()
        if not isinstance(item, dict):
            readings.append(_kept(home, body, "", "the event is not an object"))
            continue
        if "organization_id" in value:
            item.setdefault("organization_id", value["organization_id"])
        payload = _storable(item, body)
        flags = REPLACED if payload else ()
        readings.append(_event(item, request, home, entities)._replace(body=body, payload=payload, flags=flags))
    return readings


def _event(value: dict[str, Any], request: Request, home: Entity, entities: Sequence[Entity]) -> Reading:
    """What one JSON object says: a record in its wrapper, the origin's envelope, or the bare record."""
    arguments = request.arguments
    entity, path = _place(value, home, entities)
    record: Any = value
    for key in path:
        record = record[key]
    faults: list[dict[str, str]] = []
    declared = value.get("entity_type")
    if isinstance(declared, str) and declared and named(declared, record, entities) is None:
        faults.append({"pointer": "/entity_type", "message": f"there is no entity '{declared[:64]}'"})
    identifier = _identifier(record, entity) or _text(value.get("entity_id"))
    if not identifier or len(identifier) > LETTERS:
        faults.append({"pointer": _pointer(path, entity.id_keys[0]), "message": "there is no id here that could be read"})
        identifier = ""
    stamp = None
    for key, text in [(key, record.get(key)) for key in entity.version_keys] + [("event_time", value.get("event_time"))]:
        if entity.version_keys and text not in (None, ""):
            try:
                stamp = instant(text) if isinstance(text, str) else None
            except ValueError as error:
                faults.append({"pointer": _pointer(path, key), "message": str(error)})
            break
    said = value.get("event_type") or arguments.get("event") or request.header("x-zoho-event") or ""
    return Reading(
        entity=entity,
        entity_id=identifier,
        operation=_operation(str(said), request.method),
        stamp=stamp,
        record=record,
        path=path,
        delivery_id=_text(value.get("event_id")) or None,
        organization=_text(value.get("organization_id") or record.get("organization_id") or arguments.get("organization_id")),
        faults=tuple(faults),
    )


def _place(value: dict[str, Any], home: Entity, entities: Sequence[Entity]) -> tuple[Entity, tuple[str, ...]]:
    """Which entity a payload is of, and the keys that lead to its record."""
    inner: tuple[str, ...] = ()
    holder = value
    if isinstance(value.get("data"), dict) and not _identifier(value, home):
        inner, holder = ("data",), value["data"]
    declared = value.get("entity_type")
    if isinstance(declared, str):
        home = named(declared, holder, entities) or home
    for entity in (home, *entities):
        for wrapper in entity.wrappers:
            record = holder.get(wrapper)
            if isinstance(record, dict) and (_identifier(record, entity) or entity is home):
                return _sibling(entity, record, entities), (*inner, wrapper)
    return _sibling(home, holder, entities), inner


def named(name: str, record: Any, entities: Sequence[Entity]) -> Entity | None:
    """The entity that goes by `name`, an alias or its path included."""
    wanted = name.strip().lower().replace("-", "_")
    for entity in entities:
        if wanted in (entity.label, entity.path.replace("-", "_"), *entity.aliases):
            return _sibling(entity, record, entities)
    return None


def _sibling(entity: Entity, record: Any, entities: Sequence[Entity]) -> Entity:
    """The entity among those that share a wrapper whose telling fields fit the record: a contact may be a vendor."""
    if not entity.only or not isinstance(record, Mapping):
        return entity
    for other in entities:
        shared = set(other.wrappers) & set(entity.wrappers)
        if shared and other.only and all(record.get(key) == value for key, value in other.only.items()):
            return other
    return entity


def _identifier(record: Any, entity: Entity) -> str:
    if not isinstance(record, dict):
        return ""
    return next((text for key in entity.id_keys if (text := _text(record.get(key)))), "")


def _text(value: Any) -> str:
    """An id as text: digits of a number, never a float's."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _operation(said: str, method: str) -> str:
    lowered = said.lower()
    if method == "DELETE" or "delet" in lowered:
        return "delete"
    return next((operation for operation in OPERATIONS if operation in lowered), "upsert")


def _decoded(body: bytes) -> tuple[Any, str | None, tuple[str, ...]]:
    """A body's value, the JSON to store in its place if it is not storable JSON itself, and flags.

    Raises: ValueError, when it is in none of the forms that Zoho is known to send, whatever its Content-Type says.
    """
    start = body.lstrip()[:1]
    if start == b"%":  # JSON that a sender took for a form
        value = _json(urllib.parse.unquote_to_bytes(body.strip().removesuffix(b"=")))
        return value, encoding.dumps(_storable_value(value)), ("json_as_form",)
    if start not in b"{[" and b"=" in body and start != b'"':
        value = _form(body)
        return value, encoding.dumps(_storable_value(value)), ("form",)
    value = _json(body)
    flags = ("duplicate_keys",) if _has_duplicate_keys(body, value) else ()
    if isinstance(value, dict) and isinstance(value.get("JSONString"), str):
        value = _json(value["JSONString"].encode())
        return value, encoding.dumps(_storable_value(value)), ("json_string",)
    payload = _storable(value, body)
    return value, payload, (*flags, *REPLACED) if payload else flags


def _queried(request: Request, home: Entity) -> tuple[Any, str, tuple[str, ...]]:
    """The query's arguments as a record: all that a DELETE may carry.

    Raises: ValueError, when they hold no id.
    """
    if not _identifier(request.arguments, home):
        message = "it is empty"
        raise ValueError(message)
    return request.arguments, encoding.dumps(_storable_value(request.arguments)), ("query",)


def _form(body: bytes) -> dict[str, Any]:
    pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    fields: dict[str, Any] = dict(pairs)
    if "JSONString" in fields:
        value = _json(fields["JSONString"].encode())
        return value if isinstance(value, dict) else {"JSONString": value}
    return {key: _json(text.encode()) if text[:1] == "{" else text for key, text in fields.items()}


def _json(text: bytes) -> Any:
    value = orjson.loads(text)
    # Beyond 64 bits orjson turns an integer into a float: read those, rare as they are, exactly.
    return encoding.loads(text) if LONG_NUMBER.search(text) else value


def _storable(value: Any, body: bytes) -> str | None:
    """The JSON to store instead of `body`; None when Postgres can store the body as it is."""
    return encoding.dumps(_storable_value(value)) if b"\\u0000" in body else None


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_storable_value(key): _storable_value(item) for key, item in value.items()}
    return [_storable_value(item) for item in value] if isinstance(value, list) else value


def _has_duplicate_keys(body: bytes, value: Any) -> bool:
    # Counting is cheap and sees every case; only a body with more colons after quotes than keys is worth a look.
    if value.__class__ not in NESTED or (body.count(b'":') <= _keys(value) and body.count(b'" :') == 0):
        return False
    seen = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal seen
        seen = seen or len({key for key, _ in items}) < len(items)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    return seen


def _keys(value: Any) -> int:
    count, rest = 0, [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            count += len(item)
            item = item.values()
        rest += [inner for inner in item if inner.__class__ in NESTED]
    return count


def _pointer(path: Sequence[str], key: str) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in (*path, key))


def _kept(home: Entity, body: bytes, pointer: str, message: str, payload: str | None = None) -> Reading:
    return Reading(entity=home, body=body, payload=payload, faults=({"pointer": pointer, "message": message},))
