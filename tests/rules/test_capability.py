"""Capabilities: what counts, and every way in which one does not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TokenRefused, Unauthentic
from common.rules import capability

KEY, OTHER = ("new", b"k" * 32), ("old", b"o" * 32)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SHARD = "plan/7/stage/0/shard/3/attempt/1"


def a_token(key=KEY, *, audience="green", action="run", subject=SHARD, now=NOW, **more):
    return capability.signed(capability.claims(audience=audience, action=action, subject=subject, now=now) | more, key)


def reason(token, *, keys=(KEY,), audience="green", now=NOW, action="run", subject=SHARD):
    with pytest.raises(TokenRefused) as caught:
        capability.opened(token, keys, audience, now, action=action, subject=subject)
    assert isinstance(caught.value, Unauthentic)
    return caught.value.reason


def test_a_token_opens_to_what_it_says():
    claims = capability.opened(a_token(nonce="n"), [KEY], {"green", "http://green"}, NOW, action="run", subject=SHARD)
    assert claims == {
        "aud": "green", "act": "run", "sub": SHARD, "iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 30, "nonce": "n",
        "kid": "new",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "missing"),
        ("nothing", "unreadable"),
        ("new.", "unreadable"),
        ("new." + "x" * 4000, "unreadable"),
        ("new.é", "unreadable"),
        ("new.e30", "signature"),
        ("unheard.e30.x", "key"),
    ],
)
def test_what_is_no_token_is_refused(token, why):
    assert reason(token) == why


def test_a_token_of_which_one_character_was_changed_is_refused():
    token = a_token()
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert reason(changed) in {"key", "signature", "unreadable"}


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading(text):
    with pytest.raises(TokenRefused):
        capability.opened(text, [KEY], "green", NOW)


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({"audience": "blue"}, "audience"),
        ({"action": "drain"}, "action"),
        ({"subject": "plan/7/stage/0/shard/4/attempt/1"}, "subject"),
        ({"subject": "plan/7/stage/0/shard/3/attempt/2"}, "subject"),
        ({"now": NOW + timedelta(seconds=30)}, "expired"),
        ({"now": NOW - timedelta(seconds=31)}, "early"),
        ({"keys": [OTHER]}, "key"),
        ({"keys": [("new", b"another key of the same id")]}, "signature"),
        ({"keys": []}, "key"),
    ],
    ids=str,
)
def test_a_token_counts_for_one_audience_act_subject_and_time(given_, why):
    assert reason(a_token(), **given_) == why


def test_a_key_that_is_being_rotated_out_still_counts_until_it_is_gone():
    old = a_token(OTHER)
    assert capability.opened(old, [KEY, OTHER], "green", NOW)["kid"] == "old"
    assert reason(old, keys=[KEY]) == "key"


def test_claims_that_lack_something_are_refused_though_they_are_signed():
    for missing in ("aud", "act", "sub", "iat", "exp", "nonce"):
        claims = capability.claims(audience="green", action="run", subject=SHARD, now=NOW)
        del claims[missing]
        assert reason(capability.signed(claims, KEY)) == "unreadable"
    assert reason(a_token(exp="never")) == "unreadable"


def test_a_token_without_a_signature_as_some_libraries_take_it_is_refused():
    claims = capability.claims(audience="green", action="run", subject=SHARD, now=NOW)
    bare = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert {reason(f"new.{bare}"), reason(f"new.{bare}."), reason(f"none.{bare}.")} == {"signature", "key"}


def test_two_tokens_for_the_same_are_never_the_same():
    assert a_token() != a_token()


# Rings ---------------------------------------------------------------------------------------------------------------


def test_a_ring_is_for_one_function_and_one_body():
    token = capability.ring("shards", b'{"empty":0}', KEY, now=NOW)
    assert capability.rung(token, "shards", b'{"empty":0}', [KEY], NOW)["act"] == "ring"
    for function, body in (("process", b'{"empty":0}'), ("shards", b'{"empty":1}'), ("shards", b"")):
        with pytest.raises(TokenRefused):
            capability.rung(token, function, body, [KEY], NOW)


def test_a_ring_counts_for_an_hour_after_it_is_due_so_that_retries_are_let_in():
    due = NOW + timedelta(minutes=30)
    token = capability.ring("shards", b"", KEY, now=NOW, at=due)
    assert capability.rung(token, "shards", b"", [KEY], due + timedelta(minutes=59))
    with pytest.raises(TokenRefused) as caught:
        capability.rung(token, "shards", b"", [KEY], due + timedelta(minutes=61))
    assert caught.value.reason == "expired"


def test_a_ring_may_come_twice():
    token = capability.ring("shards", b"", KEY, now=NOW)
    assert capability.rung(token, "shards", b"", [KEY], NOW) == capability.rung(token, "shards", b"", [KEY], NOW)


def test_a_capability_is_no_ring_and_a_ring_no_capability():
    with pytest.raises(TokenRefused):
        capability.rung(a_token(audience="/tasks/shards", subject=""), "shards", b"", [KEY], NOW)
    assert reason(capability.ring("shards", b"", KEY, now=NOW)) == "audience"


# Statements ----------------------------------------------------------------------------------------------------------


def test_a_statement_is_signed_by_its_content_and_for_one_purpose():
    said = {"b": 1, "a": [1, "two", None]}
    signature = capability.attested(said, "vote", KEY)
    assert capability.is_attested({"a": [1, "two", None], "b": 1}, signature, "vote", [OTHER, KEY])
    assert not capability.is_attested(said | {"b": 2}, signature, "vote", [KEY])
    assert not capability.is_attested(said, signature, "certificate", [KEY])
    assert not capability.is_attested(said, signature, "vote", [OTHER])
    assert not capability.is_attested(said, "", "vote", [KEY])
    assert not capability.is_attested(said, "new.é", "vote", [KEY])
