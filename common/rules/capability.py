"""Capabilities: short-lived tokens that say who may do what to what, and signatures over what is kept longer.

A token reads `<key id>.<claims>.<signature>`; the signature is HMAC-SHA3-256 by itsdangerous. A key that is being rotated
out is still accepted for as long as it is given, by its id. A statement (a vote, a certificate, an export) is signed apart
from its text, so that the text stays readable; the two kinds of signature can never stand in for each other.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from itsdangerous import BadData, Signer, URLSafeSerializer

from common import encoding
from common.errors import TokenRefused

HEADER = "Tidemark-Token"
RING = "ring"
RING_LIFE = timedelta(hours=1)  # beyond its time, so that the queue's own retries are let in
LIFE = timedelta(seconds=30)  # of a token whose use has an effect
SKEW = timedelta(seconds=30)  # between two clocks
LONGEST = 2048  # characters of a token that are looked at

Key: TypeAlias = tuple[str, bytes]  # its id, which is no secret, and what signs
_OPTIONS = {"key_derivation": "hmac", "digest_method": hashlib.sha3_256}


def signed(claims: Mapping[str, Any], key: Key) -> str:
    """A token with these claims: aud, act, sub, exp, iat, nonce; see `claims`."""
    return f"{key[0]}.{_serializer(key).dumps(dict(claims))}"


def claims(
    *, audience: str, action: str, subject: str, now: datetime, life: timedelta = LIFE, nonce: str | None = None
) -> dict[str, Any]:
    """What a token says: that whoever shows it to `audience` within `life` may do `action` to `subject`.

    A subject is one thing and no more, such as `plan/<id>/stage/<no>/shard/<no>/attempt/<no>`, or the digest of a body.
    """
    return {
        "aud": audience,
        "act": action,
        "sub": subject,
        "iat": int(now.timestamp()),
        "exp": int((now + life).timestamp()),
        "nonce": nonce or secrets.token_hex(16),
    }


def opened(
    token: str,
    keys: Sequence[Key],
    audience: str | Collection[str],
    now: datetime,
    *,
    action: str | None = None,
    subject: str | None = None,
) -> dict[str, Any]:
    """The claims of a token that counts here and now, with the id of its key as `kid`.

    Whether its nonce was spent is for the caller to say. Raises: TokenRefused, an Unauthentic, with one of REASONS.
    """
    found = _read(token, keys)
    audiences = {audience} if isinstance(audience, str) else set(audience)
    at = now.timestamp()
    checks = {
        "audience": found["aud"] in audiences,
        "action": action is None or found["act"] == action,
        "subject": subject is None or found["sub"] == subject,
        "early": found["iat"] <= at + SKEW.total_seconds(),
        "expired": at < found["exp"],
    }
    for reason, is_good in checks.items():
        if not is_good:
            raise refused(reason=reason, claimed=found)
    return found


REASONS = {
    "missing": f"Send a token for this as `{HEADER}: <token>`.",
    "unreadable": "The token cannot be read.",
    "key": "The token was signed with a key that does not count here.",
    "signature": "The token's signature is not good.",
    "audience": "The token is meant for somebody else.",
    "action": "The token is for doing something else.",
    "subject": "The token is for something else than this.",
    "early": "The token is from the future: the clocks differ.",
    "expired": "The token has expired.",
    "replayed": "The token has been used before.",
}


def refused(*, reason: str, claimed: Mapping[str, Any] | None = None) -> TokenRefused:
    """The refusal of a token, in words."""
    return TokenRefused(REASONS[reason], reason=reason, claimed=dict(claimed or {}))


def _read(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    if not token:
        raise refused(reason="missing")
    identifier, _, rest = token.partition(".")
    if not rest or len(token) > LONGEST or not token.isascii():
        raise refused(reason="unreadable")
    key = next((key for key in keys if hmac.compare_digest(key[0], identifier)), None)
    if key is None:
        raise refused(reason="key")
    try:
        found = _serializer(key).loads(rest)  # the signature first: nothing that a stranger wrote is unpacked
    except BadData as error:
        raise refused(reason="signature") from error
    names = {"aud": str, "act": str, "sub": str, "nonce": str, "iat": int, "exp": int}
    if not isinstance(found, dict) or any(not isinstance(found.get(name), kind) for name, kind in names.items()):
        raise refused(reason="unreadable")
    return found | {"kid": key[0]}


@functools.lru_cache(maxsize=16)
def _serializer(key: Key) -> URLSafeSerializer:
    return URLSafeSerializer(key[1], salt="tidemark capability", signer_kwargs=_OPTIONS)


# Rings ---------------------------------------------------------------------------------------------------------------


def ring(function: str, body: bytes, key: Key, *, now: datetime, at: datetime | None = None) -> str:
    """The token of a ring for `function` with `body`, due at `at`.

    A ring is a doorbell and may be delivered more than once, so its nonce is never spent: it lets in nothing but a look at
    what the database says is to be done.
    """
    due = max(at or now, now)
    return signed(claims(audience=_door(function), action=RING, subject=_digest(body), now=now, life=due - now + RING_LIFE), key)


def rung(token: str, function: str, body: bytes, keys: Sequence[Key], now: datetime) -> dict[str, Any]:
    """The claims of a ring that counts.

    Raises: TokenRefused, as `opened`.
    """
    return opened(token, keys, _door(function), now, action=RING, subject=_digest(body))


def _door(function: str) -> str:
    return f"/tasks/{function}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# Statements ----------------------------------------------------------------------------------------------------------


def attested(statement: Mapping[str, Any], purpose: str, key: Key) -> str:
    """The signature over a statement that is kept: `<key id>.<signature>`. `purpose` is vote, certificate or export."""
    return f"{key[0]}.{_signer(key, purpose).get_signature(encoding.canonical(statement)).decode()}"


def is_attested(statement: Mapping[str, Any], signature: str, purpose: str, keys: Sequence[Key]) -> bool:
    """Whether a key that counts signed exactly this, for this purpose."""
    identifier, _, value = signature.partition(".")
    return any(
        hmac.compare_digest(key[0].encode(), identifier.encode())
        and _signer(key, purpose).verify_signature(encoding.canonical(statement), value.encode())
        for key in keys
    )


@functools.lru_cache(maxsize=64)
def _signer(key: Key, purpose: str) -> Signer:
    return Signer(key[1], salt=f"tidemark statement {purpose}", **_OPTIONS)  # type: ignore[arg-type]
