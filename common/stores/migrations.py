"""Bring a database to the schema of this code: each migration once, in order, whoever else is trying.

A migration only adds, so that older code goes on working beside it; one that takes away (`-- contract`) runs only when that is
asked for, and no code serves any more that still uses what it takes.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from common import db, log, settings
from common.db import Transaction
from common.errors import Conflict, Unavailable
from common.rules import backoff
from common.rules.migrations import Migration, statements
from common.stores import backups, holding, leases, pauses, releases, schema_versions
from common.stores.holding import Held
from common.stores.schema_versions import Version

SQL = Path(__file__).parent.parent.parent / "sql"
FOLDER, SEEDS, BACKFILLS = SQL / "migrations", SQL / "seeds", SQL / "backfills"
# While a statement waits for its lock, everybody else waits behind it: so it gives up long before they do (db.LOCK), and
# they have their turn before it tries again.
LOCK = timedelta(milliseconds=500)
TRIES = 10
BASE, LONGEST = timedelta(milliseconds=250), timedelta(seconds=5)


class Pending(NamedTuple):
    """What has not run, by name, in order."""

    expand: list[str]
    contract: list[str]


def migrations(folder: Path | None = None) -> list[Migration]:
    """Every migration file, in order.

    Raises: Conflict, when a number is used twice or left out.
    """
    paths = sorted((folder or FOLDER).glob("[0-9]*.sql"))
    found = [Migration(int(path.name.partition("_")[0]), path.stem, path.read_text()) for path in paths]
    for position, migration in enumerate(found, start=1):
        if migration.version != position:
            message = f"Migration {migration.name} should have number {position:04}."
            raise Conflict(message)
    return found


@functools.cache
def wanted_version() -> int:
    """The schema version that this code needs: what only takes away, it can do without."""
    return max(migration.version for migration in migrations() if not migration.is_contract)


@functools.cache
def known_version() -> int:
    """The newest migration that this code knows: nothing up to there takes away what it uses."""
    return migrations()[-1].version


def pending(tx: Transaction, folder: Path | None = None) -> Pending:
    """What has not run."""
    ran = {version.version for version in schema_versions.applied(tx)}
    missing = [migration for migration in migrations(folder) if migration.version not in ran]
    return Pending([each.name for each in missing if not each.is_contract], [each.name for each in missing if each.is_contract])


def run_pending(*, contract: bool) -> list[str]:
    """As `run`, with what this code brings."""
    return run(contract=contract)


def run(folder: Path | None = None, seeds: Path | None = None, *, contract: bool = False) -> list[str]:
    """Run what has not run, then the seeds; the names of the migrations that ran now. What contracts only if `contract`.

    Raises: Conflict, when a migration that has run was edited since or is not known here, plans run while HXO_ZDU_ENABLED is
    false, or older code still uses what is to be taken away; Unavailable, when a lock was not given within ten tries, or a
    migration takes longer than HXO_MIGRATION_TIMEOUT; Passive, while another deployment is migrating, LeaseLost, when one has
    meanwhile.
    """
    wanted = migrations(folder)
    asked = [migration for migration in wanted if contract or not migration.is_contract]
    with _transaction() as tx:
        schema_versions.lock(tx)
        held = holding.hold_to_migrate(tx)
        schema_versions.create(tx)
        missing = _missing(tx, asked, wanted)
        _refuse_while_plans_run(tx, missing)
    ran = [name for migration in missing for name in _once(migration, wanted, held)]
    with _transaction() as tx:
        schema_versions.lock(tx)
        held = held and holding.hold_to_migrate(tx, held)
        for path in sorted((seeds or SEEDS).glob("*.sql")):
            tx.script(path.read_text())
        if held is not None:
            holding.end_migrating(tx, held)
    return ran


def refuse_contraction(tx: Transaction, migration: Migration) -> None:
    """Raises: Conflict, while code serves that is older than this migration, what it builds on is not filled in yet, or a backup
    that is asked for is missing.
    """  # fmt: skip
    older = [each for each in releases.heard(tx) if each.schema_version < migration.version]
    if older:
        message = f"Migration {migration.name} takes away what older code uses, and this serves: {'; '.join(map(str, older))}."
        raise Conflict(message, serving=[f"{each.deployment}/{each.release}" for each in older])
    begun = schema_versions.backfills(tx)
    for path in sorted(BACKFILLS.glob("*.json")):
        if path.stem < migration.name and begun.get(path.stem) != "succeeded":
            message = (
                f"Migration {migration.name} waits for the backfill {path.stem}, which is {begun.get(path.stem, 'not begun')}."
            )
            raise Conflict(message)
    backups.check(tx, migration.name)


def _transaction() -> AbstractContextManager[Transaction]:
    longest = settings.load().hxo_migration_timeout
    return db.transaction(timeout=longest, lock=longest)


def _missing(tx: Transaction, asked: list[Migration], wanted: list[Migration]) -> list[Migration]:
    """Those that have not run: the others need no transaction of their own."""
    applied = schema_versions.applied(tx)
    _refuse_differences(applied, wanted)
    ran = {version.version for version in applied}
    return [migration for migration in asked if migration.version not in ran]


def _refuse_while_plans_run(tx: Transaction, missing: list[Migration]) -> None:
    if settings.load().hxo_zdu_enabled or not leases.is_there(tx) or not missing:
        return
    if active := schema_versions.active_plans(tx, pauses.MIGRATING):
        message = f"HXO_ZDU_ENABLED is false, and plans are running: {', '.join(active)}. Wait for them, or pause or stop them."
        raise Conflict(message, plans=active)


def _once(migration: Migration, wanted: list[Migration], held: Held | None = None) -> Iterator[str]:
    for attempt in range(1, TRIES + 1):
        try:
            if _run(migration, wanted, held):
                log.info("migration.applied", version=migration.version, name=migration.name)
                yield migration.name
        except Unavailable as error:
            if attempt == TRIES or error.fields.get("sqlstate") != "55P03":
                raise
            log.warning("migration.retried", version=migration.version, attempt=attempt)
            wait = backoff.delay(attempt, base=BASE, longest=LONGEST, chance=random.random())  # noqa: S311
            time.sleep(wait.total_seconds())
        else:
            return


def _run(migration: Migration, wanted: list[Migration], held: Held | None) -> bool:
    with _transaction() as tx:
        schema_versions.lock(tx)
        if held is not None:  # before the first migrations there is no lease: then the lock has to do
            holding.hold_to_migrate(tx, held)
        schema_versions.limit_waiting(tx, LOCK)
        schema_versions.create(tx)
        applied = schema_versions.applied(tx)
        _refuse_differences(applied, wanted)
        if migration.version in {version.version for version in applied}:
            return False
        if migration.is_contract:
            releases.hold_still(tx)
            refuse_contraction(tx, migration)
        if migration.is_transactional:
            _run_inside(tx, migration)
        else:
            _run_outside(tx, migration)
        schema_versions.record(
            tx, Version(migration.version, migration.name, migration.checksum), is_contract=migration.is_contract
        )
        return True


def _run_inside(tx: Transaction, migration: Migration) -> None:
    """Each statement with what is left of the time of all: Postgres itself bounds only one at a time."""
    longest = settings.load().hxo_migration_timeout
    until = time.monotonic() + longest.total_seconds()
    for statement in statements(migration.text):
        left = timedelta(seconds=until - time.monotonic())
        if left < timedelta(milliseconds=1):
            raise _too_slow(migration)
        schema_versions.limit_running(tx, left)
        try:
            tx.script(statement.text)
        except Unavailable as error:
            raise _too_slow(migration) if error.fields.get("sqlstate") == "57014" else error from error
    schema_versions.limit_running(tx, longest)


def _run_outside(tx: Transaction, migration: Migration) -> None:
    # A simple statement closes the last query's portal and with it our snapshot, which CONCURRENTLY would wait for.
    tx.script("select")
    try:
        db.outside(migration.text, settings.load().hxo_migration_timeout)
    except Unavailable as error:
        raise _too_slow(migration) if error.fields.get("sqlstate") == "57014" else error from error
    if broken := schema_versions.broken_indexes(tx):
        message = f"The index {', '.join(broken)} was left half built by an earlier attempt: drop it, and migrate again."
        raise Conflict(message)


def _too_slow(migration: Migration) -> Unavailable:
    seconds = settings.load().hxo_migration_timeout.total_seconds()
    message = f"Migration {migration.name} takes longer than {seconds:.0f} s, and was undone: raise HXO_MIGRATION_TIMEOUT."
    return Unavailable(message, migration=migration.name)


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
