"""Standard Webhooks 1.0: webhook-id, webhook-timestamp and webhook-signature, checked by the standard's own library."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from common.errors import Refused
from common.rules.http import Request

HEADER = "webhook-signature"
ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")  # printable, without the dot that separates it in the signed text


def is_offered(request: Request) -> bool:
    """Whether the request carries this scheme's signature.

    Raises: Refused, when a header was sent twice or the id cannot be one.
    """
    if not request.headers_named(HEADER):
        return False
    for name in (HEADER, "webhook-id", "webhook-timestamp"):
        values = request.headers_named(name)
        # WSGI joins a header that came twice by a comma; a signature has one of its own, after its version.
        if len(values) > 1 or any(part.count(",") > (name == HEADER) for value in values for part in value.split(" ")):
            message = f"The header {name} was sent more than once."
            raise Refused(message)
    if not ID.fullmatch(request.header("webhook-id") or ""):
        message = "The header webhook-id must have 1 to 256 printable characters and no dot."
        raise Refused(message)
    return True


def matches(secret: str, request: Request) -> bool:
    """Whether `secret` signed the request within the last five minutes."""
    from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415 - 33 ms that Zoho's own scheme need not pay

    headers = {name: request.header(name) or "" for name in ("webhook-id", "webhook-timestamp")}
    headers[HEADER] = " ".join(filter(_is_readable, (request.header(HEADER) or "").split(" ")))
    try:
        Webhook(secret).verify(request.body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError, OverflowError):
        return False
    return True


def sign(secret: str, request: Request) -> dict[str, str]:
    """The headers that make the request authentic now; the id is the request's own, if it has one."""
    from standardwebhooks import Webhook  # noqa: PLC0415

    at = datetime.now(UTC)
    identifier = request.header("webhook-id") or f"msg_{at.timestamp():.6f}".replace(".", "_")
    signature = Webhook(secret).sign(identifier, at, request.body.decode())
    return {"webhook-id": identifier, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def variants(secret: str, request: Request) -> Iterator[tuple[str, bool]]:
    """Whether the request was signed as documented; the library allows no other way."""
    yield "as documented", matches(secret, request)


def _is_readable(signature: str) -> bool:
    version, _, encoded = signature.partition(",")
    try:
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return version == "v1"
