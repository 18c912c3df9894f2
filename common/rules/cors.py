"""CORS: which pages of other origins may read, and what their browsers are told. Exact origins, never `*`."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
PREVIEW = "deploy-preview-*--"  # how a Netlify preview's name begins; the star is its number


def may_read(asking: str | None, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may read: it is one of the allowed ones, or a preview of one, letter by letter."""
    return asking is not None and any(re.fullmatch(_pattern(each), asking) for each in allowed)


def may_write(asking: str | None, allowed: Sequence[str], host: str | None) -> bool:
    """Whether what an origin's page sends may change something: no page at all, an allowed one but no preview, or our own.

    Our own came over https, or from this machine: a page of http:// may be anybody's on the way.
    """
    if asking is None or asking in [each for each in allowed if PREVIEW not in each]:
        return True
    parts = urllib.parse.urlsplit(asking)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)
    return bool(host) and is_safe and asking == f"{parts.scheme}://{host}"


def headers(asking: str | None, allowed: Sequence[str]) -> dict[str, str]:
    """What goes with every answer that a page may read, whoever asked."""
    told = {"Vary": "Origin"}
    if asking is not None and may_read(asking, allowed):
        told |= {"Access-Control-Allow-Origin": asking, "Access-Control-Expose-Headers": "ETag, Retry-After"}
    return told


def preflight(asking: str | None, allowed: Sequence[str]) -> dict[str, str]:
    """What a preflight is told, the same whatever it asks for."""
    told = headers(asking, allowed)
    if "Access-Control-Allow-Origin" in told:
        told |= {
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Authorization, If-None-Match",
            "Access-Control-Max-Age": "600",
        }
    return told


def _pattern(allowed: str) -> str:
    return re.escape(allowed).replace(re.escape(PREVIEW), r"deploy-preview-[0-9]{1,6}--", 1)
