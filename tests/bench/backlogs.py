"""Made-up backlogs, minute by minute, and made-up hours: what the forecasts are tried on. The same seed gives the same numbers.

A system takes 60 events a minute and gets fewer, with the ups and downs of the day and the week and a burst at two every
night. Now and then something happens to it: it gets slower, stops, slows down bit by bit, or much more comes than usual;
some of that crosses the limit, and most of it does not.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

DAY, WEEK_HOURS = 1440, 168
CAPACITY = 60.0  # events a minute
LIMIT = 1000  # the default of queue_backlog_threshold
INCIDENTS = 14 / 21  # a day
KINDS = ("slow", "stop", "leak", "surge")
MINUTES = (30, 240)  # that an incident lasts
AGAIN_BELOW = 0.5  # of the limit: a backlog that has not been below has not crossed a second time


@dataclass
class Backlog:
    """What came, what was done, and what waited at the end of each minute."""

    arrivals: list[float] = field(default_factory=list)
    completions: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    troubled: set[int] = field(default_factory=set)  # minutes in which something was the matter

    def crossings(self, limit: float) -> list[int]:
        """The minutes in which it went over the limit, once each time."""
        found, is_armed = [], True
        for minute, waiting in enumerate(self.waiting):
            if is_armed and waiting > limit:
                found.append(minute)
                is_armed = False
            elif waiting < limit * AGAIN_BELOW:
                is_armed = True
        return found


@dataclass(frozen=True)
class Incident:
    """Something that happens, from one minute to another."""

    kind: str
    start: int
    end: int
    strength: float


def backlog(seed: int, days: int) -> Backlog:
    """A system over so many days."""
    chance = random.Random(seed)
    incidents = _incidents(chance, days)
    made, waiting, mood = Backlog(), 0.0, 0.0
    for minute in range(days * DAY):
        now = [each for each in incidents if each.start <= minute < each.end]
        mood = 0.97 * mood + chance.gauss(0, 0.05)
        expected = _usual(minute) * math.exp(mood)
        capacity = CAPACITY * max(0.3, 1 + chance.gauss(0, 0.08))
        for incident in now:
            expected, capacity = _changed(incident, minute, expected, capacity)
        came = max(0.0, round(chance.gauss(expected, math.sqrt(expected))))
        went = min(waiting + came, round(capacity))
        waiting += came - went
        made.arrivals.append(came)
        made.completions.append(went)
        made.waiting.append(waiting)
        if now:
            made.troubled.add(minute)
    return made


def _usual(minute: int) -> float:
    of_day, weekday = minute % DAY, minute // DAY % 7
    wave = 1 + 0.7 * math.sin(2 * math.pi * (of_day - 480) / DAY)
    usual = 24 * wave * (0.45 if weekday >= 5 else 1.0)
    return usual + (50.0 if 120 <= of_day < 132 else 0.0)  # the nightly burst


def _incidents(chance: random.Random, days: int) -> list[Incident]:
    count = round(INCIDENTS * days)
    starts = sorted(chance.sample(range(0, days * DAY - 300, 300), count))
    return [
        Incident(chance.choice(KINDS), start + chance.randrange(60), start + 60 + chance.randrange(*MINUTES), chance.random())
        for start in starts
    ]


def _changed(incident: Incident, minute: int, expected: float, capacity: float) -> tuple[float, float]:
    if incident.kind == "slow":
        return expected, capacity * (0.1 + 0.6 * incident.strength)
    if incident.kind == "stop":
        return expected, 0.0 if minute < incident.start + 5 + 60 * incident.strength else capacity
    if incident.kind == "leak":
        gone = (minute - incident.start) / (incident.end - incident.start)
        return expected, capacity * (1 - gone * (0.4 + 0.6 * incident.strength))
    return expected * (1.3 + 2 * incident.strength), capacity


@dataclass
class Hours:
    """Amounts per hour over some weeks, and where something was put into them."""

    amounts: list[float] = field(default_factory=list)
    silent: set[int] = field(default_factory=set)
    odd: set[int] = field(default_factory=set)  # bursts and droughts of two hours and more


def hours(seed: int, weeks: int, *, quiet_weeks: int) -> Hours:
    """An hourly count with silences, bursts and droughts from the end of the quiet weeks on."""
    chance = random.Random(seed)
    made = Hours()
    busy = chance.choice((150.0, 600.0, 2500.0))
    for hour in range(weeks * WEEK_HOURS):
        of_day, weekday = hour % 24, hour // 24 % 7
        wave = 1 + 0.8 * math.sin(2 * math.pi * (of_day - 8) / 24)
        usual = busy * wave * (0.4 if weekday >= 5 else 1.0) * math.exp(chance.gauss(0, 0.12)) + (busy if of_day == 2 else 0)
        made.amounts.append(max(0.0, round(chance.gauss(usual, math.sqrt(usual)))))
    for start in range(quiet_weeks * WEEK_HOURS + 12, weeks * WEEK_HOURS - 12, 31):
        kind, length = chance.choice(("silence", "burst", "drought")), chance.randint(2, 5)
        for hour in range(start, start + length):
            if kind == "silence":
                made.amounts[hour] = 0.0
                made.silent.add(hour)
            else:
                made.amounts[hour] = round(made.amounts[hour] * (4.0 if kind == "burst" else 0.15))
                made.odd.add(hour)
    return made
