"""What an answer of Zoho's API means. Its status alone says little: errors come as 200, and outages as HTML."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from common import encoding
from common.rules.http import Answer

BEYOND_64_BITS = re.compile(rb"[0-9]{20}")
LONGEST_WAIT = 86_400
WORDS = 300  # characters of the source's message that are passed on


class Verdict(StrEnum):
    """What is to be done about an answer."""

    GOOD = "good"
    MISSING = "missing"  # there is no such record
    UNAUTHORIZED = "unauthorized"  # the access token does not count, or not for this
    MINUTE = "minute"  # too many calls in a minute: everybody stops
    DAY = "day"  # the day's calls are used up
    BUSY = "busy"  # too many calls at once: a short pause
    DOWN = "down"  # the source's own trouble
    REFUSED = "refused"  # it would say so again


BY_CODE = {
    44: Verdict.MINUTE,
    43: Verdict.MINUTE,
    45: Verdict.DAY,
    1070: Verdict.BUSY,
    57: Verdict.UNAUTHORIZED,
    14: Verdict.UNAUTHORIZED,
    1002: Verdict.MISSING,
    1000: Verdict.DOWN,
    4029: Verdict.REFUSED,  # not an organization, or not one of ours: with status 401
    6041: Verdict.REFUSED,
}
UNAUTHORIZED, TOO_MANY, SERVER_ERROR, REDIRECT = 401, 429, 500, 300


class Budget(NamedTuple):
    """What the source says of the day's calls; None where it does not."""

    limit: int | None
    remaining: int | None
    resets_in: int | None  # seconds


class Said(NamedTuple):
    """An answer, understood."""

    verdict: Verdict
    document: dict[str, Any]  # empty when it was none
    message: str  # of the source, or why its answer could not be read
    retry_after: int | None  # seconds, when it was told
    budget: Budget
    served_at: datetime | None  # by the source's clock
    is_exact: bool  # fractions in the document are Decimal


def understood(answer: Answer, *, exact: bool = False) -> Said:
    """What `answer` says. With `exact`, fractions are Decimal; without, floats, which is several times as fast."""
    document, trouble, is_exact = _document(answer, exact=exact)
    verdict = _verdict(answer.status, document.get("code"))
    code, message = document.get("code"), str(document.get("message") or "")[:WORDS]
    return Said(
        verdict=verdict,
        document=document,
        message=trouble or f"{message or 'no message'} (status {answer.status}, code {code})",
        retry_after=_whole(answer.headers.get("retry-after"), most=LONGEST_WAIT),
        budget=Budget(
            limit=_whole(answer.headers.get("x-rate-limit-limit")),
            remaining=_whole(answer.headers.get("x-rate-limit-remaining")),
            resets_in=_whole(answer.headers.get("x-rate-limit-reset"), most=LONGEST_WAIT),
        ),
        served_at=_moment(answer.headers.get("date")),
        is_exact=is_exact,
    )


def _document(answer: Answer, *, exact: bool) -> tuple[dict[str, Any], str, bool]:
    """The body's JSON object, why there is none, and whether its fractions are Decimal."""
    body = answer.body
    try:
        # Beyond 64 bits orjson turns an integer, which may be an id, into a float.
        is_exact = exact or BEYOND_64_BITS.search(body) is not None
        document, is_exact = (encoding.loads(body), True) if is_exact else _decoded(body)
    except ValueError:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "nothing" if not body.strip() else "broken JSON"
        return {}, f"it answered {kind} with status {answer.status}", exact
    if not isinstance(document, dict):
        return {}, f"it answered no object with status {answer.status}", exact
    return document, "", is_exact


def _decoded(body: bytes) -> tuple[Any, bool]:
    try:
        return orjson.loads(body), False
    except ValueError:
        if b"\\u" not in body:
            raise
        return encoding.loads(body), True  # half of a surrogate pair: a bad name must not cost its whole page


def _verdict(status: int, code: Any) -> Verdict:
    if isinstance(code, int) and code in BY_CODE:
        return BY_CODE[code]
    if status == UNAUTHORIZED:
        return Verdict.UNAUTHORIZED
    if status == TOO_MANY:
        return Verdict.MINUTE  # the safest reading of a code we do not know
    if status >= SERVER_ERROR or REDIRECT <= status < REDIRECT + 100 or code is None:
        return Verdict.DOWN
    return Verdict.GOOD if status < REDIRECT and code == 0 else Verdict.REFUSED


def _whole(text: str | None, *, most: int = 10**9) -> int | None:
    """A header's whole number, `most` at most; None for anything else, such as a date."""
    return min(int(text), most) if text and text.strip().isdecimal() and len(text) < 12 else None  # noqa: PLR2004 - no header needs more


def _moment(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def since_text(moment: datetime) -> str:
    """`moment` as a filter wants it: no fraction, an offset without a colon."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
