"""Bells: who was rung and has not yet found the work exhausted."""

from __future__ import annotations

from common.db import Transaction


def silence(tx: Transaction, function: str) -> None:
    """Nobody is at work any more: from here on, who brings work rings."""
    tx.run("bells.silence", function=function)


def is_needed(tx: Transaction) -> bool:
    """Whether there is work that is due."""
    return bool(tx.value("bells.is_needed"))
