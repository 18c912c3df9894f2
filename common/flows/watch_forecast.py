"""What is watched of where things are going: a backlog that will be too long, and hours unlike those of other weeks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from common import entities, settings
from common.db import Transaction
from common.rules import forecast
from common.rules.hysteresis import Reading, Severity
from common.stores import schedules, signals

BACKLOG = ("backlog_forecast",)
HOURS = ("source_silence", "anomaly")
FLOW = "queue"
CAME, WENT = ("received", "revived"), ("completed", "quarantined", "dead_letter")
LONGEST_GAP = 240  # minutes: what was before weighs nothing any more
WEBHOOKS, SYNCED = "received", "synced:"


def backlog(tx: Transaction, values: Mapping[str, Any]) -> Iterator[Reading]:
    """The backlog in an hour, as long as it is not too long now: then another alert tells of it."""
    if not settings.load().hxo_predictive_mode:
        return
    flow = _flow(tx, half_life=max(float(values["alerts.forecast_half_life_minutes"]), 0.1))
    limit, horizon = values["queue_backlog_threshold"], float(values["alerts.forecast_horizon_minutes"])
    waiting = signals.queue(tx, most=limit + 1).waiting
    left = forecast.minutes_left(waiting, limit, flow)
    if waiting > limit or left is None:
        return
    now = schedules.now(tx)
    yield Reading(
        *BACKLOG,
        forecast.projected(waiting, flow, horizon),
        limit,
        Severity.WARNING,
        f"{limit:,} events will wait in {left:.0f} minutes",
        f"{waiting:,} wait now; {flow.arrivals:.1f} come in a minute and {flow.completions:.1f} are done.",
        affected=waiting,
        metadata={
            "eta": now + timedelta(minutes=min(left, 60 * 24 * 365)),
            "eta_minutes": round(left, 1),
            "waiting": waiting,
            "arrivals_per_minute": round(flow.arrivals, 2),
            "completions_per_minute": round(flow.completions, 2),
            "horizon_minutes": horizon,
        },
        open_after=values["alerts.forecast_sustain"],
    )


def _flow(tx: Transaction, *, half_life: float) -> forecast.Flow:
    flow = signals.flow(tx, FLOW)
    minutes = signals.minutes(tx, FLOW, arrivals=CAME, completions=WENT, most=LONGEST_GAP)
    if minutes:
        flow = forecast.folded(flow, [(each.arrivals, each.completions) for each in minutes], half_life=half_life)
        signals.keep_flow(tx, FLOW, minutes[-1].minute, flow)
    return flow


def hours(tx: Transaction, values: Mapping[str, Any]) -> Iterator[Reading]:
    """Hours in which nothing came where something should have, and pairs of hours that were unlike those of other weeks."""
    weeks = values["alerts.anomaly_weeks"]
    signals.close_hours(tx, weeks=weeks)
    names = [WEBHOOKS, *(SYNCED + each.label for each in entities.every() if each.pull is not None)]
    for name, found in itertools.groupby(signals.hours(tx, names, weeks=weeks), key=lambda hour: hour.signal):
        pair = list(found)
        compared = [forecast.compared(each.amount, each.weeks) for each in pair]
        newest, at = compared[-1], pair[-1].hour
        if newest is None:
            continue
        entity = name.removeprefix(SYNCED) if name != WEBHOOKS else None
        what = f"rows of {entity}" if entity else "webhooks"
        numbers = {"signal": name, "hour": at, "amount": newest.amount, "usual": newest.usual, "score": round(newest.score, 2)}
        if forecast.is_silent(newest, above=values["alerts.silence_rows"]) and not pair[-1].since:
            yield Reading(
                "source_silence",
                newest.usual,
                values["alerts.silence_rows"],
                Severity.ERROR,
                f"No {what} came within an hour",
                f"In the hour from {at:%Y-%m-%d %H:%M} UTC there are {newest.usual:.0f} in other weeks. See whether the source "
                "still sends, and whether it is let in.",
                entity=entity,
                affected=0,
                metadata=numbers,
            )
        elif len(pair) > 1 and settings.load().hxo_predictive_mode:
            odd = forecast.oddity(compared, fewest=values["alerts.anomaly_rows"])
            yield Reading(
                "anomaly",
                abs(odd),
                float(values["alerts.anomaly_score"]),
                Severity.WARNING,
                f"Far {'more' if odd > 0 else 'fewer'} {what} than usual, for two hours",
                f"{newest.amount:.0f} in the hour from {at:%Y-%m-%d %H:%M} UTC, where other weeks have {newest.usual:.0f}.",
                entity=entity,
                affected=int(newest.amount),
                metadata=numbers,
            )
