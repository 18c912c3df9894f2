"""Switching traffic from one service to another, and draining the one that had it. What counts is what the public sees."""

from __future__ import annotations

import math
import urllib.parse
from datetime import UTC, datetime

from common import encoding, settings
from common.errors import Refused, SourceRefused, Unavailable
from common.outgoing import egress, hooks, probe
from common.outgoing.calls import Call
from common.rules import capability
from common.rules.deploys import Target

SECONDS = 10.0
SERVER_ERROR, GOOD, CONFLICT = 500, range(200, 300), 409
DRAIN = "/api/hxo/graceful-shutdown"  # where a Tidemark is drained
FRONT = "public_url"  # where people reach whichever of the two it is


def public(target: Target) -> str | None:
    """The version that people get, as the service that answers them says it; None when nobody says."""
    return probe.version(Target(target.name, target.provider, {**target.config, "url": target.config.get(FRONT)}))


def switch(*, to: Target, former: Target, deployment: str) -> bool:
    """Ask whoever directs the traffic (TRAFFIC_HOOK) to send it to `to`; False when nobody does, and a person has to.

    It may be asked more than once, each time for the same. Raises: Unavailable; SourceRefused, when it says no.
    """
    current = settings.load()
    if not current.traffic_hook:
        return False
    body = encoding.dumps({"from": former.name, "to": to.name, "deployment_id": deployment})
    signed = hooks.signed(current.traffic_hook_secret, f"switch-{deployment}-{to.name}", body)
    _post(current.traffic_hook, body, signed, "the traffic hook")
    return True


def drain(target: Target, *, resume: bool = False) -> bool:
    """Ask a Tidemark that loses its traffic to finish what it is at, or to go on; False when it has no address for that.

    It may be asked more than once: one that goes on already is fine with being told to.
    Raises: Unavailable; SourceRefused, when it says no.
    """
    url = target.config.get("drain_url")
    if not url:
        return False
    # By the clock on the wall: the other one looks at its own, and the database's may be a third.
    claims = capability.claims(audience=_audience(str(url)), action="drain", subject="drain", now=datetime.now(UTC))
    token = capability.signed(claims, settings.load().signing_keys[0])
    body = encoding.dumps({"resume": True} if resume else {})
    _post(str(url), body, {capability.HEADER: token}, f"the drain of {target.name}", also=CONFLICT if resume else None)
    return True


def _audience(url: str) -> str:
    """Who is meant: whoever has this FUNCTIONS_URL, which may have a path of its own before that of the drain."""
    return (
        url.removesuffix(DRAIN).rstrip("/") if url.endswith(DRAIN) else "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    )


def _post(url: str, body: str, headers: dict[str, str], what: str, *, also: int | None = None) -> None:
    parts = urllib.parse.urlsplit(url)
    place = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    sent = {"Content-Type": "application/json", "User-Agent": "Tidemark", **headers}
    try:
        answer = egress.sent(Call("POST", f"{parts.scheme}://{parts.netloc}", place, sent, body.encode(), seconds=SECONDS))
    except Refused as error:
        raise SourceRefused(error.detail) from error
    if answer.status >= SERVER_ERROR:
        message = f"{what} answered status {answer.status}."
        raise Unavailable(message, retry_after_seconds=math.ceil(SECONDS))
    if answer.status not in GOOD and answer.status != also:
        message = f"{what} answered status {answer.status}: look at its address, and at the secret that signs."
        raise SourceRefused(message)
