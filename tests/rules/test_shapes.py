from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import encoding, lookup
from common.rules.entity import DAY, FLAG, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, WHOLE, Column, Entity, Kind, Lines
from common.rules.shapes import MAX_FAULTS, MAX_LINES, Fault, Valid, validate

ONE_OF_EACH = {
    "id": ID,
    "text": TEXT,
    "money": MONEY,
    "number": NUMBER,
    "whole": WHOLE,
    "flag": FLAG,
    "day": DAY,
    "instant": INSTANT,
    "json": JSON,
}
THING = Entity(
    label="thing",
    path="things",
    table="things",
    wrappers=("thing",),
    id_keys=("thing_id",),
    columns={**ONE_OF_EACH, "zip": Column(Kind.TEXT, ("zip", "zipcode"))},
    lines=Lines(table="thing_lines", key="line_items", columns={"item_id": ID, "rate": MONEY}),
)
STRICT = Entity(
    label="strict",
    path="stricts",
    table="stricts",
    wrappers=("strict",),
    id_keys=("strict_id",),
    columns={"name": Column(Kind.TEXT, required=True), "number": Column(Kind.NUMBER, ("number", "no"), required=True)},
)
ENTITIES = [THING, STRICT, *(lookup.find("entities", name).ENTITY for name in lookup.names("entities"))]


def columns(record: dict[str, Any]) -> dict[str, Any]:
    found = validate(THING, record)
    assert isinstance(found, Valid), found
    return found.columns


def faults(record: dict[str, Any], entity: Entity = THING) -> list[str]:
    found = validate(entity, record)
    assert isinstance(found, list), found
    assert all(fault.message for fault in found)
    return [fault.pointer for fault in found]


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("id", "260815000000101002", "260815000000101002"),
        ("id", 9_007_199_254_740_993, "9007199254740993"),  # 2^53 + 1: a float would lose the 1
        ("id", 10**30, "1" + "0" * 30),
        ("id", "-1", "-1"),
        ("id", "TEST123", "TEST123"),
        ("id", "", None),
        ("text", "", ""),
        ("text", "BLUE DART ", "BLUE DART "),
        ("text", "شركة النور Ltd 🎁", "شركة النور Ltd 🎁"),
        ("text", "₹5,11,581.57", "₹5,11,581.57"),
        ("text", 94588, "94588"),
        ("text", Decimal("1.50"), "1.50"),
        ("text", "a\0b", "a\ufffdb"),
        ("text", "half a pair: \ud83d", "half a pair: \ufffd"),
        ("text", "x" * 65_536, "x" * 65_536),
        ("text", "ش" * 32_768, "ش" * 32_768),
        ("money", 598, "598"),
        ("money", Decimal("149.97"), "149.97"),
        ("money", Decimal("-0.10"), "-0.10"),
        ("money", "1.00", "1.00"),
        ("money", " 1.00 ", "1.00"),
        ("money", "", None),
        ("money", "+5", "5"),
        ("money", Decimal("1E+5"), "100000"),
        ("money", Decimal("1.5E-7"), "0.00000015"),
        ("money", "₹5,11,581.57", "511581.57"),
        ("money", "$1,234,567.00", "1234567.00"),
        ("money", "١٢", "12"),
        ("money", "9" * 18 + "." + "9" * 10, "9" * 18 + "." + "9" * 10),
        ("number", "5%", "5"),
        ("number", "70.5 %", "70.5"),
        ("number", "%", None),
        ("number", Decimal("0.0"), "0.0"),
        ("whole", 30, 30),
        ("whole", -2, -2),
        ("whole", "167787", 167_787),
        ("whole", Decimal("30.0"), 30),
        ("whole", "", None),
        ("flag", True, True),
        ("flag", 0, False),
        ("flag", 1, True),
        ("flag", "true", True),
        ("flag", "FALSE", False),
        ("flag", "1", True),
        ("flag", "", None),
        ("day", "2026-06-09", "2026-06-09"),
        ("day", "", None),
        ("instant", "2026-06-09T09:45:44-0400", "2026-06-09T13:45:44Z"),
        ("instant", "2026-06-09T13:45:44.25+00:00", "2026-06-09T13:45:44.250000Z"),
        ("instant", "2026-06-09", "2026-06-09T00:00:00Z"),
        ("instant", "", None),
        ("json", {}, {}),
        ("json", [], []),
        ("json", "", None),
        ("json", {"zip": 94588, "city": "عمّان"}, {"zip": 94588, "city": "عمّان"}),
        ("json", [{"value": Decimal("1.50"), "id": 2**64}], [{"value": "1.50", "id": "18446744073709551616"}]),
        ("json", {"a\0": ["b\0", "\ud83d"]}, {"a\ufffd": ["b\ufffd", "\ufffd"]}),
        ("json", {"a": "not a NUL: \\u0000"}, {"a": "not a NUL: \\u0000"}),
        ("json", nested(64), nested(64)),
        *((kind, None, None) for kind in ONE_OF_EACH),
    ],
)
def test_an_oddity_is_read(kind: str, value: object, read: object) -> None:
    found = columns({kind: value})[kind]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((kind, []) for kind in ONE_OF_EACH if kind != "json"),
        *((kind, {"a": 1}) for kind in ONE_OF_EACH if kind != "json"),
        *((kind, True) for kind in ONE_OF_EACH if kind != "flag"),
        ("id", Decimal("4.60815E+17")),
        ("id", "1\0"),
        ("id", "1" * 256),
        ("id", 10**300),
        ("text", "x" * 65_537),
        ("text", "ش" * 32_769),
        ("money", "abc"),
        ("money", "5%"),
        ("money", "1_000"),
        ("money", "1,234"),  # a thousand or a decimal comma?
        ("money", "1.234,56"),
        ("money", "€1.234"),
        ("money", "NaN"),
        ("money", "-Infinity"),
        ("money", Decimal("NaN")),
        ("money", Decimal("Infinity")),
        ("money", float("nan")),
        ("money", 10**18),
        ("money", "1" * 19),
        ("money", Decimal("1E+300")),
        ("money", "1E+999999999999"),
        ("money", Decimal("0.000000000000000000001")),
        ("money", "0" * 65),
        ("whole", Decimal("1.5")),
        ("whole", "1.5"),
        ("whole", 10**18),
        ("flag", 2),
        ("flag", "260815000000108002"),
        ("day", "09/06/2026"),
        ("day", "2026-02-30"),
        ("day", "2201-01-01"),
        ("day", 20_260_609),
        ("instant", "2026-06-09T09:45:44"),
        ("instant", "1899-12-31"),
        ("instant", 1_780_000_000),
        ("json", "text"),
        ("json", 1),
        ("json", nested(65)),
        ("json", nested(500)),
    ],
)
def test_what_is_really_wrong_is_a_fault(kind: str, value: object) -> None:
    assert faults({kind: value}) == [f"/{kind}"]


