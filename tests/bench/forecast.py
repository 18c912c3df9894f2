"""forecast: how many minutes before the limit a growing backlog is told of, and how often for nothing, beside static thresholds.

The rules, the hysteresis and the parameters are those of production: the latter are read from a migrated database.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from common.rules import forecast
from common.rules.hysteresis import Move, Policy, Reading, Severity, State, step
from deploy.local.postgres import Cluster
from tests.bench import backlogs, lab
from tests.bench.backlogs import LIMIT, Backlog
from tests.bench.lab import Result

TUNED, KEPT, DAYS = range(10), range(100, 110), 21
OURS, HALF, FULL = "two averages, time to limit", "static at 50 % of the limit", "static at the limit"
HOURLY_SERIES, WEEKS = 12, 12
LATE = 5  # minutes after a crossing that still count as having told of it
START = datetime(2026, 1, 5, tzinfo=UTC)
REFERENCE = "reference (its own data): 58/58 caught, 30 min, 15 false in 210 days; static at 50 %: 58/58, 19 min, 21 false"

Values = Callable[[Backlog], Iterator[float]]


@dataclass(frozen=True)
class Parameters:
    """What production forecasts with."""

    half_life: float
    horizon: float  # minutes
    sustain: int  # minutes
    open_after: int
    policy: Policy
    score: float
    fewest: float
    silence: float
    weeks: int

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Parameters:
        """From the settings' texts."""
        number = {key.removeprefix("alerts."): float(text) for key, text in settings.items()}
        policy = Policy(
            calm=number["calm_share"],
            close_after=int(number["close_after"]),
            gap=timedelta(minutes=number["gap_minutes"]),
            reopen=timedelta(minutes=number["reopen_minutes"]),
        )
        return cls(
            half_life=number["forecast_half_life_minutes"],
            horizon=number["forecast_horizon_minutes"],
            sustain=int(number["forecast_sustain"]),
            open_after=int(number["open_after"]),
            policy=policy,
            score=number["anomaly_score"],
            fewest=number["anomaly_rows"],
            silence=number["silence_rows"],
            weeks=int(number["anomaly_weeks"]),
        )


@dataclass
class Score:
    """How one rule did."""

    crossings: int = 0
    caught: int = 0
    false: int = 0  # nothing crossed the limit, and nothing was the matter
    averted: int = 0  # something was the matter, but was over before the limit was reached
    leads: list[int] = field(default_factory=list)

    @property
    def lead(self) -> float:
        """Minutes, in the median, between the alert and the crossing."""
        return statistics.median(self.leads) if self.leads else 0.0


def run(cluster: Cluster, **_: object) -> Result:
    """Measure."""
    with lab.database(cluster, "bench_forecast") as database:
        rows = database.sql("select key, value #>> '{}' from tidemark.settings where key like 'alerts.%'")
    given = Parameters.of({str(key): str(value) for key, value in rows})
    result = Result("forecast")
    for what, seeds in (("tuned on", TUNED), ("never tuned on", KEPT)):
        scores = backtest(given, seeds, DAYS)
        for name, score in scores.items():
            result.numbers.append({
                "data": what, "rule": name, "caught": f"{score.caught}/{score.crossings}", "lead min": score.lead,
                "for nothing": score.false, "averted": score.averted,
            })  # fmt: skip
        ours, half = scores[OURS], scores[HALF]
        result.goal(f"{what}: crossings told of, of all", ours.caught / ours.crossings, 1)
        result.goal(f"{what}: median lead, minutes", ours.lead, 30)
        result.goal(f"{what}: median lead, times that of static at 50 % (reference: 30 / 19)", ours.lead / half.lead, 30 / 19)
        result.goal(f"{what}: alerts for nothing in {len(seeds) * DAYS} days", ours.false, 15, at_least=False)
    hourly = odd_hours(given, range(HOURLY_SERIES), WEEKS)
    result.numbers += hourly
    result.notes += [
        REFERENCE,
        f"half-life {given.half_life:g} min, horizon {given.horizon:g} min, sustain {given.sustain} min, limit {LIMIT}",
        "for nothing: nothing was the matter and nothing crossed; averted: something was, and ended before the limit. Made-up data.",
    ]
    return result


