"""One JSON line per event: a constant name, facts as fields, and the request's trace id; never a body, never a secret."""

from __future__ import annotations

import contextvars
import functools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from common import encoding

SECRET_KEY = re.compile(
    r"authorization|cookie|token|secret|signature|password|passwd|api[-_]?key|webhook[-_]?key|x-zoho|credential", re.IGNORECASE
)
REDACTED = "[redacted]"

_bound: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("log_fields", default={})  # noqa: B039
_protected: set[str] = set()


def protect(*secrets: str) -> None:
    """Never let these values, long enough to be secrets, appear in a line."""
    _protected.update(secret for secret in secrets if len(secret) >= 8)  # noqa: PLR2004


def redact(value: Any, key: str = "") -> Any:
    """`value` as it may be shown: secret by the name of its key, or by containing a protected value."""
    if key and _is_secret(key):
        return REDACTED
    if isinstance(value, dict):
        return {name: redact(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if isinstance(value, str):
        for secret in _protected:
            if secret in value:
                value = value.replace(secret, REDACTED)
    return value


@functools.lru_cache(1024)
def _is_secret(key: str) -> bool:
    return SECRET_KEY.search(key) is not None


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Every line written inside carries `fields`."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def info(event: str, **fields: Any) -> None:
    """What happened, as `noun.past_verb`."""
    _write("INFO", event, fields)


def warning(event: str, **fields: Any) -> None:
    """What was healed or will be tried again."""
    _write("WARNING", event, fields)


def error(event: str, **fields: Any) -> None:
    """What a person must look at."""
    _write("ERROR", event, fields)


def _write(severity: str, event: str, fields: dict[str, Any]) -> None:
    line = {"severity": severity, "message": event, "time": datetime.now(UTC), **_bound.get(), **fields}
    try:
        text = encoding.dumps(redact(line))
    except (TypeError, ValueError):
        text = encoding.dumps({key: str(value) for key, value in redact(line).items()})
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def field(name: str) -> Any:
    """A field that is bound now."""
    return _bound.get().get(name)