def test_only_what_the_record_mentions_is_there() -> None:
    assert validate(THING, {"text": "a", "unheard_of": object()}) == Valid({"text": "a"}, None)


def test_the_first_key_present_wins() -> None:
    assert columns({"zipcode": 10001}) == {"zip": "10001"}
    assert columns({"zipcode": "b", "zip": "a"}) == {"zip": "a"}


def test_every_fault_is_told_where_it_stands() -> None:
    lines = [{"rate": 1}, {"rate": "abc", "item_id": []}, "line"]
    assert validate(THING, {"money": "a lot", "zipcode": [], "line_items": lines}) == [
        Fault("/money", "should be an amount with at most 18 digits before the point and 20 after it"),
        Fault("/zipcode", "should be a text of at most 64 KiB"),
        Fault("/line_items/1/item_id", "should be an id of at most 255 characters"),
        Fault("/line_items/1/rate", "should be an amount with at most 18 digits before the point and 20 after it"),
        Fault("/line_items/2", "Input should be a valid dictionary"),
    ]


def test_lines_are_numbered_from_zero() -> None:
    found = validate(THING, {"line_items": [{"item_id": 7, "rate": "1.50", "tax": 1}, {}]})
    assert found == Valid({}, [{"item_id": "7", "rate": "1.50", "line_no": 0}, {"line_no": 1}])


@pytest.mark.parametrize("empty", ["", None, []])
def test_an_empty_list_of_lines_has_three_spellings(empty: object) -> None:
    assert validate(THING, {"line_items": empty}) == Valid({}, [])


@pytest.mark.parametrize("lines", ["none", {}, 0, {"0": {}}])
def test_lines_must_be_a_list(lines: object) -> None:
    assert faults({"line_items": lines}) == ["/line_items"]


def test_lines_are_bounded() -> None:
    found = validate(THING, {"line_items": [{}] * MAX_LINES})
    assert isinstance(found, Valid)
    assert found.lines is not None
    assert found.lines[-1] == {"line_no": MAX_LINES - 1}
    assert faults({"line_items": [{}] * (MAX_LINES + 1)}) == ["/line_items"]


def test_faults_are_bounded() -> None:
    assert len(faults({"line_items": [{"rate": "x"}] * MAX_LINES})) == MAX_FAULTS


@pytest.mark.parametrize(
    ("record", "pointers"),
    [
        ({}, ["/name", "/number"]),
        ({"name": None, "number": ""}, ["/name", "/number"]),
        ({"name": "", "no": []}, ["/no"]),
    ],
)
def test_a_required_column_is_there_and_not_null(record: dict[str, Any], pointers: list[str]) -> None:
    assert faults(record, STRICT) == pointers


def test_a_record_that_has_what_is_required_is_valid() -> None:
    assert validate(STRICT, {"name": "a", "no": "5%"}) == Valid({"name": "a", "number": "5"}, None)


def test_what_the_decoder_gives_is_read_without_loss() -> None:
    record = encoding.loads('{"id": 9007199254740993, "money": 0.10, "number": 1e2, "text": 1.0, "json": [0.30]}')
    assert columns(record) == {
        "id": "9007199254740993",
        "money": "0.10",
        "number": "100",
        "text": "1.0",
        "json": ["0.30"],
    }


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**63, 10**18, -(10**18), 10**400, 10**4000])
    | st.decimals()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["", "\0", "\ud800", "5%", "1e5", "-0", "NaN", "2026-06-09", "0001-01-01T00:00:00+0500", "١"])
)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@given(data=st.data(), entity=st.sampled_from(ENTITIES))
def test_no_value_in_any_field_makes_it_raise(data: st.DataObject, entity: Entity) -> None:
    def filled(of: dict[str, Column]) -> st.SearchStrategy[dict[str, Any]]:
        keys = [key for name, column in of.items() for key in column.keys or (name,)]
        return st.dictionaries(st.sampled_from(keys), ANYTHING, max_size=5)

    record = data.draw(filled(dict(entity.columns)))
    if entity.lines:
        lines = st.lists(filled(dict(entity.lines.columns)), max_size=3) | ANYTHING
        record |= data.draw(st.dictionaries(st.just(entity.lines.key), lines, max_size=1))
    found = validate(entity, record)
    if isinstance(found, Valid):
        assert b"\\u0000" not in orjson.dumps([found.columns, found.lines]).replace(b"\\\\", b"")
        assert found.columns.keys() <= entity.columns.keys()
    else:
        assert all(fault.pointer.startswith("/") for fault in found)
