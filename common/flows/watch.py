"""Watch: look at every condition, and open, update and close its alert: one open alert for each condition and entity at most.

Any number may watch at once and as often as they like: a minute counts once, and the writes are one watcher's at a time. A
look that fails leaves its alerts as they are, as what is not known is not well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from common import db, log
from common.db import Transaction
from common.errors import AppError
from common.flows import watch_forecast, watch_queue, watch_sync
from common.rules.hysteresis import Move, Policy, Reading, State, is_forgotten, step
from common.stores import alerts, configuration, schedules
from common.stores.alerts import Key

Look = Callable[[Transaction, Mapping[str, Any]], Iterable[Reading]]

# What is looked at, and which types of alert each look decides on.
LOOKS: dict[Look, tuple[str, ...]] = {
    watch_queue.queue: watch_queue.QUEUE,
    watch_queue.system: watch_queue.SYSTEM,
    watch_sync.late: watch_sync.LATE,
    watch_sync.planned: watch_sync.PLANNED,
    watch_forecast.backlog: watch_forecast.BACKLOG,
    watch_forecast.hours: watch_forecast.HOURS,
}


def watch() -> int:
    """How many alerts were opened, or opened again.

    Raises: what the first look that failed did, after all the others have had their turn.
    """
    with db.transaction("worker") as tx:
        values = configuration.all_values(tx)
    readings: list[Reading] = []
    types: set[str] = set()
    failures: list[AppError] = []
    for look, decided in LOOKS.items():
        try:
            with db.transaction("worker") as tx:
                seen = list(look(tx, values))
        except AppError as error:
            log.error("watch.look_failed", look=look.__name__, error=error.detail)
            failures.append(error)
        else:
            readings += seen
            types.update(decided)
    opened = _acted(readings, types, values)
    if failures:
        raise failures[0]
    return opened


def policy(values: Mapping[str, Any]) -> Policy:
    """How alerts close, as the settings say."""
    return Policy(
        calm=float(values["alerts.calm_share"]),
        close_after=values["alerts.close_after"],
        gap=timedelta(minutes=float(values["alerts.gap_minutes"])),
        reopen=timedelta(minutes=float(values["alerts.reopen_minutes"])),
    )


def _acted(readings: Iterable[Reading], types: set[str], values: Mapping[str, Any]) -> int:
    found: dict[Key, Reading] = {reading.key: reading for reading in readings}
    rules = policy(values)
    with db.transaction("worker") as tx:
        if not alerts.try_watch(tx):
            return 0
        now = schedules.now(tx)
        before = alerts.conditions(tx, types)
        states: dict[Key, State] = {}
        moves: dict[Move, list[Key]] = {move: [] for move in Move}
        for key in sorted({*before, *found}, key=str):
            states[key], move = step(before.get(key, State()), found.get(key), now, rules)
            moves[move].append(key)
        _remember(tx, before, {key: state for key, state in states.items() if not is_forgotten(state, now, rules)})
        _tell(tx, found, moves)
    opened = moves[Move.OPEN] + moves[Move.REOPEN]
    for key in opened:
        log.warning("alert.opened", alert_type=key[0], entity=key[1], value=found[key].value, threshold=found[key].threshold)
    for key in moves[Move.CLOSE]:
        log.info("alert.closed", alert_type=key[0], entity=key[1])
    return len(opened)


def _remember(tx: Transaction, before: Mapping[Key, State], states: Mapping[Key, State]) -> None:
    if changed := {key: state for key, state in states.items() if state != before.get(key)}:
        alerts.remember(tx, changed)
    if gone := before.keys() - states.keys():
        alerts.forget(tx, gone)


def _tell(tx: Transaction, found: Mapping[Key, Reading], moves: Mapping[Move, list[Key]]) -> None:
    if moves[Move.REOPEN]:
        alerts.reopen(tx, moves[Move.REOPEN])
    told = [found[key] for move in (Move.OPEN, Move.REOPEN, Move.KEEP) for key in moves[move] if key in found]
    if told:
        alerts.tell(tx, told)
    if moves[Move.CLOSE]:
        alerts.close(tx, moves[Move.CLOSE])
    alerts.settle(tx)
