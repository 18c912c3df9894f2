"""Gates: what readings come to, and how operators write them."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from common.rules import gates
from common.rules.gates import Gate, Outcome
from common.rules.plan import Reader

OK, BAD = (Outcome.SUCCESSFUL, "fine"), (Outcome.FAILED, "too many")
NOTHING, LOST = (Outcome.INCONCLUSIVE, "no requests"), (Outcome.ERROR, "no answer")


def said(gate, *readings):
    decided = gates.decided(gate, readings)
    return decided and decided.outcome


def test_a_gate_reads_on_until_it_has_enough():
    gate = Gate("error_rate", count=3)
    assert [said(gate, *[OK] * times) for times in range(4)] == [None, None, None, Outcome.SUCCESSFUL]


def test_one_failure_too_many_ends_it_whatever_came_before():
    gate = Gate("error_rate", count=5, failure_limit=1)
    assert said(gate, OK, BAD, OK) is None
    assert said(gate, OK, BAD, OK, BAD) is Outcome.FAILED


def test_failures_that_are_put_up_with_count_as_readings():
    assert said(Gate("error_rate", count=2, failure_limit=1), BAD, OK) is Outcome.SUCCESSFUL


def test_no_data_is_inconclusive_and_neither_good_nor_bad():
    assert said(Gate("error_rate", count=1), NOTHING) is Outcome.INCONCLUSIVE
    assert said(Gate("error_rate", count=2, inconclusive_limit=1), NOTHING, OK) is Outcome.SUCCESSFUL


def test_what_could_not_be_measured_is_an_error_only_when_it_keeps_happening():
    gate = Gate("error_rate", count=1, error_limit=2)
    assert said(gate, LOST, LOST) is None
    assert said(gate, LOST, LOST, OK) is Outcome.SUCCESSFUL
    assert said(gate, LOST, LOST, LOST) is Outcome.ERROR


def test_errors_are_no_readings():
    assert said(Gate("error_rate", count=2, error_limit=4), LOST, OK, LOST) is None


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(0.0, Outcome.SUCCESSFUL), (0.05, Outcome.SUCCESSFUL), (0.051, Outcome.FAILED), (None, Outcome.INCONCLUSIVE), (math.nan, Outcome.INCONCLUSIVE)],
)  # fmt: skip
def test_a_metric_is_judged_by_its_limits(value, outcome):
    assert gates.judged(Gate("error_rate", highest=0.05), value)[0] is outcome


def test_a_metric_may_have_a_floor():
    assert gates.judged(Gate("requests", lowest=1), 0)[0] is Outcome.FAILED


def test_a_forbidden_line_fails_and_is_shown():
    outcome, reason = gates.judged_lines(
        Gate("logs", forbidden=("Trace[b]ack",)), ["all well", "Traceback (most recent call last)"]
    )
    assert outcome is Outcome.FAILED
    assert "Traceback (most" in reason


def test_an_expected_line_that_is_not_there_yet_is_inconclusive():
    gate = Gate("logs", expected=("listening", "ready"))
    assert gates.judged_lines(gate, ["listening on 8080"])[0] is Outcome.INCONCLUSIVE
    assert gates.judged_lines(gate, ["listening on 8080", "ready"])[0] is Outcome.SUCCESSFUL


# As they are written -------------------------------------------------------------------------------------------------


def read(given):
    reader = Reader()
    found = gates.read(given, reader)
    return found, {fault["pointer"]: fault["message"] for fault in reader.faults}


def test_health_is_looked_at_without_being_asked_for():
    found, faults = read(None)
    assert [gate.name for gate in found] == ["health"]
    assert not faults


def test_numbers_may_come_as_decimals_which_json_is_read_into():
    found, faults = read({"metrics": [{"name": "error_rate", "max": Decimal("0.01")}]})
    assert found[1].highest == 0.01
    assert isinstance(found[1].highest, float)
    assert not faults


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ([], "/gates"),
        ({"speed": {}}, "/gates/speed"),
        ({"metrics": {}}, "/gates/metrics"),
        ({"metrics": [{"name": "error_rate"}]}, "/gates/metrics/0"),
        ({"metrics": [{"name": "beauty", "max": 1}]}, "/gates/metrics/0/name"),
        ({"metrics": [{"name": "cpu", "max": "1"}]}, "/gates/metrics/0/max"),
        ({"metrics": [{"name": "cpu", "max": 1, "min": 2}]}, "/gates/metrics/0/min"),
        ({"metrics": [{"name": "cpu", "max": 1, "count": 0}]}, "/gates/metrics/0/count"),
        ({"metrics": [{"name": "cpu", "max": 1}, {"name": "cpu", "max": 2}]}, "/gates/metrics"),
        ({"logs": {}}, "/gates/logs"),
        ({"logs": {"forbidden": ["("]}}, "/gates/logs/forbidden/0"),
        ({"logs": {"expected": "ready"}}, "/gates/logs/expected"),
        ({"logs": {"expected": [""]}}, "/gates/logs/expected/0"),
        ({"health": {"count": True}}, "/gates/health/count"),
    ],
)
def test_what_is_wrong_is_pointed_at(given, pointer):
    assert pointer in read(given)[1]
