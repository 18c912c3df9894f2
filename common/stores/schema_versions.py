"""The ledger of migrations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from common import encoding
from common.db import Transaction, queries
from common.stores import locks


class Name(NamedTuple):
    """What a migration is called."""

    name: str


class Backfill(NamedTuple):
    """The plan that fills in what a migration has added."""

    name: str
    status: str


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


def limit_running(tx: Transaction, longest: timedelta) -> None:
    """No statement takes longer than this from here on, until the transaction ends."""
    tx.run("schema_versions.limit_running", milliseconds=str(max(1, int(longest.total_seconds() * 1000))))


def applied(tx: Transaction) -> list[Version]:
    """What has run, oldest first."""
    return tx.all(Version, "schema_versions.applied")


def record(tx: Transaction, version: Version, *, is_contract: bool = False) -> None:
    """Say that a migration has run, and whether it took away what older code uses."""
    tx.run("schema_versions.record", version=version.version, name=version.name, checksum=version.checksum)
    if is_contract:
        tx.run("schema_versions.mark_contract", version=version.version)


def newest(tx: Transaction) -> int | None:
    """The version the database is at; None before the first."""
    found = tx.value("schema_versions.newest")
    return None if found is None else int(found)


def contracted_since(tx: Transaction, version: int) -> list[str]:
    """The names of the migrations after `version` that took away what code of that version uses, oldest first."""
    return [row.name for row in tx.all(Name, "schema_versions.contracted_since", version=version)]


def active_plans(tx: Transaction, besides: Sequence[str]) -> list[str]:
    """The plans that run, by name and id, but for those that are at a stage of these kinds now."""
    return list(tx.value("schema_versions.active_plans", besides=encoding.rows(list(besides))))


def backfills(tx: Transaction) -> dict[str, str]:
    """How the plans stand that fill in what a migration has added, by the name of the migration."""
    return {each.name: each.status for each in tx.all(Backfill, "schema_versions.backfills")}


def broken_indexes(tx: Transaction) -> list[str]:
    """Indexes that were built concurrently, and came to no end."""
    return [row.name for row in tx.all(Name, "schema_versions.broken_indexes")]
