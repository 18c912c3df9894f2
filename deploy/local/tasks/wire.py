"""The service's JSON, checked on its way in and put together on its way out; it knows neither HTTP nor Postgres."""

from __future__ import annotations

import base64
import http.client
import math
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from common.errors import Refused

Document = dict[str, Any]

PARENT: Final = r"projects/[^/]+/locations/[^/]+"
QUEUE: Final = PARENT + r"/queues/[A-Za-z0-9-]{1,100}"
TASK: Final = QUEUE + r"/tasks/[A-Za-z0-9_-]{1,500}"
RETRY: Final = {"maxAttempts": 100, "minBackoff": 0.1, "maxBackoff": 3600.0, "maxDoublings": 16, "maxRetryDuration": 0.0}

_COUNTS: Final = {"maxAttempts": -1, "maxDoublings": 0}  # the retry settings that are no durations, and their least values
_METHODS: Final = {"POST": 1, "GET": 2, "HEAD": 3, "PUT": 4, "DELETE": 5, "PATCH": 6, "OPTIONS": 7}
_ENUMS: Final = {"httpMethod": _METHODS, "view": {"BASIC": 1, "FULL": 2}, "state": {"RUNNING": 1, "PAUSED": 2}}
_BODIES: Final = {"POST", "PUT", "PATCH"}
_LONGEST_DEADLINE: Final = 1800
_TASK_BYTES: Final = 1024 * 1024
_HEADER_BYTES: Final = 80 * 1024


# In


def require(holds: object, otherwise: str) -> None:
    """Raises: Refused, in these words, unless it holds."""
    if not holds:
        raise Refused(otherwise)


def text(value: Any, pattern: str, what: str) -> str:
    """The value, which must be text of that form."""
    require(isinstance(value, str) and re.fullmatch(pattern, value), f"{what} is invalid")
    return str(value)


def number(value: Any, least: float, most: float, what: str) -> float:
    """The value, which must be a number between the two."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and least <= value <= most, f"{what} must be a number from {least:g} to {most:g}")
    return value  # type: ignore[no-any-return]


def mapping(value: Any, what: str) -> Document:
    """The value, which must be an object; an empty one for null."""
    require(isinstance(value, dict | None), f"{what} must be an object")
    return value or {}


def queue_from(name: str, rates: Mapping[str, Any], retry: object) -> Document:
    """A queue as it is stored; what was not given (to protobuf: zero) is what the service sets."""
    rate = number(rates.get("maxDispatchesPerSecond") or 500, 0.001, 500, "maxDispatchesPerSecond")
    concurrency = int(number(rates.get("maxConcurrentDispatches") or 1000, 1, 5000, "maxConcurrentDispatches"))
    # The service answers a burst of 100 for 500 a second.
    burst = max(1, math.ceil(rate / 5))
    return {"name": name, "rate": rate, "burst": burst, "concurrency": concurrency, "retry": {**RETRY, **_retry_from(retry)}}


def task_from(given: Document, queue: str, shortest_seconds: float) -> Document:
    """A new task as it is stored, under a name of ours if the caller gave none."""
    # Random, because the service's own names are; a counter would invite callers to read order into them.
    name = text(given["name"], TASK, "task.name") if given.get("name") else f"{queue}/tasks/{secrets.randbits(63)}"
    require(name.startswith(f"{queue}/tasks/"), "task.name does not belong to the queue")
    # Without a time the database's clock decides, not ours: both need not agree.
    scheduled = _moment(given["scheduleTime"]) if given.get("scheduleTime") else None
    latest = datetime.now(UTC) + timedelta(days=30)
    require(scheduled is None or scheduled <= latest, "scheduleTime is more than 30 days ahead")
    deadline = _seconds(given.get("dispatchDeadline") or "600s", "dispatchDeadline")
    number(deadline, shortest_seconds, _LONGEST_DEADLINE, "dispatchDeadline in seconds")
    return {
        "name": name, "queue": queue, "is_named": bool(given.get("name")), "request": _request_from(given),
        "retry": _retry_from(given.get("retryConfig")) or None, "deadline_seconds": deadline,
        "scheduled_at": scheduled and scheduled.isoformat(),
    }  # fmt: skip


def _request_from(task: Document) -> Document:
    require("httpRequest" in task, "only tasks with an httpRequest are supported here")
    request = mapping(task["httpRequest"], "httpRequest")
    url = text(request.get("url"), r"https?://[!-~]{1,2075}", "httpRequest.url")
    wanted = request.get("httpMethod") or "POST"
    method = next((name for name, value in _METHODS.items() if wanted in (name, value)), "")
    require(method, "httpRequest.httpMethod is invalid")
    headers = mapping(request.get("headers"), "httpRequest.headers")
    for name, value in headers.items():
        text(name, r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header's name")
        text(value, r"[\t -~]*", f"header {name}")
    header_bytes = sum(len(name) + len(value) for name, value in headers.items())
    require(header_bytes <= _HEADER_BYTES, "the headers are larger than 80 KB")
    body = request.get("body") or ""
    size = -1
    with suppress(TypeError, ValueError):
        size = len(base64.b64decode(body, validate=True))
    require(size >= 0, "httpRequest.body is not base64")
    require(not size or method in _BODIES, f"a {method} request cannot have a body")
    total = size + header_bytes + len(url)
    require(total <= _TASK_BYTES, f"Task size too large: {total} bytes, {_TASK_BYTES} are allowed")
    require("oauthToken" not in request, "oauthToken is not supported here; use oidcToken")
    stored = {"url": url, "httpMethod": method, "headers": headers, "body": body}
    if request.get("oidcToken") is not None:
        oidc = mapping(request["oidcToken"], "oidcToken")
        keys = ("serviceAccountEmail", "audience")
        stored["oidcToken"] = {key: text(oidc[key], r"[!-~]{1,2083}", key) for key in keys if oidc.get(key)}
    return stored


def _retry_from(given: object) -> Document:
    """The retry settings that were given, durations in seconds."""
    found: Document = {}
    for key, value in mapping(given, "retryConfig").items():
        if key in _COUNTS:
            found[key] = int(number(value, _COUNTS[key], 2**31 - 1, key))
        elif key in RETRY:
            found[key] = _seconds(value, key)
    if found.get("maxAttempts") == 0:
        del found["maxAttempts"]  # protobuf's way of saying: not given
    least, most = (found.get(key, RETRY[key]) for key in ("minBackoff", "maxBackoff"))
    require("maxBackoff" not in found or least <= most, "minBackoff must not exceed maxBackoff")
    return found


def _seconds(value: object, what: str) -> float:
    return float(text(value, r"\d{1,10}(\.\d{1,9})?s", what)[:-1])


def _moment(value: object) -> datetime:
    when = None
    with suppress(ValueError):
        when = datetime.fromisoformat(str(value))
    if when is None or when.tzinfo is None:
        message = "scheduleTime is not an RFC 3339 time"
        raise Refused(message)
    return when


# Out


def queue_to(row: Document, _view: object = None) -> Document:
    """A stored queue in the service's words."""
    rates = {
        "maxDispatchesPerSecond": row["dispatches_per_second"],
        "maxBurstSize": row["burst"],
        "maxConcurrentDispatches": row["concurrency"],
    }
    found = {"name": row["name"], "rateLimits": rates, "retryConfig": _retry_to(row["retry"]), "state": row["state"]}
    return found | ({"purgeTime": _rfc3339(row["purged_at"])} if row["purged_at"] else {})


