"""What people are told of an alert, and when it is tried again if nobody took it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

TYPE = "tds.alert"
# How long after an attempt the next one is due: the first is due at once. Standard Webhooks 1.0, "deliverability".
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MOST_ATTEMPTS = len(WAITS) + 1
JITTER = 0.1  # at most so much of a wait is added, so that those who failed together do not come back together
SUBJECT = 150  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
ORDER = ("critical", "error", "warning", "info")


class Taken(NamedTuple):
    """One delivery while it is ours to send."""

    id: UUID  # the same at every attempt
    alert_id: UUID
    kind: str  # opened, worsened, resolved, reminder
    hours: int  # of a reminder: how long the alert had been open
    document: dict[str, Any]  # the alert as it stood then
    attempts: int  # this one included
    token: int
    created_at: datetime


def wait(attempts: int, chance: float) -> timedelta | None:
    """How long after the `attempts`-th attempt the next is due; None when it was the last. `chance` is from [0, 1)."""
    return WAITS[attempts - 1] * (1 + JITTER * chance) if attempts < MOST_ATTEMPTS else None


def payload(taken: Taken) -> dict[str, Any]:
    """What a webhook says."""
    told = {"change": taken.kind, **({"open_hours": taken.hours} if taken.hours else {})}
    return {"type": TYPE, "timestamp": taken.created_at, "data": {**taken.document, **told}}


def subject(taken: Taken) -> str:
    """One line about one alert."""
    return f"[Tidemark] {_said(taken)}: {_plain(taken.document.get('title'))}"[:SUBJECT]


def text(taken: Taken) -> str:
    """A mail about one alert."""
    return "\n".join(line for line in _lines(taken) if line) + "\n"


def digest_subject(taken: Sequence[Taken]) -> str:
    """One line about many alerts."""
    worst = min((each.document.get("severity", "info") for each in taken if each.kind != "resolved"), key=_rank, default="resolved")
    return f"[Tidemark] {len(taken)} alerts, the worst: {worst}"


def digest(taken: Sequence[Taken]) -> str:
    """A mail about many alerts, the worst first."""
    by_worst = sorted(
        taken, key=lambda each: (each.kind == "resolved", _rank(each.document.get("severity", "info")), each.created_at)
    )
    return "\n".join(f"{number}. {text(each)}" for number, each in enumerate(by_worst, 1))


def _rank(severity: str) -> int:
    return ORDER.index(severity) if severity in ORDER else len(ORDER)


def _said(taken: Taken) -> str:
    severity = taken.document.get("severity")
    if taken.kind == "resolved":
        return "resolved"
    if taken.kind == "reminder":
        return f"{severity}, still open after {taken.hours} h"
    return f"now {severity}" if taken.kind == "worsened" else f"{severity}"


def _lines(taken: Taken) -> list[str]:
    alert: Mapping[str, Any] = taken.document
    return [
        f"{_said(taken)}: {_plain(alert.get('title'))}",
        f"   {_plain(alert.get('message'))}",
        f"   Of: {alert['entity_type']}" if alert.get("entity_type") else "",
        f"   Affected: {alert['affected_count']}" if alert.get("affected_count") is not None else "",
        f"   Open since {alert.get('triggered_at')}",
        f"   Resolved at {alert['resolved_at']} by {_plain(alert.get('resolved_by'))}" if alert.get("resolved_at") else "",
        f"   Alert {alert.get('alert_type')}, {alert.get('id')}",
    ]


def _plain(value: Any) -> str:
    """Without anything that could end a line or a header."""
    return CONTROL.sub(" ", str(value or "")).strip()
