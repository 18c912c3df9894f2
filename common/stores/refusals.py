"""Refusals: who showed a token that did not count, for what, and why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction

KEPT = timedelta(days=30)
MOST = 1000  # in an hour: whoever floods us with bad tokens does not fill the disk
CHARACTERS = 200


class Refusal(NamedTuple):
    """One refusal."""

    at: datetime
    who: str
    what: str
    why: str
    claimed: dict[str, Any]


def add(tx: Transaction, *, who: str, what: str, why: str, claimed: Mapping[str, Any]) -> bool:
    """Remember a refusal; False when there were too many within the hour."""
    said = {str(name): str(value)[:CHARACTERS] for name, value in claimed.items()}
    return bool(
        tx.run(
            "refusals.add",
            who=who[:CHARACTERS],
            what=what[:CHARACTERS],
            why=why,
            claimed=encoding.dumps(said),
            kept=KEPT,
            most=MOST,
        )
    )


def listed(tx: Transaction, limit: int) -> list[Refusal]:
    """The newest refusals."""
    return tx.all(Refusal, "refusals.listed", limit=limit)
