"""Who is calling, and how far they may reach: operator tokens with roles, and the tasks that functions send each other."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from common import db, log, settings
from common.errors import AppError, Forbidden, Throttled, TokenRefused, Unauthentic
from common.rules import capability as capabilities
from common.rules.http import Request
from common.stores import nonces, operators, refusals

TOKEN = re.compile(r"ops_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
LONGEST_LIFE = timedelta(days=90)
CLOCK = "/tasks/tick"


class Role(IntEnum):
    """What an operator may do; each reaches as far as the ones before it."""

    VIEWER = 1
    OPERATOR = 2
    OWNER = 3


def new_token(identifier: str | None = None) -> tuple[str, str, str]:
    """A token that is shown once, with the id and the hash that are stored of it."""
    identifier = identifier or secrets.token_hex(4)
    token = f"ops_{identifier}_{secrets.token_urlsafe(32)}"
    return token, identifier, _hash(token)


def operator(request: Request, need: Role) -> str:
    """The name of the operator who calls.

    Raises: Unauthentic, for no token or one that does not count; Forbidden, for a role that does not reach `need`;
            Throttled, when the token was used too often.
    """
    offered = _bearer(request)
    found = _known(offered)
    if found is None:
        message = "Send a token that is active as `Authorization: Bearer <token>`; an owner makes one with `tidemark token create`."
        raise Unauthentic(message)
    identifier, name, role = found
    with db.transaction("operator") as tx:
        wait = operators.throttled_for(tx, identifier)
    if wait:
        message = f"This token has been used too often; it may be used again in {wait} seconds."
        raise Throttled(message, retry_after_seconds=wait)
    if role < need:
        message = f"This needs the role {need.name.lower()}; the token has {role.name.lower()}."
        raise Forbidden(message)
    return name


def page(request: Request) -> str:
    """Who reads for the static page: the page itself by its token, or an operator who may read.

    Raises: what `operator` raises.
    """
    token = settings.load().page_token
    if token and hmac.compare_digest(token.encode(), _bearer(request).encode("utf-8", "surrogateescape")):
        return "page"
    return operator(request, Role.VIEWER)


def task(request: Request) -> None:
    """Let in only what was sent by a task queue or a clock of ours.

    Raises: Unauthentic. The queue's own headers prove nothing: anybody can send them.
    """
    offered = _bearer(request).encode("utf-8", "surrogateescape")
    matches = [hmac.compare_digest(offered, key.encode()) for key in settings.load().task_keys]
    if not any(matches):
        message = "Only tasks may call this."
        raise Unauthentic(message)


def rung(request: Request) -> None:
    """Let in a ring that bears a token for this function and this body, after `task`.

    The clock calls tick alone, with nothing in the body: what it may do without a token is to look what is due. While
    HXO_ZERO_TRUST is false the caller's key is enough for everything.
    Raises: TokenRefused, after it was written down.
    """
    current = settings.load()
    if not current.hxo_zero_trust or (request.path == CLOCK and not request.body):
        return
    offered, function = request.header(capabilities.HEADER.lower()) or "", request.path.rpartition("/")[2]
    try:
        capabilities.rung(offered, function, request.body, current.signing_keys, datetime.now(UTC))
    except TokenRefused as error:
        _write_down(request, capabilities.RING, error)
        raise


def capability(request: Request, act: str, subject: str | None = None) -> dict[str, Any]:
    """The claims of the token that lets a caller do `act` here, once: as `Tidemark-Token`, or as the bearer's.

    It must be meant for this deployment, by its name or by its FUNCTIONS_URL. Its nonce is spent with this call.
    Raises: TokenRefused, after it was written down; Unavailable, when the database is: then nothing was let in.
    """
    current = settings.load()
    offered = request.header(capabilities.HEADER.lower()) or _bearer(request)
    here = {current.deployment, current.functions_url}
    try:
        claims = capabilities.opened(offered, current.signing_keys, here, datetime.now(UTC), action=act, subject=subject)
        until = datetime.fromtimestamp(claims["exp"], UTC) + capabilities.SKEW
        with db.transaction("operator") as tx:
            is_first = nonces.spend(tx, claims["nonce"], until)
        if not is_first:
            raise capabilities.refused(reason="replayed", claimed=claims)
    except TokenRefused as error:
        _write_down(request, act, error)
        raise
    return claims


def _write_down(request: Request, act: str, error: TokenRefused) -> None:
    """Who showed a token that does not count, for what, and why not. That this fails lets nobody in."""
    log.warning("capability.refused", act=act, path=request.path[:256], reason=error.reason, address=request.address)
    try:
        with db.transaction("operator") as tx:
            refusals.add(
                tx, who=request.address or "unknown", what=f"{act} {request.path}", why=error.reason, claimed=error.claimed
            )
    except AppError as failure:
        log.error("refusal.not_written", reason=failure.detail)


def _bearer(request: Request) -> str:
    kind, _, token = (request.header("authorization") or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _known(offered: str) -> tuple[str, str, Role] | None:
    first = settings.load().admiral_token
    if first and hmac.compare_digest(first.encode(), offered.encode("utf-8", "surrogateescape")):
        return "admiral", "admiral", Role.OWNER
    match = TOKEN.fullmatch(offered)
    if match is None:
        return None
    with db.transaction("operator") as tx:
        stored = operators.find(tx, match[1])
    if stored is None or not hmac.compare_digest(stored.hash, _hash(offered)):
        return None
    return stored.id, stored.name, Role[stored.role.upper()]


def _hash(token: str) -> str:
    # High entropy, so a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()
