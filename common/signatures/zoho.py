"""Zoho Books, Inventory and Billing: lowercase hex HMAC-SHA256 over the sorted parameters, then the raw JSON.

The signed text is every pair of the query and of a form body, decoded, sorted by key, as key and value without any
separator, followed by the raw body when that is JSON. There is no timestamp in it: replays are stopped by the key.
Source: Zoho Billing KB "Securing webhooks".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Iterator

from common.errors import Refused
from common.rules.http import Request

HEADER = "x-zoho-webhook-signature"
HEX = re.compile(r"[0-9a-fA-F]{64}")


def is_offered(request: Request) -> bool:
    """Whether the request carries this scheme's signature.

    Raises: Refused, when it carries more than one.
    """
    values = request.headers_named(HEADER)
    if len(values) > 1 or (values and "," in values[0]):
        message = f"The header {HEADER} was sent more than once."
        raise Refused(message)
    return bool(values)


def matches(secret: str, request: Request) -> bool:
    """Whether `secret` signed the request."""
    offered = (request.header(HEADER) or "").strip()
    expected = _hex(secret, signed_text(request))
    return bool(HEX.fullmatch(offered)) and hmac.compare_digest(expected, offered.lower())


def sign(secret: str, request: Request) -> dict[str, str]:
    """The headers that make the request authentic."""
    return {"X-Zoho-Webhook-Signature": _hex(secret, signed_text(request))}


def signed_text(request: Request) -> bytes:
    """What the sender hashed."""
    if not request.query and not _is_form(request.body):
        return request.body
    pairs = _pairs(request.query)
    if _is_form(request.body):
        return _joined(pairs + _pairs(request.body.decode("utf-8", "surrogateescape")))
    return _joined(pairs) + request.body


def variants(secret: str, request: Request) -> Iterator[tuple[str, bool]]:
    """Ways in which senders get the scheme wrong, and whether this request was signed in that way."""
    offered = (request.header(HEADER) or "").strip()
    pairs = _pairs(request.query)
    undecoded = [(key, value) for key, _, value in (pair.partition("=") for pair in request.query.split("&") if pair)]
    texts = {
        "as documented": signed_text(request),
        "body only, query left out": request.body,
        "query and body, query not decoded": _joined(undecoded) + request.body,
        "query and body, query not sorted": "".join(key + value for key, value in pairs).encode() + request.body,
        "query and body, joined with = and &": urllib.parse.urlencode(sorted(pairs)).encode() + request.body,
        "body with the spaces around it removed": request.body.strip(),
        "query only, body left out": _joined(pairs),
    }
    for name, text in texts.items():
        digest = hmac.new(secret.encode(), text, hashlib.sha256).digest()
        yield f"{name}, hex", _same(digest.hex(), offered.lower())
        yield f"{name}, base64", _same(base64.b64encode(digest).decode(), offered)
        yield f"{name}, SHA-256 without HMAC", _same(hashlib.sha256(text + secret.encode()).hexdigest(), offered.lower())
    yield "the secret itself as the signature", _same(secret, offered)


def _same(expected: str, offered: str) -> bool:
    return hmac.compare_digest(expected.encode(), offered.encode("utf-8", "surrogateescape"))


def _hex(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _is_form(body: bytes) -> bool:
    # By its first character, not by Content-Type: Zoho is known to send JSON as a form type.
    start = body[:64].lstrip()
    return bool(start) and start[:1] not in b'{["' and b"=" in body[:4096]


def _pairs(text: str) -> list[tuple[str, str]]:
    return urllib.parse.parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _joined(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(key + value for key, value in sorted(pairs)).encode("utf-8", "surrogateescape")
