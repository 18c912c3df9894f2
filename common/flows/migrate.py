"""Bring a database to the schema of this code: each migration once, in order, whoever else is trying."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from common import db, log
from common.errors import Conflict, Unavailable
from common.flows import lease
from common.flows.lease import Held
from common.stores import schema_versions
from common.stores.schema_versions import Version

SQL = Path(__file__).parent.parent.parent / "sql"
STATEMENT = timedelta(minutes=5)
LOCK = timedelta(seconds=2)
TRIES = 5


class Migration(NamedTuple):
    """One file of sql/migrations."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What the ledger holds it against: an edited migration is refused."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_transactional(self) -> bool:
        """Whether it may run inside a transaction, as all do whose first line does not say otherwise."""
        return not self.text.startswith("-- no transaction")


def migrations(folder: Path = SQL / "migrations") -> list[Migration]:
    """Every migration file, in order.

    Raises: Conflict, when a number is used twice or left out.
    """
    found = [Migration(int(path.name.partition("_")[0]), path.stem, path.read_text()) for path in sorted(folder.glob("[0-9]*.sql"))]
    for position, migration in enumerate(found, start=1):
        if migration.version != position:
            message = f"Migration {migration.name} should have number {position:04}."
            raise Conflict(message)
    return found


@functools.cache
def wanted_version() -> int:
    """The schema version that this code needs."""
    return migrations()[-1].version


def run(folder: Path = SQL / "migrations", seeds: Path = SQL / "seeds") -> list[str]:
    """Run what has not run, then the seeds; the names of the migrations that ran now.

    Raises: Conflict, when a migration that has run was edited since or is not known here; Unavailable, when a lock
    was not given within five tries; Passive, while another deployment is migrating, LeaseLost, when one has meanwhile.
    """
    wanted = migrations(folder)
    with db.transaction(timeout=STATEMENT, lock=STATEMENT) as tx:
        schema_versions.lock(tx)
        held = lease.hold_to_migrate(tx)
    ran = [name for migration in wanted for name in _once(migration, wanted, held)]
    with db.transaction(timeout=STATEMENT) as tx:
        schema_versions.lock(tx)
        held = held and lease.hold_to_migrate(tx, held)
        for path in sorted(seeds.glob("*.sql")):
            tx.script(path.read_text())
        if held is not None:
            lease.end_migrating(tx, held)
    return ran


def _once(migration: Migration, wanted: list[Migration], held: Held | None = None) -> Iterator[str]:
    for attempt in range(1, TRIES + 1):
        try:
            if _run(migration, wanted, held):
                log.info("migration.applied", version=migration.version, name=migration.name)
                yield migration.name
        except Unavailable as error:
            # Somebody holds a table that it needs. Waiting in the lock queue would stop everybody behind us, so
            # give up soon and come back.
            if attempt == TRIES or error.fields.get("sqlstate") != "55P03":
                raise
            log.warning("migration.retried", version=migration.version, attempt=attempt)
        else:
            return


def _run(migration: Migration, wanted: list[Migration], held: Held | None) -> bool:
    with db.transaction(timeout=STATEMENT, lock=STATEMENT) as tx:
        schema_versions.lock(tx)
        if held is not None:  # before the first migrations there is no lease: then the lock has to do
            lease.hold_to_migrate(tx, held)
        schema_versions.limit_waiting(tx, LOCK)
        schema_versions.create(tx)
        applied = schema_versions.applied(tx)
        _refuse_differences(applied, wanted)
        if migration.version in {version.version for version in applied}:
            return False
        if migration.is_transactional:
            tx.script(migration.text)
        else:
            # A simple statement closes the last query's portal and with it our snapshot, which CONCURRENTLY would wait for.
            tx.script("select")
            db.outside(migration.text, STATEMENT)
        schema_versions.record(tx, Version(migration.version, migration.name, migration.checksum))
        return True


def _refuse_differences(applied: list[Version], wanted: list[Migration]) -> None:
    known = {migration.version: migration for migration in wanted}
    for version in applied:
        migration = known.get(version.version)
        if migration is None:
            message = f"The database has migration {version.name}, which this code does not know: deploy newer code."
            raise Conflict(message)
        if migration.checksum != version.checksum:
            message = f"Migration {version.name} was edited after it ran: put it back and write a new one."
            raise Conflict(message)
