"""One signed webhook to an address that somebody subscribed with, as Standard Webhooks 1.0 has it.

Each subscription waits for itself when its receiver is in trouble, so there is no circuit breaker around it.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import SourceRefused, Throttled, Unavailable
from common.outgoing import egress, hooks
from common.outgoing.calls import Call
from common.rules import addresses

SECONDS = 5.0
BYTES = 65_536  # of the answer, which is read and forgotten
GOOD, GONE, TOO_MANY = range(200, 300), 410, 429


class Gone(SourceRefused):
    """The receiver wants nothing any more."""


def post(url: str, secrets: Sequence[str], identifier: str, body: str) -> None:
    """Tell it, signed with every secret; it may get it more than once, each time with the same id.

    Raises: Gone; Throttled; SourceRefused, when the address leads inside, or the receiver does not take it; Unavailable,
    when there was no answer in time. Then it is not known whether it has it.
    """
    place = addresses.read(url)
    if isinstance(place, str):
        message = f"The address {place}: it is not called."
        raise SourceRefused(message)
    headers = {"Content-Type": "application/json", "User-Agent": "Tidemark", **hooks.signed(secrets, identifier, body)}
    host = f"[{place.host}]" if ":" in place.host else place.host
    call = Call("POST", f"{place.scheme}://{host}:{place.port}", place.target, headers, body.encode(), seconds=SECONDS, limit=BYTES)
    answer = egress.sent(call)
    if answer.status in GOOD:
        return
    message = f"The receiver answered status {answer.status}."
    if answer.status == GONE:
        raise Gone(message)
    if answer.status == TOO_MANY:
        raise Throttled(message, retry_after_seconds=hooks.seconds_of(answer.headers.get("retry-after")))
    if answer.status >= hooks.SERVER_ERROR:
        raise Unavailable(message)
    raise SourceRefused(message)
