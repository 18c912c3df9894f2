"""How far a plan is, from its lanes: sums, never counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

FORECAST_SHARE = 0.001  # of the shards: less says nothing about the rest


@dataclass(frozen=True)
class Stage:
    """What is known of one stage."""

    total: int | None  # None: not known yet
    released: int  # shards that are cut into lanes
    left: int | None  # of those, not reported; None: it is not open yet
    running: int
    retry: int
    dead: int
    opened_at: datetime | None
    finished_at: datetime | None
    split: int = 0  # of `retry`: did not fail, but are done in pieces


@dataclass(frozen=True)
class Part:
    """How far a stage is."""

    done: int
    pending: int | None


@dataclass(frozen=True)
class Whole:
    """How far a plan is; None is what nobody can know yet."""

    total: int | None
    pending: int | None
    running: int
    done: int
    failed: int
    share: float | None
    rate: float | None  # shards a second, since the first stage opened
    eta_seconds: float | None
    stages: tuple[Part, ...]


def whole(stages: Sequence[Stage], now: datetime) -> Whole:
    """The plan that has these stages."""
    parts = tuple(_part(stage) for stage in stages)
    totals = [stage.total for stage in stages]
    total = None if None in totals else sum(count or 0 for count in totals)
    running = sum(stage.running for stage in stages)
    done = sum(part.done for part in parts)
    failed = sum(stage.retry - stage.split + stage.dead for stage in stages)
    opened = [stage.opened_at for stage in stages if stage.opened_at]
    until = max((stage.finished_at for stage in stages if stage.finished_at), default=now) if _is_over(stages) else now
    seconds = (until - min(opened)).total_seconds() if opened else 0.0
    rate = done / seconds if seconds > 0 else None
    left = None if total is None else max(0, total - done - sum(stage.dead for stage in stages))
    eta = left / rate if left is not None and rate and total and done >= max(1, FORECAST_SHARE * total) else None
    return Whole(
        total=total,
        pending=None if left is None else max(0, left - running),
        running=running,
        done=done,
        failed=failed,
        share=None if total is None else (done / total if total else 1.0),
        rate=rate,
        eta_seconds=eta,
        stages=parts,
    )


def _is_over(stages: Sequence[Stage]) -> bool:
    return all(stage.finished_at or not stage.opened_at for stage in stages)


def _part(stage: Stage) -> Part:
    if stage.left is None:
        return Part(0, stage.total)
    done = max(0, stage.released - stage.left - stage.retry - stage.dead)
    return Part(done, None if stage.total is None else max(0, stage.total - done - stage.dead))
