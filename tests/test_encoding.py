import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import encoding

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("10.50"), '"10.50"'),
        (Decimal("1E+3"), '"1000"'),
        (Decimal("0.000000001"), '"0.000000001"'),
        (timedelta(milliseconds=1500), "1.5"),
        (NOON, '"2026-06-09T12:00:00Z"'),
        (NOON.replace(microsecond=5), '"2026-06-09T12:00:00.000005Z"'),
        (date(2026, 6, 9), '"2026-06-09"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({"a": [None, True, 1, "ت"]}, '{"a":[null,true,1,"ت"]}'),
        (10**25, "1" + "0" * 25),
        ({"a": 10**25, "at": NOON}, '{"a":' + "1" + "0" * 25 + ',"at":"2026-06-09T12:00:00Z"}'),
        ("\ud800", '"?"'),
        ({"a": 10**25, "b": Decimal("0.1")}, '{"a":' + "1" + "0" * 25 + ',"b":"0.1"}'),
    ],
)
def test_each_kind_of_value_has_its_form(value, text):
    assert encoding.dumps(value) == text


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a": object()}])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(TypeError):
        encoding.dumps(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.10", Decimal("1.10")),
        ("1e2", Decimal("1E+2")),
        ("-0.0", Decimal("-0.0")),
        ("9" * 30, int("9" * 30)),
        ('{"a":1,"a":2}', {"a": 2}),
        (b'["\\u0000"]', ["\x00"]),
    ],
)
def test_numbers_are_read_exactly(text, value):
    found = encoding.loads(text)
    assert (found, str(found)) == (value, str(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        "1e-400",
        "0." + "1" * 64,
        "9" * 5000,
        "[" * 100_000,
        b"\xff",
        "'a'",
        "{} {}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_or_beyond_all_measure_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        encoding.loads(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_what_is_written_is_read_back(value):
    assert encoding.loads(encoding.dumps(value)) == value
    assert json.loads(encoding.canonical(value)) == value


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5), st.randoms(use_true_random=False))
def test_equal_values_have_one_canonical_form(value, chance):
    shuffled = dict(chance.sample(list(value.items()), len(value)))
    assert encoding.canonical(shuffled) == encoding.canonical(value)


def test_nesting_beyond_what_the_fast_encoder_takes_is_written_all_the_same():
    value: list = []
    for _ in range(300):
        value = [value]
    assert encoding.canonical(value) == b"[" * 301 + b"]" * 301


def test_a_moment_of_another_zone_keeps_its_instant():
    local = NOON.astimezone(timezone(timedelta(hours=3)))
    assert datetime.fromisoformat(json.loads(encoding.dumps(local))) == NOON
