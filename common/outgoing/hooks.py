"""One signed webhook, as Standard Webhooks 1.0 has it. Its receiver may get it more than once, each time with the same id."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from datetime import UTC, datetime

from common.errors import Throttled, Unavailable
from common.outgoing import breakers, calls
from common.outgoing.calls import Call

BREAKER = "alert_webhook"
SECONDS = 5.0
BYTES = 65_536  # of the answer, which is read and forgotten
TOO_MANY, SERVER_ERROR = 429, 500
LONGEST_WAIT = 86_400


def post(url: str, secrets: Sequence[str], identifier: str, body: str) -> int:
    """The status of the answer to `body`, signed with every secret.

    Raises: Suspended, Throttled; Unavailable, when there was no answer in time, or the receiver is in trouble. Then it is
    not known whether it has it.
    """
    parts = urllib.parse.urlsplit(url)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = {"Content-Type": "application/json", "User-Agent": "Tidemark", **signed(secrets, identifier, body)}
    call = Call("POST", f"{parts.scheme}://{parts.netloc}", target, headers, body.encode(), seconds=SECONDS, limit=BYTES)
    with breakers.guarded(BREAKER):
        answer = calls.sent(call)
        if answer.status == TOO_MANY:
            message = "The receiver of alerts has too many requests."
            raise Throttled(message, retry_after_seconds=seconds_of(answer.headers.get("retry-after")))
        if answer.status >= SERVER_ERROR:
            message = f"The receiver of alerts answered status {answer.status}."
            raise Unavailable(message, retry_after_seconds=seconds_of(answer.headers.get("retry-after")))
        return answer.status


def signed(secrets: Sequence[str], identifier: str, body: str) -> dict[str, str]:
    """The three headers, as of now."""
    from standardwebhooks import Webhook  # noqa: PLC0415 - 33 ms that only those pay who send

    at = datetime.now(UTC)
    signatures = [Webhook(secret).sign(identifier, at, body) for secret in secrets]
    return {"webhook-id": identifier, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": " ".join(signatures)}


def seconds_of(text: str | None) -> int:
    """Seconds that a header names; 0 for anything else, such as a date."""
    return min(int(text), LONGEST_WAIT) if text and text.isascii() and text.isdigit() and len(text) < 12 else 0  # noqa: PLR2004 - no header needs more
