from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.instants import day, instant

NOON = datetime(2026, 6, 9, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-09T08:00:00-0400", NOON),
        ("2026-06-09T08:00:00-04:00", NOON),
        ("2026-06-09T17:30:00+0530", NOON),
        ("2026-06-09T15:00:00+03", NOON),
        ("2026-06-09T12:00:00Z", NOON),
        ("2026-06-09 12:00:00Z", NOON),
        ("2026-06-09T12:00:00.5Z", NOON.replace(microsecond=500_000)),
        ("2026-06-09T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2026-06-09", NOON.replace(hour=0)),
        ("1900-01-01", datetime(1900, 1, 1, tzinfo=UTC)),
        ("2200-12-31T00:00:00Z", datetime(2200, 12, 31, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_each_form_of_the_source_names_its_moment_in_utc(text: str | None, moment: datetime | None) -> None:
    found = instant(text)
    assert found == moment
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-06-09T12:00:00",  # of which zone?
        "2026-06-09T12:00Z",
        "20260609T120000Z",
        "2026-W23-2",
        "2026-02-30",
        "2026-06-09T24:00:00Z",
        "2026-06-09T12:00:00Z ",
        "2026-06-09T12:00:00+25:00",
        "٢٠٢٦-٠٦-٠٩",
        "1899-12-31T23:59:59Z",
        "2201-01-01",
        "0001-01-01T00:00:00+0500",  # a change of zone would leave the calendar
        "9999-12-31T23:59:59-0500",
        1_780_000_000,
        True,
        ["2026-06-09"],
        {},
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant(text)


@pytest.mark.parametrize(("text", "found"), [("2026-06-09", date(2026, 6, 9)), ("", None), (None, None)])
def test_a_day_is_read(text: str | None, found: date | None) -> None:
    assert day(text) == found


@pytest.mark.parametrize("text", ["2026-06-31", "2026-W23-2", "09/06/2026", "2026-06-09T00:00:00Z", "1899-12-31", 0, []])
def test_what_is_no_day_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        day(text)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 12, 31)),  # noqa: DTZ001 - the zone comes from the next line
    st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_what_python_writes_is_read_back(local: datetime, zone: timezone) -> None:
    moment = local.replace(tzinfo=zone)
    assert instant(moment.isoformat()) == moment
    assert instant(moment.strftime("%Y-%m-%dT%H:%M:%S.%f%z")) == moment


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}([+-][0-9]{4}|Z))?"))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        found = instant(text)
    except ValueError:
        return
    assert found is None or 1899 <= found.year <= 2201
