"""One page of a source's list, read: which records it holds, in which versions, and which of its rows nobody can read.

What a row holds beside its id and its stamp is not looked at here: that is for Postgres, or for `rules.shapes`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from common import encoding
from common.errors import Invalid
from common.rules import batches, keys
from common.rules.entity import Entity
from common.rules.instants import instant

MAX_ID_CHARACTERS = 255  # as rules.shapes has it, which costs 40 ms of pydantic to import
SETTLED = timedelta(seconds=2)  # a stamp has one second; what is read later than this after it cannot change under it
AHEAD = timedelta(days=1)
FUTURE = "the time of change is more than a day in the future"  # as for webhooks: the alert looks for these words
# \u0000 and half a surrogate pair, where the backslash is not one that is itself escaped.
_UNSTORABLE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)


class Row(NamedTuple):
    """The version of a record that a page has."""

    id: str
    position: int  # in the list, from 0
    stamp: datetime | None  # when the source changed it; None: it does not say
    hash: str  # of all it holds but noise, in its order: if the source changes that, a comparison finds nothing new


class Fault(NamedTuple):
    """A row that cannot be merged, and why."""

    position: int
    id: str  # "" when it cannot be read
    stamp: datetime | None
    errors: list[dict[str, str]]


@dataclass
class Page:
    """What a page holds of an entity."""

    text: str
    key: str
    records: Sequence[Any] = ()  # as orjson reads them; None where it cannot
    count: int = 0  # rows, all of them
    rows: list[Row] = field(default_factory=list)  # one per id, the newest, ordered by id
    ids: list[str] = field(default_factory=list)  # of every row that has one, in order
    faults: list[Fault] = field(default_factory=list)
    repeated: int = 0  # rows that say the same as another one of the page
    superseded: int = 0  # rows older than another one of the page
    newest: datetime | None = None

    def texts(self) -> list[str]:
        """The text of each row, by position, as it came but for what Postgres cannot hold."""
        texts = batches.slices(self.text, self.key)
        return [_storable(text) for text in texts] if "\\u" in self.text else texts


def read(entity: Entity, text: str, key: str, served_at: datetime, records: Sequence[Any] | None = None) -> Page:
    """The page `text`, whose rows stand at `key`, as the source served it at `served_at`.

    `records` are those rows, if orjson has decoded them before; noise is taken out of them.

    Rows of the other entity that shares the list are left out: a list of contacts may have both kinds.

    Raises: Invalid, when it is not JSON with a list at that key; an empty page and a broken one must never look alike.
    """
    if records is None:
        records = _records(text, key)
    page = Page(text, key, records)
    is_clean = not any(hint in text for hint in (keys.NOISE_SUFFIX, *keys.NOISE))
    names = set() if is_clean else set().union(*(record for record in records if isinstance(record, dict)))
    noisy = [name for name in names if name in keys.NOISE or name.endswith(keys.NOISE_SUFFIX)]
    versions: dict[str, list[Row]] = {}
    for position, record in enumerate(records):
        if entity.only and isinstance(record, dict) and any(record.get(name, said) != said for name, said in entity.only.items()):
            continue
        page.count += 1
        identifier = identified(entity, record)
        stamp, errors = _stamped(entity, record, served_at) if identifier else (None, [_missing(entity, record)])
        if errors:
            page.faults.append(Fault(position, identifier, stamp, errors))
            continue
        for name in noisy:
            record.pop(name, None)
        versions.setdefault(identifier, []).append(Row(identifier, position, stamp, _hash(record)))
    for same in versions.values():
        page.rows.append(_newest(page, same))
    page.rows.sort(key=lambda row: row.id)
    page.ids = sorted({*versions, *(fault.id for fault in page.faults if fault.id)})
    page.newest = max((row.stamp for row in page.rows if row.stamp), default=None)
    return page


def identified(entity: Entity, record: Any) -> str:
    """A record's id as text, "" when it has none that could be one."""
    if not isinstance(record, dict):
        return ""
    for key in entity.id_keys:
        value = record.get(key)
        text = value.strip() if value.__class__ is str else str(value) if value.__class__ is int else ""
        if text:
            return text if len(text) <= MAX_ID_CHARACTERS and "\x00" not in text else ""
    return ""


def kept(fault: Fault, text: str, entity: Entity, organization: str) -> dict[str, Any]:
    """What `tidemark.quarantine` takes for a row that cannot be merged: the same event for as long as it says the same."""
    try:
        encoding.loads(text)
        payload = text
    except ValueError:
        payload = None
    body = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    content = hashlib.sha256(body.encode()).hexdigest()[:32]
    stamp = fault.stamp.isoformat() if fault.stamp else ""
    key = keys.idempotency_key(fault.stamp, organization, entity.label, fault.id, "page", stamp, content)
    return {
        "id": keys.event_id(key),
        "key": key,
        "entity": entity.label,
        "entity_id": fault.id,
        "stamp": fault.stamp,
        "hash": content,
        "organization": organization,
        "body": body,
        "payload": payload,
        "errors": fault.errors,
    }


def _records(text: str, key: str) -> Sequence[Any]:
    try:
        whole = orjson.loads(text)
    except ValueError:
        # A number of no known size, half a surrogate pair, or many levels: row by row they are told apart.
        return _one_by_one(text, key)
    rows = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(rows, list):
        raise _unlisted(key)
    return rows


def _one_by_one(text: str, key: str) -> Sequence[Any]:
    try:
        rows = batches.slices(text, key)
        if not rows and not isinstance(encoding.loads(text)[key], list):
            raise _unlisted(key)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _unlisted(key) from error
    return [_readable(row) for row in rows]


def _storable(text: str) -> str:
    # Most escapes are letters of other alphabets; the pattern takes ten times as long as to see that.
    return _UNSTORABLE.sub(r"\1\\ufffd", text) if "\\u0000" in text or "\\ud" in text.lower() else text


def _readable(text: str) -> Any:
    try:
        return encoding.loads(_storable(text))
    except ValueError:
        return None


def _unlisted(key: str) -> Invalid:
    return Invalid(f"The page is not JSON with a list at '{key}'.")


def _stamped(entity: Entity, record: Mapping[str, Any], served_at: datetime) -> tuple[datetime | None, list[dict[str, str]]]:
    for key in entity.version_keys:
        text = record.get(key)
        if text is None or text == "":
            continue
        try:
            stamp = instant(text)
        except ValueError as error:
            return None, [{"pointer": f"/{key}", "message": str(error)}]
        if stamp and stamp > served_at + AHEAD:
            return stamp, [{"pointer": f"/{key}", "message": FUTURE}]
        return stamp, []
    return None, []


def _missing(entity: Entity, record: Any) -> dict[str, str]:
    if isinstance(record, dict):
        return {"pointer": f"/{entity.id_keys[0]}", "message": "there is no id here that could be read"}
    return {"pointer": "", "message": "it is not a record that could be read"}


def _hash(record: Any) -> str:
    try:
        text = orjson.dumps(record)  # not sorted, and noise only at the top: either would double what a row costs
    except TypeError:
        text = encoding.canonical(record)
    return hashlib.sha256(text).hexdigest()[:32]


def _newest(page: Page, same: list[Row]) -> Row:
    if len(same) == 1:
        return same[0]
    *older, newest = sorted(same, key=lambda row: (row.stamp is not None, row.stamp, row.position))
    for row in older:
        if row.hash == newest.hash:
            page.repeated += 1
        else:
            page.superseded += 1
    return newest
