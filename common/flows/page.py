"""Page: what the static page polls, in 4 kB at most, with an entity tag that changes with the content and not with the clock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import db, encoding, settings
from common.db import Transaction
from common.errors import Invalid
from common.flows import lease, monitoring, plan_status
from common.rules import cors
from common.rules.http import Answer, Request
from common.rules.instants import instant
from common.stores import health, leases, metrics, page, schedules

LARGEST = 4000  # bytes of the body
MINUTES, RATED = 60, 5  # of the sparkline; whole ones that a rate is taken over
SHOWN = {"entities": 20, "plans": 4, "schedules": 6, "alerts": 5, "notable": 10}
TITLE = 80  # characters of a name or a title
ENDED = ("completed", "quarantined", "dead_letter")
CLOCKED = frozenset({"generated_at", "from", "oldest_age_seconds", "lag_seconds", "eta_seconds"})  # moved by the clock alone
TAG = re.compile(r'(?:W/)?"([0-9a-f]{20})"|([0-9a-f]{20})')
CACHED = "private, max-age=2"


class Row(NamedTuple):
    """A row of a list, and when it last changed; None: it may have at any time."""

    shown: dict[str, Any]
    changed_at: datetime | None


def preflight(request: Request) -> Answer:
    """What a browser is told that asks whether its page may read."""
    return Answer(204, b"", cors.preflight(request.header("origin"), settings.load().cors_origins))


def summary(request: Request) -> Answer:
    """What /api/status tells.

    Numbers are always whole. Each list {items, more} has its most important rows; `more` is how many it leaves out, and
    what would not fit into 4 kB is left out as well. ?since=<time>, such as a former `generated_at`: lists have only rows
    that changed since, and `notable` tells what happened since then. ?since=<a former entity tag>: as If-None-Match.
    `status` is that of /api/tds/monitoring/health. Rates are per minute, over the last five whole minutes; in counts what
    was stored, out what ended. The sparkline has one number a minute, the last one is the minute that goes on.

    Raises: Invalid, when `since` is neither.
    """
    since, known = _since(request)
    with db.transaction("status", read_only=True) as tx:
        content = _content(tx, since)
    body = _fitting(content)
    tag = f'"{hashlib.sha256(encoding.canonical(_still(content))).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": CACHED}
    if _matches(tag, [*request.headers_named("if-none-match"), *known]):
        return Answer(304, b"", headers)
    return Answer(200, body, headers | {"Content-Type": "application/json"})


def _since(request: Request) -> tuple[datetime | None, list[str]]:
    """The moment that is asked for, or the tag."""
    text = request.arguments.get("since")
    if text is None:
        return None, []
    if found := TAG.fullmatch(text):
        return None, [f'"{found[1] or found[2]}"']
    message = "'since' must be a time such as 2026-06-09T09:45:44Z, or a former entity tag."
    faults = [{"pointer": "since", "message": message}]
    try:
        # A plus sign that was not encoded comes as a space.
        moment = instant(re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", text))
    except ValueError as error:
        raise Invalid(message, errors=faults) from error
    if moment is None:
        raise Invalid(message, errors=faults)
    return moment, []


def _matches(tag: str, offered: Iterable[str]) -> bool:
    """Whether one of the tags in If-None-Match is this one; compared weakly, as RFC 9110 has it for GET."""
    listed = [each.strip() for text in offered for each in text.split(",")]
    return any(each == "*" or each.removeprefix("W/") == tag for each in listed)


def _content(tx: Transaction, since: datetime | None) -> dict[str, Any]:
    now, sizes = schedules.now(tx), page.sizes(tx)
    minutes = {(each.name, each.ago): each.amount for each in metrics.minutes(tx, ("received", *ENDED))}
    states = health.queue(tx)
    hour = {name: sum(_minutes(minutes, (name,))) for name in ENDED}
    received = _minutes(minutes, ("received",))
    ended = _minutes(minutes, ENDED)
    content: dict[str, Any] = {
        "generated_at": _seconds(now),
        "status": monitoring.condition(tx, {state.status: state.events for state in states}, hour),
        "queue": _queue(states, received, ended, now),
        "entities": _listed("entities", _entities(page.entities(tx)), since),
        "plans": _listed("plans", _plans(tx), since, sizes.plans),
        "schedules": _listed("schedules", _schedules(page.schedules(tx, limit=SHOWN["schedules"])), since, sizes.schedules),
        "alerts": _listed("alerts", _alerts(page.alerts(tx, limit=SHOWN["alerts"])), since, sizes.alerts),
        "lease": _lease(tx),
        "sparkline": {
            "from": _seconds(now.replace(second=0) - timedelta(minutes=MINUTES - 1)),
            "received": received,
            "completed": _minutes(minutes, ("completed",)),
            "failed": _minutes(minutes, ENDED[1:]),
        },
    }
    if since is not None:
        found = page.notable(tx, since=since, limit=SHOWN["notable"])
        notable = [{"at": _seconds(each.at), "what": each.what, "name": each.name[:TITLE]} for each in found]
        content["notable"] = {"items": notable, "more": None}
    return content


def _queue(states: Sequence[health.State], received: list[int], ended: list[int], now: datetime) -> dict[str, Any]:
    oldest = next((state.oldest_at for state in states if state.status == "pending"), None)
    coming, going = (sum(counts[-1 - RATED : -1]) / RATED for counts in (received, ended))
    waiting = next(state.events for state in states if state.status == "pending")
    if waiting == 0:
        eta: float | None = 0.0
    else:
        eta = round(60 * waiting / (going - coming), 1) if going > coming else None
    return {
        **{state.status: state.events for state in states},
        "oldest_at": _seconds(oldest),
        "oldest_age_seconds": round((now - oldest).total_seconds(), 1) if oldest else None,
        "in_per_minute": coming,
        "out_per_minute": going,
        "eta_seconds": eta,
    }


def _lease(tx: Transaction) -> dict[str, Any] | None:
    """Which deployment is ACTIVE, or was last; None before any was."""
    found = leases.find(tx, lease.ACTIVE)
    return found and {"state": lease.shown(found)["lock_state"], "holder": found.holder, "token": found.token}


def _entities(found: Sequence[page.Entity]) -> list[Row]:
    return [
        Row(
            {
                "entity": each.entity,
                "last_sync_at": _seconds(each.last_sync_at),
                "lag_seconds": None if each.lag_seconds is None else round(each.lag_seconds, 1),
                "last_run": each.run_status,
                "last_run_at": _seconds(each.run_at),
            },
            max((at for at in (each.last_sync_at, each.run_at) if at), default=None),
        )
        for each in found
    ]


def _plans(tx: Transaction) -> list[Row]:
    rows = []
    for plan, found in plan_status.unfinished(tx, limit=SHOWN["plans"]).items():
        whole, eta = found.whole, found.whole.eta_seconds
        is_ending = found.plan.plan_status == "running" and settings.load().hxo_predictive_mode
        shown = {
            "plan_id": plan,
            "name": found.plan.name[:TITLE],
            "status": found.plan.plan_status,
            "total_shards": whole.total,
            "done_shards": whole.done,
            "failed_shards": whole.failed,
            "eta_seconds": round(eta, 1) if eta is not None and is_ending else None,
        }
        rows.append(Row(shown, None))
    return rows


def _schedules(found: Sequence[page.Schedule]) -> list[Row]:
    return [
        Row(
            {"name": each.name, "next": _seconds(each.next_slot), "last": _seconds(each.last_slot), "missed": each.missed},
            each.changed_at,
        )
        for each in found
    ]


def _alerts(found: Sequence[page.Alert]) -> list[Row]:
    return [
        Row(
            {
                "severity": each.severity,
                "type": each.alert_type,
                "title": each.title[:TITLE],
                "entity": each.entity_type,
                "acknowledged": each.acknowledged,
                "at": _seconds(each.triggered_at),
            },
            each.changed_at,
        )
        for each in found
    ]


def _listed(name: str, rows: Sequence[Row], since: datetime | None, size: int | None = None) -> dict[str, Any]:
    """The rows that are shown, and how many are not: because they did not change, or because they are too many."""
    wanted = [row.shown for row in rows if since is None or row.changed_at is None or row.changed_at >= since]
    shown = wanted[: SHOWN[name]]
    return {"items": shown, "more": (len(rows) if size is None else size) - len(shown)}


def _minutes(minutes: dict[tuple[str, int], int], names: Sequence[str]) -> list[int]:
    """What was counted under these names, by minute, the oldest first."""
    return [sum(minutes.get((name, ago), 0) for name in names) for ago in reversed(range(MINUTES))]


def _fitting(content: dict[str, Any]) -> bytes:
    """The body, with as many rows as fit: the longest list gives way first."""
    while len(body := encoding.dumps(content).encode()) > LARGEST:
        lists = [part for part in content.values() if isinstance(part, dict) and part.get("items")]
        if not lists:
            content["sparkline"] = None
            return encoding.dumps(content).encode()
        longest = max(lists, key=lambda part: len(encoding.dumps(part["items"])))
        longest["items"].pop()
        if longest["more"] is not None:
            longest["more"] += 1
    return body


def _still(value: Any) -> Any:
    """`value` without what the clock alone moves."""
    if isinstance(value, dict):
        return {key: _still(each) for key, each in value.items() if key not in CLOCKED}
    return [_still(each) for each in value] if isinstance(value, list) else value


def _seconds(at: datetime | None) -> datetime | None:
    """To whole seconds: what is shown, and what `since` is compared with, must not be later than it was."""
    return at.replace(microsecond=0) if at else None
