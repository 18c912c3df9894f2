"""Releases: which code was at work lately, so that nothing is taken away that some of it still uses."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common import settings
from common.db import Transaction


class Serving(NamedTuple):
    """Code that was heard of lately."""

    deployment: str
    release: str
    schema_version: int  # the newest migration that it knows
    last_seen_at: datetime
    age: float  # seconds since then
    counts_for: float  # seconds for which it counts as serving

    def __str__(self) -> str:
        """For people."""
        return (
            f"release {self.release} of the deployment '{self.deployment}' (it knows migrations up to {self.schema_version},"
            f" was heard of {self.age:.0f} s ago, and counts as serving for {self.counts_for:.0f} s)"
        )


def holder() -> str:
    """Who this code is, as deployment/release: what it holds bears this name."""
    current = settings.load()
    return f"{current.deployment}/{current.running_release}"


def tell(tx: Transaction, schema_version: int) -> None:
    """Say that this code is at work, and which is the newest migration that it knows."""
    current = settings.load()
    tx.run("releases.tell", deployment=current.deployment, release=current.running_release, schema_version=schema_version)


def hold_still(tx: Transaction) -> None:
    """Keep everybody from saying so until the transaction ends: what is read of it here stays true."""
    tx.run("releases.hold_still")


def heard(tx: Transaction) -> list[Serving]:
    """Every code that was heard of lately, the last heard of first."""
    return tx.all(Serving, "releases.serving")


def serving(tx: Transaction) -> list[str]:
    """The releases that serve, each once, as deployment/release."""
    return sorted({f"{each.deployment}/{each.release}" for each in heard(tx)})
