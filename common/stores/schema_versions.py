"""The ledger of migrations."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from common.db import Transaction, queries
from common.stores import locks


class Version(NamedTuple):
    """A migration that has run."""

    version: int
    name: str
    checksum: str


def create(tx: Transaction) -> None:
    """Make the ledger, unless it is there."""
    tx.script(queries()["schema_versions.create"])


def lock(tx: Transaction) -> None:
    """Be the only migrator until the transaction ends."""
    locks.wait(tx, "migrate")


def limit_waiting(tx: Transaction, longest: timedelta) -> None:
    """Wait no longer than this for any lock from here on, until the transaction ends."""
    tx.run("schema_versions.limit_waiting", milliseconds=str(int(longest.total_seconds() * 1000)))


def applied(tx: Transaction) -> list[Version]:
    """What has run, oldest first."""
    return tx.all(Version, "schema_versions.applied")


def record(tx: Transaction, version: Version) -> None:
    """Say that a migration has run."""
    tx.run("schema_versions.record", version=version.version, name=version.name, checksum=version.checksum)


def newest(tx: Transaction) -> int | None:
    """The version the database is at; None before the first."""
    found = tx.value("schema_versions.newest")
    return None if found is None else int(found)
