"""The forecast on made-up backlogs, with the parameters of a fresh installation: it catches what it should, in time."""

from __future__ import annotations

from tests.bench import forecast


def test_every_crossing_is_told_of_and_sooner_than_a_static_threshold_would(sql):
    given = forecast.Parameters.of(dict(sql("select key, value #>> '{}' from tidemark.settings where key like 'alerts.%'")))
    scores = forecast.backtest(given, range(100, 103), 10)
    ours, half, full = scores[forecast.OURS], scores[forecast.HALF], scores[forecast.FULL]
    assert ours.crossings == half.crossings >= 3
    assert ours.caught == ours.crossings
    assert ours.lead > half.lead > full.lead
    assert ours.false <= 2


def test_silent_and_odd_hours_are_seen_and_few_others_are(sql):
    given = forecast.Parameters.of(dict(sql("select key, value #>> '{}' from tidemark.settings where key like 'alerts.%'")))
    silent, odd = forecast.odd_hours(given, range(2), 8)
    assert silent["recall"] > 0.9
    assert silent["precision"] == 1
    assert odd["recall"] > 0.8
    assert odd["precision"] > 0.9
