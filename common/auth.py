"""Who is calling, and how far they may reach: operator tokens with roles, and the tasks that functions send each other."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from enum import IntEnum

from common import db, settings
from common.errors import Forbidden, Throttled, Unauthentic
from common.rules.http import Request
from common.stores import operators

TOKEN = re.compile(r"ops_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
LONGEST_LIFE = timedelta(days=90)


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
