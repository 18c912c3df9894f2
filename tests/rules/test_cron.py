"""Cron slots, against what a clock on the wall shows minute by minute."""

from __future__ import annotations

import functools
import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rules import cron

QUARTER = timedelta(minutes=15)
# Both hemispheres, half-hour changes (Lord Howe), changes at midnight (Beirut, Havana, Santiago), a day left out (Apia), offsets of
# quarters (Chatham), double changes (Troll), a changed rule (Casablanca), none at all. All of them change at quarters of an hour.
ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Havana", "America/Santiago", "Asia/Beirut",
    "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Apia", "Pacific/Chatham",
    "Antarctica/Troll", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Tehran",
)  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(expression: str, zone: str, after: str, number: int) -> list[str]:
    found = cron.slots(expression, zone, utc(after), utc("2199-01-01"), number)
    return [each.at.isoformat(timespec="minutes").removesuffix("+00:00") for each in found]


@functools.cache
def windows(zone: str, year: int) -> tuple[datetime, ...]:
    """Where to look in a year: three days before each change of the clock, and somewhere for zones without one."""
    place, days = ZoneInfo(zone), [utc(f"{year}-01-04") + timedelta(days=number) for number in range(355)]
    changed = [
        day for day, after in itertools.pairwise(days) if day.astimezone(place).utcoffset() != after.astimezone(place).utcoffset()
    ]
    return tuple(day - timedelta(days=3) for day in changed or days[:1])


def shown(zone: str, begin: datetime) -> list[tuple[datetime, datetime]]:
    """What the wall shows at each quarter of an hour of the eight days from `begin`."""
    place = ZoneInfo(zone)
    return [(at, at.astimezone(place).replace(tzinfo=None)) for at in (begin + QUARTER * number for number in range(8 * 96))]


def first_shown(zone: str, begin: datetime) -> dict[datetime, datetime]:
    """For each quarter of an hour on the wall, the first moment at which the wall shows it, or is beyond it."""
    reached: dict[datetime, datetime] = {}
    beyond = shown(zone, begin)[0][1]
    for at, wall in shown(zone, begin):
        while beyond <= wall:
            reached[beyond] = at
            beyond += QUARTER
    return reached


# Which expressions are good ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  */15\t9-17  * * MON-FRI ", "*/15 9-17 * * mon-fri"),
        ("@Daily", "@daily"),
        ("@hourly", "@hourly"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 1,15 jan,jul 7", "0 0 1,15 jan,jul 7"),
    ],
)
def test_an_expression_is_stored_plainly(given_, stored):
    assert cron.checked(given_) == stored


@pytest.mark.parametrize(
    "given_",
    [
        "* * * * * *", "61 * * * *", "@reboot", "* " * 2048, "", " ", "* * * *", "0 0 0 * *", "0 24 * * *", "0 0 * 13 *", "0 0 * * 8",
        "R * * * *", "H H * * *", "0 0 l * *", "0 0 * * 1#2", "0 0 ? * *", "*/0 * * * *", "- * * * *", "1-2-3 * * * *", ", * * * *",
        "99999999999999999999 * * * *", "0 0 * foo *", "0 0 1 * mon;drop", "０ 0 * * *", "0 0\n* * *", "0 0 1 jan-99 *", "jan * * * *",
        "/5 * * * *", "5-1/ * * * *", None, 5, ["* * * * *"],
    ],
)  # fmt: skip
def test_what_is_not_an_expression_is_refused(given_):
    with pytest.raises(ValueError):
        cron.checked(given_)


