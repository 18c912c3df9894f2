"""Pacing: what the turns of workers teach. How large a chunk may be, what to tell of it, and how many lanes a kind may have.

Written once a turn, and only of turns that took long enough to say anything: nothing here costs a chunk a statement.
"""

from __future__ import annotations

from common import db, log, settings
from common.db import Transaction
from common.rules import aimd, autotune
from common.rules.autotune import Signal, Window
from common.stores import concurrency, notices, plans
from common.stores.plans import Work


def learned(plan: str, no: int, work_: Work, window: Window, *, size: int, was_split: int) -> None:
    """Write down what a turn at stage `no` has shown, which ended with chunks of `size` and put `was_split` shards aside."""
    if work_.is_open_ended or not (size != work_.chunk or window.is_telling or was_split):
        return
    current = settings.load()
    found = autotune.signals(
        window, chunk=work_.chunk, longest=current.hxo_autosplit_p95_ms, shard_timeout=work_.shard_timeout, was_split=was_split
    )

    def write(tx: Transaction) -> None:
        plans.learn(tx, plan, no, size, window.fresh)
        for signal in found:
            tell(tx, plan, work_.id, signal, mark=f"{no}:{work_.chunk}")
        if window.is_telling and current.hxo_alir_enabled:
            adapt(tx, work_.kind, window.seconds / window.shards, ceiling=current.hxo_max_concurrency)

    db.replayed(write, "worker")


def tell(tx: Transaction, plan: str, stage: str, signal: Signal, *, mark: str) -> None:
    """Tell hxo.autotune.signal, once for each `mark` of a plan."""
    notices.add(
        tx,
        "hxo.autotune.signal",
        {
            "plan_id": plan,
            "stage_id": stage,
            "signal_type": signal.type,
            "metric_value": round(signal.value, 3),
            "suggested_action": signal.action,
        },
        source="engine",
        kind="metric",
        dedupe_key=f"autotune:{plan}:{mark}:{signal.type}",
        correlation_id=plan,
    )


def adapt(tx: Transaction, kind: str, seconds: float, *, ceiling: int) -> None:
    """Let a kind have more lanes or fewer, as its shards took `seconds` each in a turn that has just ended."""
    state = concurrency.lock(tx, kind)
    out = concurrency.out(tx, kind)
    after = aimd.after(state, seconds, used=out.used, ceiling=ceiling, now=out.now)
    concurrency.keep(tx, kind, after)
    if state is not None and after.most != state.most:
        log.info("concurrency.changed", kind=kind, most=after.most, was=state.most, latency=after.latency_seconds)
