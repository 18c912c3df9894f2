"""A secret of one's own in a header: what many set up in Zoho as a custom header, since its signature is optional."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from common.errors import Refused
from common.rules.http import Request

HEADER = "x-webhook-key"


def is_offered(request: Request) -> bool:
    """Whether the request carries this scheme's header.

    Raises: Refused, when it carries it more than once.
    """
    values = request.headers_named(HEADER)
    if len(values) > 1:
        message = f"The header {HEADER} was sent more than once."
        raise Refused(message)
    return bool(values)


def matches(secret: str, request: Request) -> bool:
    """Whether the header holds `secret`."""
    return hmac.compare_digest(secret.encode(), (request.header(HEADER) or "").encode("utf-8", "surrogateescape"))


def sign(secret: str, request: Request) -> dict[str, str]:  # noqa: ARG001 - every scheme is called alike
    """The headers that make the request authentic."""
    return {"X-Webhook-Key": secret}


def variants(secret: str, request: Request) -> Iterator[tuple[str, bool]]:
    """The header as it should be, and with what people leave around it."""
    yield "as documented", matches(secret, request)
    offered = (request.header(HEADER) or "").strip().strip("\"'")
    yield "with spaces or quotes around it", hmac.compare_digest(secret.encode(), offered.encode("utf-8", "surrogateescape"))