@pytest.mark.parametrize("given_", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *"])
def test_an_expression_that_never_fires_is_refused(given_):
    with pytest.raises(ValueError, match="never fires"):
        cron.checked(given_)


@settings(max_examples=300)
@given(st.text(st.sampled_from("0123456789*,-/ @ajnmouLR#?\t"), max_size=30))
def test_any_text_is_either_refused_or_has_a_slot(text):
    try:
        stored = cron.checked(text)
    except ValueError:
        return
    assert cron.following(stored, "Europe/Berlin", utc("2026-01-01")).at > utc("2026-01-01")


@pytest.mark.parametrize(
    "name",
    ["Mars/Olympus", "../../etc", "../../etc/passwd", "/etc/localtime", "europe/berlin", "America", "localtime", "", None, 1],
)
def test_what_is_not_a_time_zone_is_refused(name):
    with pytest.raises(ValueError):
        cron.checked_zone(name)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc", "America", "a\x00b"])
def test_a_time_zone_that_is_gone_is_told_of(name):
    with pytest.raises(ValueError):
        cron.following("0 2 * * *", name, utc("2026-01-01"))


def test_every_time_zone_that_is_accepted_can_be_used():
    assert {"UTC", "Europe/Berlin"} <= cron.zones()
    for name in cron.zones():
        assert cron.following("0 2 * * *", name, utc("2026-01-01")).at > utc("2026-01-01")


# Where the clock is changed ----------------------------------------------------------------------------------------


def test_a_wall_time_that_comes_twice_is_due_the_first_time():
    assert slots("30 1 * * *", "America/New_York", "2026-10-31T12:00", 2) == ["2026-11-01T05:30", "2026-11-02T06:30"]
    assert slots("30 1 * * *", "America/New_York", "2026-11-01T05:45", 1) == ["2026-11-02T06:30"]  # between its two passes
    assert slots("30 1 * * *", "America/New_York", "2026-11-01T06:10", 1) == ["2026-11-02T06:30"]  # within the second


def test_a_wall_time_that_never_comes_is_due_at_the_first_moment_after_it():
    assert slots("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["2026-03-29T01:00", "2026-03-30T00:30"]
    assert slots("30 0 * * *", "America/St_Johns", "2007-03-10T12:00", 1) == ["2007-03-11T03:31"]  # 00:01 to 01:01


def test_wall_times_that_fall_on_one_moment_are_one_slot():
    assert slots("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", 3) == [
        "2026-03-29T01:00",
        "2026-03-29T01:30",
        "2026-03-30T00:00",
    ]


def test_a_day_that_is_left_out_is_made_up_for_when_the_next_one_begins():
    assert slots("0 2 * * *", "Pacific/Apia", "2011-12-29T13:00", 3) == ["2011-12-30T10:00", "2011-12-30T12:00", "2011-12-31T12:00"]


@pytest.mark.parametrize("expression", ["*/15 * * * *", "*/15 0-23 * * *", "*/15 */1 * * *"])
@pytest.mark.parametrize("after", ["2026-10-24T22:52", "2026-03-28T22:52"])
def test_an_expression_that_leaves_no_hour_out_goes_by_the_time_that_passes(expression, after):
    found = cron.slots(expression, "Europe/Berlin", utc(after), utc("2199-01-01"), 40)
    assert {later.at - earlier.at for earlier, later in itertools.pairwise(found)} == {QUARTER}


def test_an_hourly_expression_runs_in_both_of_the_repeated_hours():
    assert slots("@hourly", "Europe/Berlin", "2026-10-24T23:30", 3) == ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"]
    assert slots("20 * * * *", "Europe/Berlin", "2026-10-25T00:30", 1) == ["2026-10-25T01:20"]  # from inside the first


def test_an_expression_with_a_step_of_hours_goes_by_the_wall():
    assert slots("0 */2 * * *", "Europe/Berlin", "2026-10-24T23:30", 2) == ["2026-10-25T00:00", "2026-10-25T03:00"]


def test_an_edge_is_marked():
    found = cron.slots("30 2 * * *", "Europe/Berlin", utc("2026-03-27T12:00"), utc("2026-10-26"), 300)
    assert {each.wall.isoformat(): each.edge for each in found if each.edge} == {
        "2026-03-29T02:30:00": cron.SKIPPED,
        "2026-10-25T02:30:00": cron.REPEATED,
    }
    found = cron.slots("@hourly", "Europe/Berlin", utc("2026-10-24T23:30"), utc("2026-10-25T03:30"), 300)
    assert [each.edge for each in found] == [cron.REPEATED, cron.REPEATED, None, None]


minutes = st.sets(st.sampled_from([0, 15, 30, 45]), min_size=1)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), st.integers(1996, 2036), st.sets(st.integers(0, 23), min_size=1, max_size=23), minutes)
def test_each_wall_time_is_due_once_when_the_wall_first_reaches_it(zone, year, hours, minutes):
    expression = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    for window in windows(zone, year):
        begin, end = window + timedelta(days=1), window + timedelta(days=6)
        reached = {at for wall, at in first_shown(zone, window).items() if wall.hour in hours and wall.minute in minutes}
        found = [each.at for each in cron.slots(expression, zone, begin, end, 10**6)]
        assert found == sorted(at for at in reached if begin < at <= end)  # of a set: what falls on one moment is one slot
        assert all(earlier < later for earlier, later in itertools.pairwise(found))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ZONES), st.integers(1996, 2036), st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
