from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import keys

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.text(max_size=4), JSON, max_size=5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"rate": 1}, {"rate": 1, "rate_formatted": "$1.00"}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "page_width": "8.27in"}}),
        ({"lines": [{"a": 1}]}, {"lines": [{"a": 1, "total_formatted": "1"}], "invoice_url": "x"}),
        ({"a": 1, "last_modified_time": "x"}, {"a": 1, "last_modified_time": "y"}),
        ({"a": 1}, {"a": 1, "last_modified_time": "y"}),
    ],
)
def test_records_that_say_the_same_have_one_hash(one, other):
    assert keys.content_hash(one, ("last_modified_time",)) == keys.content_hash(other, ("last_modified_time",))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": 10**25}, {"a": 10**25 + 1}),
        ({"a": {"last_modified_time": "x"}}, {"a": {"last_modified_time": "y"}}),
        ({"updated_time": "x"}, {"updated_time": "y"}),
    ],
)
def test_records_that_differ_have_two_hashes(one, other):
    assert keys.content_hash(one, ("last_modified_time",)) != keys.content_hash(other, ("last_modified_time",))


@given(RECORDS)
def test_hashing_changes_nothing_and_ends_in_32_digits(record):
    before = repr(record)
    found = keys.content_hash(record, tuple(record)[:1])
    assert (repr(record), len(found), set(found) <= set("0123456789abcdef")) == (before, 32, True)


@given(st.integers(0, 2**32 - 2).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_a_later_change_has_a_greater_key(at):
    later = at + timedelta(seconds=1)
    assert keys.idempotency_key(at, "same")[:8] < keys.idempotency_key(later, "same")[:8]


def test_a_change_at_no_known_time_sorts_before_all_others():
    assert keys.idempotency_key(None, "a").startswith("00000000-")


@pytest.mark.parametrize("at", [datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 12, 31, tzinfo=UTC)])
def test_a_time_outside_32_bits_of_seconds_still_makes_a_key_of_the_same_form(at):
    assert len(keys.idempotency_key(at, "a")) == len(keys.idempotency_key(NOON, "a"))


def test_parts_cannot_run_into_each_other():
    assert keys.idempotency_key(NOON, "ab", "c") != keys.idempotency_key(NOON, "a", "bc")


@given(st.lists(st.text(), max_size=4), st.sampled_from([NOON, None]))
def test_the_id_follows_from_the_key_and_is_a_uuid(parts, at):
    key = keys.idempotency_key(at, *parts)
    identifier = UUID(str(keys.event_id(key)))
    assert str(keys.event_id(key)) == str(identifier)
    assert (identifier.version, identifier.variant) == (8, "specified in RFC 4122")


@given(st.sets(st.text(), min_size=2, max_size=20))
def test_other_keys_have_other_ids(texts):
    assert len({keys.event_id(keys.idempotency_key(NOON, text)) for text in texts}) == len(texts)
