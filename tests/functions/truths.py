"""What every number must be, as SQL over the rows themselves; the counters are not asked.

A truth is found by the path of a number, a pattern whose groups go into the SQL as {0}, {1}. A number without one is a fault.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from common.flows import status
from tests.functions.rich import REFUSED

Sql = Callable[..., list[list[Any]]]
Truth = str | int | float | Callable[[Sql], float | None]
HOUR = "date_trunc('minute', app_now()) - interval '59 minutes'"
# What happened, as rows, and when each did.
HAPPENED = {
    "received": ("tds_inbox_events", "signature_verified", "received_at"),
    "duplicate": ("tidemark.duplicates", "true", "received_at"),
    "quarantined": ("tds_inbox_events", "validation_errors is not null", "processed_at"),
    "completed": ("tds_sync_queue", "status = 'completed'", "completed_at"),
    "retried": ("tds_sync_logs", "operation_status = 'retry'", '"timestamp"'),
    "dead_letter": ("tds_dead_letter_queue", "true", "created_at"),
    "revived": ("tds_dead_letter_queue", "resolution_notes = 'tried again'", "resolved_at"),
    **{
        outcome: ("tds_sync_queue", f"processing_result ->> 'outcome' = '{outcome}'", "completed_at")
        for outcome in ("applied", "unchanged", "superseded", "ambiguous")
    },
}
STATES = {
    "pending": "select (select count(*) from tds_inbox_events where processed_at is null and not moved_to_queue)"
    " + (select count(*) from tds_sync_queue where status in ('pending', 'retry'))",
    **{
        state: f"select count(*) from tds_sync_queue where status = '{state}'"
        for state in ("processing", "completed", "failed", "dead_letter")
    },
}
TOTAL = "select (select count(*) from tds_inbox_events where processed_at is null and not moved_to_queue) + (select count(*) from tds_sync_queue)"
DEPTH = (
    "select (select count(*) from tds_inbox_events where processed_at is null and not moved_to_queue)"
    " + (select count(*) from tds_sync_queue where status in ('pending', 'retry') and coalesce(next_retry_at, created_at) <= app_now())"
)
OLDEST = (
    "select extract(epoch from app_now() - min(received_at)) from tds_inbox_events i where (processed_at is null and not moved_to_queue)"
    " or exists (select from tds_sync_queue q where q.inbox_event_id = i.id and q.status in ('pending', 'retry'))"
)
TOOK = (
    "select extract(epoch from q.completed_at - i.received_at)::float8 from tds_sync_queue q join tds_inbox_events i on i.id = q.inbox_event_id"
    " where q.status = 'completed'"
)
TOOK_LATELY = f"{TOOK} and q.completed_at >= {HOUR}"
OPEN_DEAD = "select count(*) from tds_dead_letter_queue where not resolved"
OPEN_ALERTS = "select count(*) from tds_alerts where not resolved"
LEASE = "from tidemark.leases where name = 'active'"
BOUNDS = (0, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
DONE = "(select coalesce(sum(hi - lo), 0) from tidemark.leaves where plan = '{0}')"
FAILED = "(select count(*) from tidemark.shard_failures where plan = '{0}' and status in ('retry', 'dead'))"
SHARDS = "(select sum(shards) from tidemark.stages where plan = '{0}')"


def ever(name: str) -> str:
    """How often something happened."""
    table, which, _ = HAPPENED[name]
    return f"select count(*) from {table} where {which}"


def lately(name: str, since: str = HOUR, until: str = "'infinity'") -> str:
    """How often it happened in the last sixty minutes, or in another time."""
    table, which, at = HAPPENED[name]
    return f"select count(*) from {table} where {which} and {at} >= {since} and {at} < {until}"


def summed(*texts: str) -> str:
    return "select " + " + ".join(f"({text})" for text in texts)


def one(sql: Sql, text: str) -> float:
    return float(sql(text)[0][0])


def success(sql: Sql) -> float:
    well = one(sql, lately("completed"))
    ended = well + one(sql, lately("dead_letter")) + one(sql, lately("quarantined"))
    return round(100 * well / ended, 2)


def duplicate_percent(sql: Sql) -> float:
    twice = one(sql, lately("duplicate"))
    return round(100 * twice / (twice + one(sql, lately("received"))), 2)


def drop_rate(sql: Sql) -> float:
    return REFUSED / (REFUSED + one(sql, lately("received")) + one(sql, lately("duplicate")))


def delay(sql: Sql) -> float:
    took = [row[0] for row in sql(TOOK_LATELY)]
    return sum(took) / len(took)


def score(sql: Sql) -> float:
    lost = min(2 * duplicate_percent(sql), 20) + 0.5 * (100 - success(sql)) + min(2 * one(sql, OPEN_DEAD), 20)
    return round(max(0.0, 100 - lost - min(max(delay(sql) - 10, 0), 20)), 1)


def quantile(share: float) -> Callable[[Sql], float]:
    """The event at this share, spread evenly among those of its bucket."""

    def truth(sql: Sql) -> float:
        took = sorted(row[0] for row in sql(TOOK_LATELY))
        own = took[math.ceil(share * len(took)) - 1]
        upper = next((bound for bound in BOUNDS if own <= bound), None)
        if upper is None:
            return BOUNDS[-1]
        lower = max(bound for bound in BOUNDS if bound < own)
        below, inside = sum(each <= lower for each in took), sum(lower < each <= upper for each in took)
        return lower + (upper - lower) * (share * len(took) - below) / inside

    return truth


def rate(*names: str) -> Callable[[Sql], float]:
    """A minute, over the five whole minutes before this one."""
    since, until = (f"date_trunc('minute', app_now()){minutes}" for minutes in (" - interval '5 minutes'", ""))

    def truth(sql: Sql) -> float:
        return sum(one(sql, lately(name, since, until)) for name in names) / 5

    return truth


def eta(sql: Sql) -> float | None:
    coming, going = rate("received")(sql), rate("completed", "quarantined", "dead_letter")(sql)
    return round(60 * one(sql, STATES["pending"]) / (going - coming), 1) if going > coming else None


def in_minute(match: re.Match[str]) -> Truth:
    names = {"received": ("received",), "completed": ("completed",), "failed": ("quarantined", "dead_letter")}[match[1]]
    ago = 59 - int(match[2])
    since, until = (f"date_trunc('minute', app_now()) - interval '{minutes} minutes'" for minutes in (ago, ago - 1))
    return lambda sql: sum(one(sql, lately(name, since, until)) for name in names)


def plan_eta(match: re.Match[str]) -> Truth:
    plan = match[1]

    def truth(sql: Sql) -> float:
        done = one(sql, f"select {DONE} - {FAILED}".format(plan))
        dead = f"(select count(*) from tidemark.shard_failures where plan = '{plan}' and status = 'dead')"
        left = one(sql, f"select {SHARDS} - {dead}".format(plan)) - done
        seconds = one(sql, f"select extract(epoch from app_now() - min(opened_at)) from tidemark.stages where plan = '{plan}'")
        return round(left / (done / seconds), 1)

    return truth


def rounded(text: str) -> Callable[[Sql], float]:
    return lambda sql: round(one(sql, text), 1)


def more(table: str, shown: int) -> str:
    return f"select greatest(0, count(*) - {shown}) from {table}"


# The parts that several answers have.
QUEUE: dict[str, Truth] = {**STATES, "total": TOTAL}
COUNTS: dict[str, Truth] = {**{name: ever(name) for name in HAPPENED}, "refused": REFUSED}
LATE_COUNTS: dict[str, Truth] = {**{name: lately(name) for name in HAPPENED}, "refused": REFUSED}


def under(prefix: str, truths: dict[str, Truth]) -> dict[str, Any]:
    return {rf"{prefix}{name}": truth for name, truth in truths.items()}


STATS = {**QUEUE, **under(r"outcomes\.", COUNTS)}
TRUTHS: dict[str, dict[str, Any]] = {
    "/health": {
        "uptime": lambda _: int(time.monotonic() - status.STARTED),
        r"queue\.total_received": summed(ever("received"), ever("duplicate")),
        r"queue\.total_processed": summed(ever("completed"), ever("quarantined")),
        r"queue\.queue_depth": DEPTH,
        r"queue\.drop_rate": drop_rate,
        "lock_holder_pid": "select holder_pid from tidemark.leases where name = 'active'",
        "lock_idle_duration": f"select greatest(0, extract(epoch from app_now() - expires_at)) {LEASE}",
        "lock_heartbeat_age": f"select extract(epoch from app_now() - heartbeat_at) {LEASE}",
        r"lock_takeover_event\.token": f"select token {LEASE}",
        r"lock_takeover_event\.expired_for_seconds": "select extract(epoch from acquired_at - former_expires_at)"
        " from tidemark.lease_history where former_holder is not null order by token desc limit 1",
    },
    "/health/diag": {"queue_depth": DEPTH, "ticket_count": "select count(*) from tidemark.tickets where status <> 'resolved'"},
    "/queue/stats": STATS,
    "/dashboard/queue-stats": STATS,
    "/api/tds/monitoring/health": {
        **under(r"queue\.", QUEUE),
        r"metrics\.success_rate": success,
        r"metrics\.active_alerts": OPEN_ALERTS,
        r"thresholds\.queue_warning": "select (config_value #>> '{{}}')::int from tds_configuration where config_key = 'queue_backlog_threshold'",
        r"thresholds\.(\w+)": "select (value #>> '{{}}')::int from tidemark.settings where key = 'alerts.{0}'",
    },
    "/dashboard/metrics": {
        **under(r"queue\.", QUEUE),
        **under(r"total\.", COUNTS),
        **under(r"last_hour\.", LATE_COUNTS),
        "success_rate": success,
        r"latency_seconds\.average": delay,
        r"latency_seconds\.p50": quantile(0.5),
        r"latency_seconds\.p95": quantile(0.95),
        "dead_letters": OPEN_DEAD,
        r"alerts\.active": OPEN_ALERTS,
        r"alerts\.acknowledged": f"{OPEN_ALERTS} and acknowledged",
        r"alerts\.by_severity\.(\w+)": OPEN_ALERTS + " and severity = '{0}'",
    },
    "/dashboard/dead-letter": {
        "count": "select (select count(*) from tds_dead_letter_queue where not resolved)"
        " + (select count(*) from tds_inbox_events where validation_errors is not null)",
        "unresolved_dead_letters": OPEN_DEAD,
        r"items\[(.+)\]\.attempts": "select coalesce((select total_attempts from tds_dead_letter_queue where id = '{0}'), 0)",
    },
    "/dashboard/recent-events": {
        "count": "select count(*) from tds_inbox_events",
        r"events\[(.+)\]\.attempts": "select attempt_count from tds_sync_queue where inbox_event_id = '{0}'",
    },
    "/webhooks/health": {
        "health_score": score,
        r"inbox_stats\.duplicate_percent": duplicate_percent,
        r"inbox_stats\.waiting": DEPTH,
        **under(r"inbox_stats\.", LATE_COUNTS),
        r"processing_stats\.completed": lately("completed"),
        r"processing_stats\.success_percent": success,
        r"processing_stats\.average_delay_seconds": delay,
        **under(r"processing_stats\.outcomes\.", LATE_COUNTS),
        r"failure_analysis\.dead_letters": OPEN_DEAD,
        r"failure_analysis\.retried": lately("retried"),
    },
    "/metrics": {
        "tidemark_requests_refused_total": REFUSED,
        "tidemark_events_(received|duplicate|quarantined)_total": lambda match: ever(match[1]),
        "tidemark_attempts_retried_total": ever("retried"),
        "tidemark_events_dead_lettered_total": ever("dead_letter"),
        r"tidemark_events_completed_total\{outcome=(\w+)\}": lambda match: ever(match[1]),
        r"tidemark_actions_total\{action=revived\}": ever("revived"),
        r"tidemark_queue_events\{state=(\w+)\}": lambda match: STATES[match[1]],
        "tidemark_queue_oldest_age_seconds": OLDEST,
        r"tidemark_event_latency_seconds_bucket\{le=\+Inf\}": ever("completed"),
        r"tidemark_event_latency_seconds_bucket\{le=(.+)\}": f"select count(*) from ({TOOK}) t (took) where took <= {{0}}",
        "tidemark_event_latency_seconds_count": ever("completed"),
        "tidemark_event_latency_seconds_sum": f"select sum(took) from ({TOOK}) t (took)",
        "tidemark_dead_letters": OPEN_DEAD,
        r"tidemark_alerts_open\{severity=(\w+)\}": OPEN_ALERTS + " and severity = '{0}'",
        "tidemark_schedule_lateness_seconds": "select extract(epoch from app_now() - min(next_slot)) from tidemark.schedules where enabled",
        r"tidemark_plan_shards\{.*plan=(.{36}),state=done\}": f"select {DONE} - {FAILED}",
        r"tidemark_plan_shards\{.*plan=(.{36}),state=failed\}": f"select {FAILED}",
        r"tidemark_plan_shards\{.*plan=(.{36}),state=running\}": "select coalesce(sum(busy - done), 0) from tidemark.lanes"
        " where plan = '{0}' and leased_until >= app_now()",
        r"tidemark_plan_shards\{.*plan=(.{36}),state=total\}": f"select {SHARDS}",
        r"tidemark_breaker\{name=(\w+),state=(\w+)\}": "select (state = '{1}')::int from tidemark.breakers where name = '{0}'",
        r"tidemark_lease_held\{holder=(.+)\}": f"select (expires_at > app_now())::int {LEASE} and holder = '{{0}}'",
        "tidemark_lease_token_total": f"select token {LEASE}",
        r"tidemark_build_info\{.*\}": 1,
    },
    "/api/status": {
        **under(r"queue\.", STATES),  # type: ignore[arg-type]
        r"queue\.oldest_age_seconds": rounded(OLDEST),
        r"queue\.in_per_minute": rate("received"),
        r"queue\.out_per_minute": rate("completed", "quarantined", "dead_letter"),
        r"queue\.eta_seconds": eta,
        r"entities\.items\[(\w+)\]\.lag_seconds": "select round(extract(epoch from app_now() - last_sync_at), 1) from tds_sync_cursors where entity_type = '{0}'",
        r"lease\.token": f"select token {LEASE}",
        r"entities\.more": 0,
        r"plans\.items\[(.+)\]\.total_shards": f"select {SHARDS}",
        r"plans\.items\[(.+)\]\.done_shards": f"select {DONE} - {FAILED}",
        r"plans\.items\[(.+)\]\.failed_shards": f"select {FAILED}",
        r"plans\.items\[(.+)\]\.eta_seconds": plan_eta,
        r"plans\.more": more("tidemark.plans where finished_at is null", 4),
        r"schedules\.items\[(.+)\]\.missed": "select count(*) from tidemark.fires where schedule = '{0}' and state = 'missed'",
        r"schedules\.more": more("tidemark.schedules", 6),
        r"alerts\.more": more("tds_alerts where not resolved", 5),
        r"sparkline\.(\w+)\[(\d+)\]": in_minute,
    },
}
BY_MATCH = {in_minute, plan_eta}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of an answer with its path; a row of a list is named by its first field."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            name = next(iter(each.values())) if isinstance(each, dict) else index
            yield from leaves(each, f"{path}[{name}]")


def true_value(sql: Sql, path: str, truths: dict[str, Any]) -> float | None:
    """What the number at a path must be.

    Raises: LookupError, when nobody has said.
    """
    for pattern, truth in truths.items():
        match = re.fullmatch(pattern, path)
        if match is None:
            continue
        if callable(truth):
            found = truth(match) if truth in BY_MATCH or truth.__code__.co_varnames[:1] == ("match",) else truth(sql)
            if not callable(found) and not isinstance(found, str):
                return found
            truth = found  # noqa: PLW2901
        if callable(truth):
            return truth(sql)
        if isinstance(truth, str):
            return one(sql, truth.format(*match.groups()))
        return truth
    raise LookupError(path)


def lies(sql: Sql, found: Iterator[tuple[str, float]], truths: dict[str, Any]) -> list[str]:
    """Every number that is not what it must be, or of which nobody knows what it must be."""
    wrong = []
    for path, shown in found:
        try:
            true = true_value(sql, path, truths)
        except LookupError:
            wrong.append(f"{path}: nobody has said what it must be")
            continue
        # The process's own clock goes on while the database's stands still.
        slack = 2 if path == "uptime" else 1e-6
        if true is None or not math.isclose(shown, true, rel_tol=1e-9, abs_tol=slack):
            wrong.append(f"{path} says {shown}, the rows say {true}")
    return wrong
