"""Progress samples: how far running plans were, about once a minute."""

from __future__ import annotations

from common.db import Transaction
from common.rules.progress_forecast import Sample

KEPT = 60  # that a forecast is made from


def record(tx: Transaction) -> int:
    """Write down how far each running plan is, at most about once a minute; of how many that was done."""
    return tx.run("progress_samples.record")


def of_plan(tx: Transaction, plan: str) -> list[Sample]:
    """How far a plan was, oldest first."""
    return tx.all(Sample, "progress_samples.of_plan", plan=plan, limit=KEPT)
