"""Comparing two sides: what counts come to, and the search that finds where they differ with the fewest calls."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import encoding
from common.rules import bisection, comparison
from common.rules.bisection import Bisection, Done, Figures, FullList, Local, Probe, Read, Span
from common.rules.comparison import Counts, Facts, Version, cause, compared, drift

WHOLE = Span(None, None)
START = date(2023, 1, 1)
NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)


# Counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "match", "recommendation"),
    [
        (Counts(100, 100), 100.0, "no_sync_needed"),
        (Counts(0, 0), 100.0, "no_sync_needed"),
        (Counts(100, 99, missing_here=1, repaired=1), 99.0, "no_sync_needed"),
        (Counts(100, 99, missing_here=1), 99.0, "incremental_sync"),
        (Counts(100, 100, missing_here=1, missing_there=1, stale=1), 97.0297, "incremental_sync"),
        (Counts(100, 90, missing_here=10), 90.0, "full_sync"),
        (Counts(100, 200, missing_there=100), 50.0, "manual_review"),
        (Counts(None, 50, stale=1, repaired=1), 98.0, "no_sync_needed"),
        (Counts(10, 0, missing_here=10, repaired=10), 0.0, "no_sync_needed"),
    ],
)
def test_counts_come_to_a_match_and_a_recommendation(counts, match, recommendation):
    found = compared(counts)
    assert (found.match_percentage, found.recommendation) == (match, recommendation)
    assert found.requires_sync == (recommendation != "no_sync_needed")


def test_what_the_counts_differ_by_is_drift_even_if_nobody_found_its_rows():
    found = compared(Counts(100, 80), is_complete=False)
    assert (found.match_percentage, found.recommendation, found.difference) == (80.0, "full_sync", 20)


@given(st.tuples(*[st.integers(0, 10_000)] * 7))
def test_a_match_is_a_percentage_and_a_priority_one_of_ten(counts):
    found = compared(Counts(*counts))
    assert 0 <= found.match_percentage <= 100
    assert 1 <= found.priority <= 10


def test_less_match_is_more_urgent():
    priorities = [compared(Counts(1000, 1000 - gone, missing_here=gone)).priority for gone in (1, 5, 60, 150, 400)]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == 5


def test_the_score_weighs_the_entities_as_the_origin_did():
    assert comparison.score({"product": 100.0, "vendor": 0.0}) == 75.0
    assert comparison.score({"invoice": 100.0, "bill": 0.0}) == 50.0
    assert comparison.score({}) is None
    assert [comparison.named(points) for points in (95, 94.9, 90, 80, 79.9, None)] == [
        "excellent", "good", "good", "warning", "critical", "unknown",
    ]  # fmt: skip


# Records -----------------------------------------------------------------------------------------------------------

HERE = Version("1", NOON, "a", (Decimal(5),))


@pytest.mark.parametrize(
    ("there", "here", "kind"),
    [
        (HERE, HERE, None),
        (HERE, None, "missing_here"),
        (HERE, HERE._replace(is_deleted=True), "missing_here"),
        (HERE._replace(stamp=NOON + timedelta(seconds=1)), HERE, "stale"),
        (HERE, HERE._replace(stamp=None), "stale"),
        (HERE._replace(hash="b"), HERE, "changed"),
        (HERE, HERE._replace(amounts=(Decimal(6),)), "changed"),
        (HERE, HERE._replace(hash=None), None),  # ours never was a row of a list: nothing to compare
    ],
)
def test_how_a_record_differs(there, here, kind):
    assert drift(there, here) == kind


def test_what_the_next_incremental_sync_brings_is_no_drift():
    assert drift(HERE, None, horizon=NOON) == "missing_here"
    assert drift(HERE, None, horizon=NOON - timedelta(seconds=1)) is None


def test_only_our_own_side_can_have_changed_under_the_sources_own_row():
    assert comparison.is_local_edit(HERE, HERE._replace(amounts=(Decimal(6),)))
    assert comparison.is_local_edit(HERE, HERE._replace(stamp=NOON + timedelta(seconds=1)))
    assert not comparison.is_local_edit(HERE._replace(hash="b"), HERE)
    assert not comparison.is_local_edit(HERE, None)


@pytest.mark.parametrize(
    ("kind", "behind", "facts", "why"),
    [
        ("missing_there", None, Facts(), "unverified"),
        ("missing_here", timedelta(days=1), Facts(has_webhooks=True), "webhook_lost"),
        ("missing_here", timedelta(days=1), Facts(), "unknown"),
        ("stale", timedelta(minutes=5), Facts(has_webhooks=True), "late_visible"),
        ("stale", timedelta(days=1), Facts(was_received=True, has_webhooks=True), "not_applied"),
        ("stale", timedelta(days=1), Facts(has_failed_run=True, has_webhooks=True), "failed_page"),
        ("stale", timedelta(days=1), Facts(is_quarantined=True, has_failed_run=True), "quarantined"),
        ("changed", timedelta(days=1), Facts(has_webhooks=True), "silent_change"),
        ("changed", timedelta(days=1), Facts(is_local_edit=True), "local_edit"),
        ("missing_here", timedelta(days=1), Facts(is_deleted_here=True), "deleted_here"),
    ],
)
def test_drift_is_put_down_to_a_cause(kind, behind, facts, why):
    assert cause(kind, None if behind is None else NOON - behind, NOON, facts) == why


# Bisection ---------------------------------------------------------------------------------------------------------


class Side:
    """Records by id: when each was made, and its amount."""

    def __init__(self, rows):
        self.rows = dict(rows)

    def figures(self, span=WHOLE):
        amounts = [amount for day, amount in self.rows.values() if self.is_in(day, span)]
        return Figures(len(amounts), (sum(amounts, Decimal()),))

    def ids(self, span):
        return {identifier for identifier, (day, _) in self.rows.items() if self.is_in(day, span)}

    @staticmethod
    def is_in(day, span):
        return (span.first is None or day >= span.first) and (span.last is None or day <= span.last)

    def by_day(self):
        return Local((day, self.figures(Span(day, day))) for day in {day for day, _ in self.rows.values()})


def search(source, local, *, share=bisection.BUDGET_SHARE, keep=False, page=bisection.PAGE):
    """What a search finds: ids that differ, calls spent, and whether it gave up for the full list."""
    bisection_ = Bisection.begun(source.figures(), share=share, page=page)
    ours = local.by_day()
    found = set()
    while True:
        step = bisection_.next(ours)
        assert bisection_.next(ours) == step
        if isinstance(step, Done | FullList):
            return found, bisection_.spent, isinstance(step, FullList)
        if isinstance(step, Probe):
            bisection_.probed(step.span, source.figures(step.span))
        else:
            assert step.pages == bisection.pages_of(len(source.ids(step.span)), page)
            for identifier in source.ids(step.span) | local.ids(step.span):
                if source.rows.get(identifier) != local.rows.get(identifier):
                    found.add(identifier)
            bisection_.read(step.pages)
        if keep:
            bisection_ = Bisection.found(encoding.loads(encoding.dumps(bisection_.kept())))


@st.composite
def two_sides(draw):
    """Two sides of the same records: of some, one side has nothing, or another amount. No two sets of amounts sum up alike."""
    count = draw(st.integers(0, 60))
    days = draw(st.lists(st.integers(0, 400), min_size=count, max_size=count))
    rows = {number: (START + timedelta(days=day), Decimal(2**number)) for number, day in enumerate(days)}
    kinds = draw(st.lists(st.sampled_from(["same"] * 6 + ["here", "there", "changed"]), min_size=count, max_size=count))
    source = {number: row for number, row in rows.items() if kinds[number] != "here"}
    local = {number: row for number, row in rows.items() if kinds[number] != "there"}
    for number, kind in enumerate(kinds):
        if kind == "changed":
            local[number] = (rows[number][0], rows[number][1] + Decimal("0.01") * 2**number)
    return Side(source), Side(local), {number for number, kind in enumerate(kinds) if kind != "same"}


@given(two_sides(), st.booleans())
def test_without_a_budget_every_record_is_found_whichever_side_misses_it(world, keep):
    source, local, drifted = world
    assert search(source, local, share=1000.0, keep=keep, page=2)[0] == drifted


@given(two_sides(), st.sampled_from([0.1, 0.4, 1.0]))
def test_the_budget_is_never_passed_and_without_giving_up_nothing_is_left(world, share):
    source, local, drifted = world
    found, spent, gave_up = search(source, local, share=share, page=2)
    assert spent <= share * bisection.pages_of(len(source.rows), 2)
    assert found <= drifted
    assert gave_up or found == drifted


def test_equal_sides_cost_nothing_beyond_the_first_count():
    side = Side({number: (START + timedelta(days=number), Decimal(number)) for number in range(1000)})
    assert search(side, side) == (set(), 0, False)


def test_a_day_that_no_cut_divides_is_read_whole():
    source = Side({number: (START, Decimal(number)) for number in range(900)})
    local = Side({number: row for number, row in source.rows.items() if number != 7})
    found, spent, _ = search(source, local, share=2.0)
    assert found == {7}
    assert spent <= 2 + 5  # the empty days before and after it are cut off, then its five pages


def test_an_empty_side_is_read_at_once():
    source = Side({number: (START + timedelta(days=number), Decimal(number)) for number in range(2000)})
    assert search(source, Side({}), share=1.0) == (set(source.rows), 10, False)


def test_a_range_that_must_be_empty_at_the_source_is_asked_all_the_same():
    local = Side({number: (START + timedelta(days=number), Decimal(number)) for number in range(2000)})
    source = Side({number: row for number, row in local.rows.items() if number < 1000})
    found, spent, _ = search(source, local, share=2.0)
    assert found == set(range(1000, 2000))
    assert spent == 2  # one count, which says that the older half is equal, and one page that is empty


def test_sums_that_mean_something_else_are_left_out():
    source = Side({number: (START + timedelta(days=number), Decimal(number)) for number in range(1000)})
    local = Side({number: (day, 2 * amount) for number, (day, amount) in source.rows.items()})
    bisection_ = Bisection.begun(source.figures(), has_sums=False)
    assert bisection_.next(local.by_day()) == Done()
    assert isinstance(Bisection.begun(source.figures()).next(local.by_day()), Probe | FullList)


@pytest.mark.parametrize("seed", range(5))
def test_thirty_drifts_of_fifty_thousand_cost_less_than_half_of_a_full_list(seed):
    chance = random.Random(seed)
    rows = {number: (START + timedelta(days=number // 50), Decimal(chance.randrange(100, 10**6)) / 100) for number in range(50_000)}
    source, local = dict(rows), dict(rows)
    drifted = set()
    while len(drifted) < 30:
        number = chance.randrange(45_000, 50_000) if chance.random() < 0.8 else chance.randrange(45_000)
        if number in drifted:
            continue
        drifted.add(number)
        kind = len(drifted) % 3
        if kind == 0:
            local.pop(number)
        elif kind == 1:
            source.pop(number)
        else:
            local[number] = (rows[number][0], rows[number][1] + 1)
    bisection_, sides = _fast(source, local)
    found = set()
    while isinstance(step := bisection_.next(sides[1]), Probe | Read):
        if isinstance(step, Probe):
            bisection_.probed(step.span, sides[0].within(step.span))
        else:
            span = step.span
            found |= {
                number
                for number, (day, _) in rows.items()
                if Side.is_in(day, span) and source.get(number) != local.get(number)
            }  # fmt: skip
            bisection_.read(step.pages)
    assert step == Done()
    assert found == drifted
    assert 1 + bisection_.spent < 250 / 2


def _fast(*sides):
    found = []
    for side in sides:
        days = {}
        for day, amount in side.values():
            count, total = days.get(day, (0, Decimal()))
            days[day] = (count + 1, total + amount)
        found.append(Local((day, Figures(count, (total,))) for day, (count, total) in days.items()))
    return Bisection.begun(found[0].within(WHOLE)), found
