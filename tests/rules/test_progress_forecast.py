"""The end of a plan, foretold from simulated progress: better than by the last minute, or not at all."""

import random
from statistics import mean

import pytest

from common.rules import progress_forecast
from common.rules.progress_forecast import FEWEST, Sample, forecast, rates

STEP = 60.0


def trace(seed, kind, minutes=40):
    """Samples a minute apart of a plan whose rate scatters around a level, falls slowly, or wanders off."""
    chance, done, level, samples = random.Random(seed), 0.0, 1000.0, [Sample(0.0, 0)]
    for minute in range(1, minutes + 1):
        if kind == "tiring":
            level *= 0.99
        elif kind == "wandering":
            level = max(50.0, level * chance.uniform(0.6, 1.6))
        scatter = 0.01 if kind == "wandering" else 0.4
        done += max(1.0, level * chance.uniform(1 - scatter, 1 + scatter)) * STEP
        samples.append(Sample(minute * STEP, int(done)))
    return samples


def judged(kind, seeds=range(60)):
    """Mean relative errors of the forecast and of the last minute's rate, how often the end lay inside, how often it was told."""
    ours, last, inside, told = [], [], [], []
    for seed in seeds:
        samples = trace(seed, kind)
        for known in range(FEWEST, 30):
            left, truth = samples[-1].done - samples[known].done, samples[-1].seconds - samples[known].seconds
            found = forecast(samples[: known + 1], left)
            told.append(found is not None)
            if found is None:
                continue
            ours.append(abs(found.seconds - truth) / truth)
            last.append(abs(left / rates(samples[: known + 1])[-1] - truth) / truth)
            inside.append(found.low <= truth <= (found.high or float("inf")))
    return ours, last, inside, told


@pytest.mark.parametrize("kind", ["steady", "tiring"])
def test_the_forecast_beats_the_last_minutes_rate(kind):
    ours, last, inside, told = judged(kind)
    assert mean(ours) < 0.7 * mean(last)
    assert mean(told) > 0.7
    assert mean(inside) > 0.7


def test_where_the_last_minute_foretells_better_there_is_no_forecast():
    *_, told = judged("wandering")
    assert mean(told) < 0.2


def test_the_back_test_compares_both_on_the_same_minutes():
    steps = progress_forecast.tested([1.0, 5.0, 25.0, 125.0])
    assert steps.last == pytest.approx((4 + 20 + 100) / 3)
    assert not steps.is_better


def test_too_little_is_no_forecast_and_neither_is_standing_still():
    assert forecast([Sample(0, 0), Sample(60, 100)], 50) is None
    assert forecast([Sample(60.0 * minute, 100) for minute in range(10)], 50) is None
