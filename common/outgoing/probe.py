"""What a running service itself says: whether it is well, and which version of it runs. Nothing of a provider's word is in it."""

from __future__ import annotations

import time
import urllib.parse
from typing import Any, NamedTuple

from common import encoding, settings
from common.errors import AppError
from common.outgoing import egress
from common.outgoing.calls import Call
from common.rules.deploys import Target
from common.rules.http import Answer

SECONDS = 5.0
WORDS = 200  # characters of what went wrong
GOOD = range(200, 300)
OK = 200
FIELD = "version"


class Probe(NamedTuple):
    """What came of asking a service whether it is well."""

    ok: bool
    status: int | None  # None: there was no answer
    took_ms: float
    said: str  # for people


def health(target: Target) -> Probe:
    """Whether the service answers 2xx at its health path in time. Never raises for what the service does."""
    url = target.config.get("url")
    if not url:
        return Probe(ok=False, status=None, took_ms=0.0, said=f"nobody knows where {target.name} runs: set `url` in its config")
    path = str(target.config.get("health_path") or settings.load().healthcheck_path)
    began = time.monotonic()
    try:
        answer = _asked(str(url), path)
    except AppError as error:
        return Probe(ok=False, status=None, took_ms=_since(began), said=error.detail[:WORDS])
    is_well = answer.status in GOOD
    said = f"{path} answered status {answer.status}"
    return Probe(ok=is_well, status=answer.status, took_ms=_since(began), said=said)


def version(target: Target) -> str | None:
    """The version that the service says it is; None when it cannot be asked, does not answer, or does not say.

    It is the field `version_field` (a.b for one inside another) of the JSON at `version_path`.
    """
    url, path = target.config.get("url"), target.config.get("version_path")
    if not url or not path:
        return None
    try:
        answer = _asked(str(url), str(path))
        document: Any = encoding.loads(answer.body) if answer.status == OK else None
    except (AppError, ValueError):
        return None
    for name in str(target.config.get("version_field") or FIELD).split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, str) and document else None


def _asked(url: str, path: str) -> Answer:
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": "application/json", "User-Agent": "Tidemark", "Cache-Control": "no-cache"}
    place = f"{parts.path.rstrip('/')}{path}"
    return egress.sent(Call("GET", f"{parts.scheme}://{parts.netloc}", place, headers, seconds=SECONDS))


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000
