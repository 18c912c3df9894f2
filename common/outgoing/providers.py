"""One question to the API of something that deploys, and what its answer means; the words differ, the statuses do not."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from common import encoding
from common.errors import Conflict, SourceRefused, Throttled, Unavailable, Unknown
from common.outgoing import breakers, calls, egress
from common.outgoing.calls import Call
from common.rules import addresses
from common.rules.http import Answer

SECONDS = 15.0
BYTES = 8 * 1024 * 1024
WORDS = 300  # of what a provider says, that are repeated
LONGEST_WAIT = 3600
DOWN = 10  # seconds after which a provider that is in trouble may be asked again
GOOD = range(200, 300)


@dataclass(frozen=True)
class Api:
    """Where and as whom a provider is asked."""

    name: str  # of its breaker
    origin: str
    key: str  # empty: there is none
    variable: str  # that the key stands in
    headers: Mapping[str, str] = field(default_factory=dict)


class Heard(NamedTuple):
    """An answer that is good; `document` None: it has no body."""

    status: int
    document: Any


def asked(
    api: Api, method: str, path: str, arguments: Mapping[str, Any] | None = None, document: Mapping[str, Any] | None = None
) -> Heard:
    """The answer to one question.

    Raises: SourceRefused, when the key is missing or not accepted, or the question is; Unknown (404); Conflict (409);
    Throttled (429, with the seconds to wait), Unavailable, Suspended. After the last three nobody knows whether a POST
    took effect.
    """
    if not api.key:
        message = f"{api.name} cannot be asked: {api.variable} is not set. Make a key there and set it."
        raise SourceRefused(message)
    query = urllib.parse.urlencode(arguments or {}, doseq=True, quote_via=urllib.parse.quote)
    headers = {"Authorization": f"Bearer {api.key}", "Accept": "application/json", "User-Agent": "Tidemark", **api.headers}
    body = b"" if document is None else encoding.dumps(document).encode()
    if body:
        headers["Content-Type"] = "application/json"
    call = Call(method, api.origin, f"{path}?{query}" if query else path, headers, body, seconds=SECONDS, limit=BYTES)
    with breakers.guarded(api.name):
        answer = calls.sent(call)
        _check_that_it_is_well(api, answer)
        if answer.status in GOOD:
            return Heard(answer.status, _document(api, answer))
    raise _refusal(api, f"{method} {path}", answer)


def rung(name: str, variable: str, hook: str, arguments: Mapping[str, str]) -> Heard:
    """The answer of a hook that begins a deploy; its address is a secret, and comes up nowhere.

    Raises: as `asked`.
    """
    if not hook:
        message = f"The hook of {name} cannot be called: {variable} is not set."
        raise SourceRefused(message)
    place = addresses.read(hook)
    if isinstance(place, str):
        message = f"The hook of {name} cannot be called: {variable} {place}."
        raise SourceRefused(message)
    parts = urllib.parse.urlsplit(hook)
    query = urllib.parse.urlencode([*urllib.parse.parse_qsl(parts.query, keep_blank_values=True), *arguments.items()])
    call = Call("POST", f"{parts.scheme}://{parts.netloc}", f"{parts.path or '/'}?{query}", {"User-Agent": "Tidemark"})
    api = Api(name, "", "", variable)
    with breakers.guarded(name):
        answer = egress.sent(call)
        _check_that_it_is_well(api, answer)
        if answer.status in GOOD:
            return Heard(answer.status, _read(answer.body) if answer.body else None)
    raise _refusal(api, "its deploy hook", answer)


def _check_that_it_is_well(api: Api, answer: Answer) -> None:
    """Raises: Throttled, Unavailable: what a breaker is told of, or spared."""
    is_throttled = answer.status == HTTPStatus.FORBIDDEN and (
        answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    )
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or is_throttled:
        seconds = _wait(answer)
        message = f"{api.name} has had too many calls; it may be asked again in {seconds} s."
        raise Throttled(message, retry_after_seconds=seconds)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"{api.name} is in trouble: it answered status {answer.status}."
        raise Unavailable(message, retry_after_seconds=_wait(answer, DOWN))


def _document(api: Api, answer: Answer) -> Any:
    if not answer.body.strip():
        return None
    try:
        return encoding.loads(answer.body)
    except ValueError as error:
        message = f"{api.name} answered status {answer.status} with something that is no JSON."
        raise Unavailable(message, retry_after_seconds=DOWN) from error


def _refusal(api: Api, what: str, answer: Answer) -> Exception:
    said = _words(answer)
    if answer.status == HTTPStatus.NOT_FOUND:
        return Unknown(
            f"{api.name} knows nothing at {what}: {said}. Check the ids in the target's config, and what {api.variable} may see."
        )
    if answer.status == HTTPStatus.CONFLICT:
        return Conflict(f"{api.name} cannot do {what} now: {said}.")
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return SourceRefused(
            f"{api.name} does not let us do {what} (status {answer.status}): {said}. Check {api.variable}: whether it is still "
            "valid, and has the right to do this."
        )
    return SourceRefused(f"{api.name} refuses {what} (status {answer.status}): {said}.")


def _words(answer: Answer) -> str:
    """What the provider says of it, in one line."""
    document = _read(answer.body)
    said = document.get("message") if isinstance(document, dict) else None
    text = "".join(character if character.isprintable() else " " for character in str(said or "it does not say why"))
    return text[:WORDS].rstrip(". ")


def _read(body: bytes) -> Any:
    try:
        return encoding.loads(body)
    except ValueError:
        return None


def _wait(answer: Answer, default: int = 60) -> int:
    """The seconds that an answer asks us to wait."""
    asked_for = _whole(answer.headers.get("retry-after"))
    if asked_for is None and (at := _whole(answer.headers.get("x-ratelimit-reset"))) is not None:
        asked_for = at - int(time.time()) if at > LONGEST_WAIT else at  # a moment, as GitHub says it, or seconds
    if asked_for is None:
        asked_for = _whole(answer.headers.get("ratelimit-reset"))
    return max(1, min(default if asked_for is None else asked_for, LONGEST_WAIT))


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else None  # noqa: PLR2004 - no time needs more
