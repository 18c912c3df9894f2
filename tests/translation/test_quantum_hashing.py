"""quantum hashing / QEH: SHA3-256 digests, and a keyed MAC with a key id, a nonce and a time. No more than that is claimed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from common import settings
from common.errors import TokenRefused
from common.flows import plan_status
from common.rules import capability, merkle
from common.rules.http import Request
from tests.functions.shells import wsgi
from tests.truth import finished

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = ("one", b"k" * 32)


def a_token(key: capability.Key = KEY, nonce: str | None = None, deployment: str = "default", now: datetime = NOW) -> str:
    return capability.signed(capability.claims(audience=deployment, action="drain", subject="blue", now=now, nonce=nonce), key)


def is_refused(token: str, key: capability.Key = KEY) -> bool:
    try:
        capability.opened(token, [key], "default", NOW)
    except TokenRefused:
        return True
    return False


def test_one_flipped_bit_is_refused_wherever_it_is():
    token = a_token().encode()
    flipped = [bytes([*token[:at], token[at] ^ 1 << bit, *token[at + 1 :]]) for at in range(len(token)) for bit in (0, 1, 4)]
    # base64 does not use all bits of a last character: what decodes to the same bytes is the same token.
    assert not is_refused(token.decode())
    assert all(is_refused(each.decode("latin-1")) for each in flipped if each[:-1] != token[:-1])


def test_the_wrong_key_is_refused():
    assert is_refused(a_token(), ("two", b"k" * 32))
    assert is_refused(a_token(), ("one", b"x" * 32))


def test_a_nonce_that_is_used_again_is_refused(sql):
    tokens = [a_token(settings.load().signing_keys[0], nonce="once", now=datetime.now(UTC)) for _ in range(2)]
    statuses = [drain(token) for token in tokens]
    assert statuses == [202, 401]


def drain(token: str) -> int:
    return wsgi(Request("POST", "/api/hxo/graceful-shutdown", "", (("tidemark-token", token),), b"{}"), "plans").status


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("flag", "name", "function"), [("true", "sha3_256", hashlib.sha3_256), ("false", "sha256", hashlib.sha256)], ids=["on", "off"]
)
def test_it_means_sha3_256_and_off_means_sha_256_and_the_root_says_which(flag, name, function, sql, configured):
    configured(HXO_QUANTUM_HASHING=flag)
    plan = finished()
    found = plan_status.status(plan)
    assert found["hash"] == name
    leaves = b"".join(row[0] for row in sql("select digests from tidemark.leaves order by lo"))
    assert leaves[:32] == function(b"\x00trial 0").digest()
    stage = merkle.root(merkle.hasher(name), [leaves[at : at + 32] for at in range(0, len(leaves), 32)])
    over = [function(b"\x00" + bytes.fromhex(found["merkle_seed"])).digest(), function(b"\x00" + stage).digest()]
    assert found["merkle_root"] == function(b"\x01" + over[0] + over[1]).hexdigest()


def test_fault_10_a_signature_needs_a_key_and_can_be_checked_again():
    """The origin's had no key, so anybody could make one; and mixed in entropy that it threw away, so nobody could check one."""
    said = {"plan": 7}
    unkeyed = hashlib.sha3_256(b'{"plan":7}').hexdigest()
    assert not capability.is_attested(said, f"one.{unkeyed}", "vote", [KEY])
    signature = capability.attested(said, "vote", KEY)
    assert all(capability.is_attested(said, signature, "vote", [KEY]) for _ in range(2))
    assert capability.attested(said, "vote", KEY) == signature