def backtest(given: Parameters, seeds: Sequence[int] | range, days: int) -> dict[str, Score]:
    """Each rule over the same backlogs."""
    half, full = LIMIT * 0.5, float(LIMIT)
    rules: dict[str, tuple[Values, float, int]] = {
        HALF: (lambda made: iter(made.waiting), half, given.open_after),
        FULL: (lambda made: iter(made.waiting), full, given.open_after),
        OURS: (lambda made: forecasts(made, given), full, given.sustain),
    }
    scores = {name: Score() for name in rules}
    for seed in seeds:
        made = backlogs.backlog(seed, days)
        crossings = made.crossings(LIMIT)
        for name, (values, threshold, open_after) in rules.items():
            found = list(episodes(values(made), threshold, open_after, given.policy))
            _scored(scores[name], found, made, crossings, given.horizon)
    return scores


def forecasts(made: Backlog, given: Parameters) -> Iterator[float]:
    """The projected backlog at each minute, as the watcher computes it: over the limit it is not its business any more."""
    flow = forecast.Flow()
    for came, went, waiting in zip(made.arrivals, made.completions, made.waiting, strict=True):
        flow = forecast.folded(flow, [(came, went)], half_life=given.half_life)
        yield forecast.projected(waiting, flow, given.horizon) if waiting <= LIMIT else 0.0


def episodes(values: Iterator[float], threshold: float, open_after: int, policy: Policy) -> Iterator[tuple[int, int]]:
    """From which minute until which there is an alert; one that is opened again is the same alert."""
    state, opened, last = State(), -1, -1
    for minute, value in enumerate(values):
        reading = Reading("trial", value, threshold, Severity.WARNING, "", "", open_after=open_after)
        state, move = step(state, reading, START + timedelta(minutes=minute), policy)
        if move is Move.OPEN:
            if opened >= 0:
                yield opened, last
            opened = minute
        if state.is_open:
            last = minute
    if opened >= 0:
        yield opened, last


def _scored(score: Score, found: Sequence[tuple[int, int]], made: Backlog, crossings: Sequence[int], horizon: float) -> None:
    score.crossings += len(crossings)
    for crossing in crossings:
        leads = [crossing - opened for opened, closed in found if opened <= crossing + LATE and closed >= crossing - LATE]
        if leads:
            score.caught += 1
            score.leads.append(max(leads))
    for opened, closed in found:
        if any(opened - LATE <= crossing <= max(closed, opened + horizon) for crossing in crossings):
            continue
        if made.troubled.isdisjoint(range(opened - LATE, opened + 1)):
            score.false += 1
        else:
            score.averted += 1


def odd_hours(given: Parameters, seeds: Sequence[int] | range, weeks: int) -> list[dict[str, Any]]:
    """How many of the hours that something was done to are seen, and how many of those that are seen had something done to."""
    found: dict[str, list[int]] = {"silent": [0, 0, 0], "odd": [0, 0, 0]}  # seen and planted, seen, planted
    for seed in seeds:
        made = backlogs.hours(seed, weeks, quiet_weeks=given.weeks)
        for hour in range(given.weeks * backlogs.WEEK_HOURS + 1, len(made.amounts)):
            pair = [_hour(made, each, given) for each in (hour - 1, hour)]
            planted = {"silent": hour in made.silent, "odd": {hour - 1, hour} <= made.odd}
            seen = {
                "silent": forecast.is_silent(pair[1], above=given.silence),
                "odd": abs(forecast.oddity(pair, fewest=given.fewest)) > given.score,
            }
            if not planted["odd"] and made.silent & {hour - 1, hour}:
                seen["odd"] = False  # a silence is odd as well, and is not what this counts
            for name, counts in found.items():
                counts[0] += seen[name] and planted[name]
                counts[1] += seen[name]
                counts[2] += planted[name]
    return [
        {"hours": name, "planted": planted, "recall": both / planted, "precision": both / seen if seen else 1.0, "for nothing": seen - both}
        for name, (both, seen, planted) in found.items()
    ]  # fmt: skip


def _hour(made: backlogs.Hours, hour: int, given: Parameters) -> forecast.Hour | None:
    earlier = [hour - week * backlogs.WEEK_HOURS for week in range(1, given.weeks + 1)]
    return forecast.compared(made.amounts[hour], [made.amounts[each] for each in earlier if each >= 0])
