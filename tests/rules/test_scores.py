import pytest

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
