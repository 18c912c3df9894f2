"""Where Zoho is, per data centre, and what its accounts server answers to a refresh token."""

from __future__ import annotations

import urllib.parse
from typing import Any, NamedTuple

import orjson

from common.errors import SourceRefused, Throttled, Unavailable
from common.rules.http import Answer

LIFE_SECONDS = 3600.0
BLOCKED_SECONDS = 600
MILLISECONDS = 86_400  # more than this is no life in seconds: older answers count in milliseconds


class Centre(NamedTuple):
    """One data centre; a token of one is refused by every other."""

    api: str
    accounts: str


CENTRES = {
    "us": Centre("https://www.zohoapis.com", "https://accounts.zoho.com"),
    "eu": Centre("https://www.zohoapis.eu", "https://accounts.zoho.eu"),
    "in": Centre("https://www.zohoapis.in", "https://accounts.zoho.in"),
    "au": Centre("https://www.zohoapis.com.au", "https://accounts.zoho.com.au"),
    "jp": Centre("https://www.zohoapis.jp", "https://accounts.zoho.jp"),
    "ca": Centre("https://www.zohoapis.ca", "https://accounts.zohocloud.ca"),
    "cn": Centre("https://www.zohoapis.com.cn", "https://accounts.zoho.com.cn"),
    "sa": Centre("https://www.zohoapis.sa", "https://accounts.zoho.sa"),
}


class Granted(NamedTuple):
    """A new access token."""

    access_token: str
    api_domain: str | None  # where it counts, if that is one of Zoho's hosts
    seconds: float  # that it counts


def granted(answer: Answer) -> Granted:
    """The access token that a refresh brought. Errors come with status 200, so it is the token that is looked for.

    Raises: SourceRefused, when no other answer is to be had with these credentials; Throttled, when there were too many
    refreshes; Unavailable, when the accounts server is in trouble.
    """
    try:
        document = orjson.loads(answer.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        message = f"Zoho's accounts server answered no JSON, with status {answer.status}."
        raise Unavailable(message, retry_after_seconds=10)
    token = document.get("access_token")
    if isinstance(token, str) and token.isascii() and token.isprintable() and token:
        return Granted(token, trusted(document.get("api_domain")), _seconds(document))
    said = f"{document.get('error')}"[:100]
    if answer.status == 429 or "many requests" in str(document.get("error_description")).lower():  # noqa: PLR2004
        message = f"Zoho gives no access token for some minutes, because too many were asked for ({said})."
        raise Throttled(message, retry_after_seconds=BLOCKED_SECONDS)
    if answer.status >= 500:  # noqa: PLR2004
        message = f"Zoho's accounts server answered status {answer.status}."
        raise Unavailable(message, retry_after_seconds=10)
    message = (
        f"Zoho gives no access token: {said}. Check ZOHO_DC, ZOHO_CLIENT_ID and ZOHO_CLIENT_SECRET; "
        "if they are right, the refresh token was revoked: make a new one and set ZOHO_REFRESH_TOKEN."
    )
    raise SourceRefused(message)


def trusted(domain: Any) -> str | None:
    """The API's origin, if it is one of Zoho's: an answer must not lead our token anywhere else."""
    parts = urllib.parse.urlsplit(domain if isinstance(domain, str) else "")
    origin = f"https://{parts.hostname}"
    known = parts.scheme == "https" and parts.netloc == parts.hostname and origin in {centre.api for centre in CENTRES.values()}
    return origin if known else None


def _seconds(document: dict[str, Any]) -> float:
    given = document.get("expires_in_sec") or document.get("expires_in")
    if not isinstance(given, int | float) or isinstance(given, bool) or given <= 0:
        return LIFE_SECONDS
    return min(LIFE_SECONDS, given / 1000 if given > MILLISECONDS else given)
