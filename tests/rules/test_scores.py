import pytest

from common.rules import scores
from common.rules.scores import health_score, named

WELL = {"duplicate_percent": 0.0, "success_percent": 100.0, "dead_letters": 0, "delay_seconds": 0.0}


@pytest.mark.parametrize(
    ("facts", "score"),
    [
        ({}, 100),
        ({"duplicate_percent": 5}, 90),
        ({"duplicate_percent": 100}, 80),
        ({"success_percent": 90}, 95),
        ({"success_percent": 0}, 50),
        ({"dead_letters": 3}, 94),
        ({"dead_letters": 10**6}, 80),
        ({"delay_seconds": 10}, 100),
        ({"delay_seconds": 15.5}, 94.5),
        ({"delay_seconds": 3600}, 80),
        ({"duplicate_percent": 100, "success_percent": 0, "dead_letters": 99, "delay_seconds": 99}, 0),
    ],
)
def test_what_goes_wrong_costs_points_up_to_a_limit(facts, score):
    assert health_score(**WELL | facts) == score


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (100, "healthy"),
        (90, "healthy"),
        (89.9, "degraded"),
        (70, "degraded"),
        (50, "unhealthy"),
        (49.9, "critical"),
        (0, "critical"),
    ],
)
def test_a_score_has_a_word(score, word):
    assert named(score) == word


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ((0, 0, 100.0), "healthy"),
        ((100, 1000, 95.0), "healthy"),  # at a threshold, not beyond it
        ((0, 0, 94.99), "degraded"),
        ((0, 1001, 0.0), "warning"),
        ((101, 1001, 0.0), "critical"),
        ((101, 0, 100.0), "critical"),
    ],
)
def test_the_whole_is_as_bad_as_the_worst_of_it(numbers, word):
    dead, waiting, success = numbers
    found = scores.condition(dead_letters=dead, waiting=waiting, success=success, dead_critical=100, waiting_warning=1000)
    assert found == word


@pytest.mark.parametrize(
    ("counts", "percent"),
    [({}, 100.0), ({"completed": 3, "dead_letter": 1}, 75.0), ({"quarantined": 2}, 0.0), ({"completed": 2, "retried": 9}, 100.0)],
)
def test_what_went_well_is_measured_against_what_ended(counts, percent):
    assert scores.success_percent(counts) == percent