def task_to(row: Document, view: object) -> Document:
    """A stored task in the service's words; its body only in the full view."""
    full = view in {2, "2", "FULL"}
    task: Document = {
        "name": row["name"],
        "httpRequest": {key: value for key, value in row["request"].items() if value and (full or key != "body")},
        "scheduleTime": _rfc3339(row["scheduled_at"]),
        "createTime": _rfc3339(row["created_at"]),
        "dispatchDeadline": _duration(row["deadline_seconds"]),
        "dispatchCount": row.get("dispatches", 0),
        "responseCount": row.get("responses", 0),
        "view": "FULL" if full else "BASIC",
    }
    if row.get("retry"):
        task["retryConfig"] = _retry_to(row["retry"])
    if row.get("first_dispatch_at"):
        task["firstAttempt"] = {"dispatchTime": _rfc3339(row["first_dispatch_at"])}
        last: Document = {"scheduleTime": _rfc3339(row["last_scheduled_at"]), "dispatchTime": _rfc3339(row["last_dispatch_at"])}
        task["lastAttempt"] = last
        if row["last_response_at"]:
            last["responseTime"] = _rfc3339(row["last_response_at"])
        if status := row["last_status"]:
            code = 14 if status == http.client.SERVICE_UNAVAILABLE else 2
            last["responseStatus"] = {"code": code, "message": f"HTTP status code {status}"}
    return task


def numbered(answer: Any) -> Any:
    """The answer with its enumerations as numbers, as Google's own clients ask for them."""
    if isinstance(answer, list):
        return [numbered(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {key: _ENUMS[key][value] if key in _ENUMS else numbered(value) for key, value in answer.items()}


def _retry_to(retry: Document) -> Document:
    return {key: retry[key] if key in _COUNTS else _duration(retry[key]) for key in RETRY if key in retry}


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _rfc3339(stored: str) -> str:
    return datetime.fromisoformat(stored).astimezone(UTC).isoformat().replace("+00:00", "Z")