def test_a_daily_schedule_has_one_slot_for_every_day(zone, year, hour, minute):
    found = cron.slots(f"{minute} {hour} * * *", zone, utc(f"{year}-01-01"), utc(f"{year}-12-31"), 10**6)
    days = [each.wall.date() for each in found]
    whole = [date.fromordinal(day) for day in range(days[0].toordinal(), days[-1].toordinal() + 1)]
    if zone == "Pacific/Apia" and year == 2011:
        whole = [
            day for day in whole if day in days or day != date(2011, 12, 31)
        ]  # may fall on the same moment as the day left out
    assert days == whole


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ZONES), st.integers(1996, 2036), minutes, st.sampled_from(["*", "1-5", "0,6"]))
def test_elapsed_time_is_due_whenever_the_wall_shows_it(zone, year, minutes, weekdays):
    expression = f"{','.join(map(str, minutes))} * * * {weekdays}"
    on = {"*": range(7), "1-5": range(1, 6), "0,6": (0, 6)}[weekdays]
    for begin in windows(zone, year):
        quarters = shown(zone, begin)[1:]
        wanted = [at for at, wall in quarters if wall.minute in minutes and wall.isoweekday() % 7 in on]
        assert [each.at for each in cron.slots(expression, zone, begin, quarters[-1][0], 10**6)] == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.integers(946_684_800, 2_208_988_800),
    st.sampled_from(["17 3 * * *", "*/7 * * * *", "0 0 1 * 1", "*/20 1-3 * * *", "5 * 28 * *"]),
)
def test_the_next_slot_does_not_depend_on_where_one_looks_from(zone, at, expression):
    after = datetime.fromtimestamp(at, UTC)
    slot = cron.following(expression, zone, after).at
    between = after + (slot - after) / 2
    assert after < slot
    assert cron.following(expression, zone, between).at == slot
    assert cron.following(expression, zone, slot - timedelta(microseconds=1)).at == slot


# Many at once ------------------------------------------------------------------------------------------------------


def test_slots_end_where_they_are_told_to():
    assert len(cron.slots("* * * * *", "UTC", utc("2026-01-01"), utc("2027-01-01"), 10)) == 10
    assert slots("0 * * * *", "UTC", "2026-01-01T00:00", 1) == ["2026-01-01T01:00"]  # later than `after`
    found = cron.slots("0 * * * *", "UTC", utc("2026-01-01"), utc("2026-01-01T03:00"), 10)
    assert [each.at.hour for each in found] == [1, 2, 3]  # not later than `until`


@pytest.mark.parametrize("expression", ["* * * * *", "*/5 9-17 * * 1-5", "0 0 1 * 1", "30 2 * 2 *", "0 12 */2 * *"])
def test_slots_are_counted_without_going_through_them(expression):
    after, until = utc("2016-01-29T11:07"), utc("2016-03-01T02:00")
    exact = len(cron.slots(expression, "UTC", after, until, 10**6))
    assert cron.count(expression, "UTC", after, until, 10) == cron.count(expression, "UTC", after, until, 10**6) == exact


def test_a_hundred_years_of_minutes_are_counted():
    assert cron.count("* * * * *", "Europe/Berlin", utc("1926-01-01"), utc("2026-01-01"), 1000) == 36525 * 1440
