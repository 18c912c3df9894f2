"""OpenMetrics: every family of /metrics, a small function each. Loaded by the first /metrics of a process.

Nothing is kept here: counters are the database's, so every instance tells the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from common import VERSION, db
from common.db import Transaction
from common.flows import lease, plan_status
from common.flows.monitoring import OUTCOMES, STATES
from common.rules import latency
from common.stores import breakers, health, leases, metrics, schedules, schema_versions

SEVERITIES = ("info", "warning", "error", "critical")
BREAKER_STATES = ("closed", "half_open", "open")
PLANS = 20  # running ones that are shown, the newest
# What is counted: the family it is shown as, and what that is. Any other name is an action of its own.
COUNTED = {
    "received": ("tidemark_events_received", "Events that were stored."),
    "duplicate": ("tidemark_events_duplicate", "Deliveries of an event that was known already."),
    "refused": ("tidemark_requests_refused", "Webhooks that were turned away before anything was stored."),
    "quarantined": ("tidemark_events_quarantined", "Events that could not be validated."),
    "retried": ("tidemark_attempts_retried", "Attempts that failed and are followed by another one."),
    "dead_letter": ("tidemark_events_dead_lettered", "Events whose attempts were spent."),
}


class Facts(NamedTuple):
    """What more than one family needs."""

    counters: dict[str, int]
    states: list[health.State]
    whole: health.Whole


def text() -> tuple[bytes, str]:
    """All families, and their content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Database())
    body: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return body, CONTENT_TYPE_LATEST


class _Database(Collector):
    """Reads everything in one transaction at each scrape."""

    def collect(self) -> Iterator[Metric]:
        with db.transaction("status", read_only=True) as tx:
            facts = Facts(health.counters(tx), health.queue(tx), health.whole(tx))
            families = [metric for family in FAMILIES for metric in family(tx, facts)]
        yield from families

    def describe(self) -> Iterator[Metric]:
        """None: nothing is asked of the database before a scrape."""
        yield from ()


def _counters(_: Transaction, facts: Facts) -> Iterator[Metric]:
    for name, (family, said) in COUNTED.items():
        yield CounterMetricFamily(family, said, value=facts.counters.get(name, 0))
    completed = CounterMetricFamily("tidemark_events_completed", "Events that were completed, by outcome.", labels=["outcome"])
    for outcome in OUTCOMES:
        completed.add_metric([outcome], facts.counters.get(outcome, 0))
    yield completed
    actions = CounterMetricFamily("tidemark_actions", "What Tidemark and its operators did, by action.", labels=["action"])
    known = {*COUNTED, *OUTCOMES, "completed", "waiting"}
    for name, amount in facts.counters.items():
        if name not in known and not latency.is_counter(name):
            actions.add_metric([name], amount)
    yield actions


def _queue(tx: Transaction, facts: Facts) -> Iterator[Metric]:
    events = GaugeMetricFamily(
        "tidemark_queue_events", "Events by state; pending has those that wait for a retry.", labels=["state"]
    )
    by_state = {state.status: state.events for state in facts.states}
    for state in STATES:
        events.add_metric([state], by_state[state])
    yield events
    oldest = next((state.oldest_at for state in facts.states if state.status == "pending"), None)
    age = (schedules.now(tx) - oldest).total_seconds() if oldest else 0.0
    yield GaugeMetricFamily("tidemark_queue_oldest_age", "How long the oldest waiting event has waited.", value=age, unit="seconds")


def _latency(_: Transaction, facts: Facts) -> Iterator[Metric]:
    found = latency.histogram(facts.counters)
    bounds = ["+Inf" if bound == "inf" else str(float(bound)) for bound in latency.BOUNDS]
    yield HistogramMetricFamily(
        "tidemark_event_latency",
        "From receipt to completion.",
        buckets=list(zip(bounds, latency.cumulative(found.counts), strict=True)),
        sum_value=found.sum_seconds,
        unit="seconds",
    )


def _trouble(tx: Transaction, facts: Facts) -> Iterator[Metric]:
    yield GaugeMetricFamily("tidemark_dead_letters", "Dead letters that nobody has resolved.", value=facts.whole.dead_letters)
    alerts = GaugeMetricFamily("tidemark_alerts_open", "Alerts that are open, by severity.", labels=["severity"])
    counts = {each.severity: each.open for each in metrics.alerts(tx)}
    for severity in SEVERITIES:
        alerts.add_metric([severity], counts.get(severity, 0))
    yield alerts


def _schedules(tx: Transaction, _: Facts) -> Iterator[Metric]:
    said = "How long the oldest slot has waited that nobody has begun."
    yield GaugeMetricFamily("tidemark_schedule_lateness", said, value=metrics.lateness(tx), unit="seconds")


def _plans(tx: Transaction, _: Facts) -> Iterator[Metric]:
    labels = ["plan", "name", "state"]
    shards = GaugeMetricFamily("tidemark_plan_shards", "Shards of the plans that are not over, by state.", labels=labels)
    for plan, found in plan_status.unfinished(tx, limit=PLANS).items():
        whole = found.whole
        for state, amount in (("done", whole.done), ("running", whole.running), ("failed", whole.failed), ("total", whole.total)):
            if amount is not None:
                shards.add_metric([plan, found.plan.name, state], amount)
    yield shards


def _breakers(tx: Transaction, _: Facts) -> Iterator[Metric]:
    states = GaugeMetricFamily("tidemark_breaker", "1 in the state that the breaker is in.", labels=["name", "state"])
    for each in breakers.all_of_them(tx):
        for state in BREAKER_STATES:
            states.add_metric([each.name, state], int(each.state == state))
    yield states


def _lease(tx: Transaction, _: Facts) -> Iterator[Metric]:
    held = GaugeMetricFamily(
        "tidemark_lease_held", "1 while the deployment holds the lease that makes it ACTIVE.", labels=["holder"]
    )
    token = CounterMetricFamily("tidemark_lease_token", "The lease's fencing token, which only grows.")
    if found := leases.find(tx, lease.ACTIVE):
        held.add_metric([found.holder], int(found.is_held))
        token.add_metric([], found.token)
    yield held
    yield token


def _build(tx: Transaction, _: Facts) -> Iterator[Metric]:
    about = {"version": VERSION, "schema": str(schema_versions.newest(tx))}
    yield InfoMetricFamily("tidemark_build", "What runs here.", value=about)


FAMILIES: tuple[Callable[[Transaction, Facts], Iterator[Metric]], ...] = (
    _counters,
    _queue,
    _latency,
    _trouble,
    _schedules,
    _plans,
    _breakers,
    _lease,
    _build,
)
