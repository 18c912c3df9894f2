"""Calls to addresses that a person registered: none of them leads inside, whatever the address, its name or its answer says.

Every name is resolved anew for each call, every address that it has must be one of the open net, and the connection is
made to an address that was looked at, so a name that means something else a moment later changes nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from common import settings
from common.errors import SourceRefused, Unavailable
from common.outgoing import calls
from common.outgoing.calls import Call
from common.rules import addresses
from common.rules.addresses import Place
from common.rules.http import Answer

SECONDS = 30.0
BYTES = 65_536
REDIRECTS = range(300, 400)
Resolve = Callable[[str, int], Sequence[str]]


def resolved(host: str, port: int) -> list[str]:
    """Every IP address of a host.

    Raises: OSError, when it has none, or nobody says which within 5 s.
    """
    told: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            told.put(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            told.put(list(dict.fromkeys(str(address[0]) for *_, address in found)))

    # The system's resolver waits for as long as it likes.
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = told.get(timeout=calls.CONNECT_SECONDS)
    except queue.Empty as error:
        message = "no name server answered in time"
        raise TimeoutError(message) from error
    if isinstance(answer, OSError):
        raise answer
    return answer


def check(url: str, resolve: Resolve = resolved) -> str | None:
    """Why this address may not be called, in words that follow its name; None when it may. Connects to nobody."""
    place = addresses.read(url)
    if isinstance(place, str):
        return place
    if _is_allowed(place):
        return None
    try:
        return addresses.refusal(place) or _inside(resolve(place.host, place.port))
    except OSError:
        return f"must name a host that can be found; {place.host} cannot"


def sent(call: Call, resolve: Resolve = resolved) -> Answer:
    """The answer, whatever its status but a redirect; at most 64 KiB of it, within 30 s, connecting included.

    Raises: SourceRefused, when the address leads inside, or its host answers with a redirect; Unavailable, when the host
    cannot be found, or there is no answer, or not all of it, within these bounds.
    """
    until = time.monotonic() + min(call.seconds, SECONDS)
    place = addresses.read(call.origin + call.target)
    if isinstance(place, str):
        raise _refused(place)
    found = _addresses(place, resolve)
    connection = _connected(place, found, until)
    bounded = replace(call, seconds=max(0.0, until - time.monotonic()), limit=min(call.limit, BYTES))
    answer = calls.sent_over(connection, bounded)
    if answer.status in REDIRECTS:
        message = f"{place.host} answered with a redirect (status {answer.status}), which is not followed: name the final address."
        raise SourceRefused(message)
    return answer


def _addresses(place: Place, resolve: Resolve) -> Sequence[str]:
    """Raises: SourceRefused, Unavailable."""
    is_allowed = _is_allowed(place)
    if not is_allowed and (reason := addresses.refusal(place)):
        raise _refused(reason)
    try:
        found = resolve(place.host, place.port)
    except OSError as error:
        message = f"{place.host} cannot be found ({error})."
        raise Unavailable(message, retry_after_seconds=30) from error
    if not is_allowed and (reason := _inside(found)):
        raise _refused(reason)
    return found


def _inside(found: Sequence[str]) -> str | None:
    # All of them, not the first: which one would be taken is for others to say.
    if found and all(addresses.is_open(address) for address in found):
        return None
    return "must lead to the open net; this host is, or may be, inside a network (ssrf)"


def _is_allowed(place: Place) -> bool:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port}" in settings.load().egress_allow


def _connected(place: Place, found: Sequence[str], until: float) -> http.client.HTTPConnection:
    """A connection to one of the addresses that were looked at, in the name of the host.

    Raises: Unavailable.
    """
    last: OSError = TimeoutError()
    until = min(until, time.monotonic() + calls.CONNECT_SECONDS)
    for address in found:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            raw = socket.create_connection((address, place.port), timeout=left)
        except OSError as error:
            last = error
            continue
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = http.client.HTTPConnection(place.host, place.port)
            if place.scheme == "https":
                connection = http.client.HTTPSConnection(place.host, place.port, context=calls.tls())
                raw = calls.tls().wrap_socket(raw, server_hostname=place.host)
        except (OSError, ssl.CertificateError) as error:
            last = error
            with contextlib.suppress(OSError):
                raw.close()
            continue
        connection.sock = raw
        return connection
    raise calls.lost(place.host, last)


def _refused(reason: str) -> SourceRefused:
    return SourceRefused(f"The address {reason}: it is not called. Change it where it is registered.")
