"""Migrations: each once, whoever tries and however often; on databases of their own, as owners who are no superusers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import db
from common.errors import Conflict, Unavailable
from common.flows import migrate, process
from deploy.local.postgres import Cluster
from tests.conftest import _execute
from tests.functions.shells import ROOT
from tests.make import an_item, send

FIRST = "create table if not exists public.firsts (id integer primary key);"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server where nobody has migrated yet: roles belong to the server, not to the database."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-test-"))
    directory.chmod(0o711)
    with Cluster(directory / "pg", durable=False) as started:
        _execute(started.url(), "create role migrator login createrole")
        yield started
    shutil.rmtree(directory)


@pytest.fixture
def empty(configured: Callable[..., None], cluster: Cluster) -> Iterator[str]:
    """The URL of an empty database of an owner who may make roles and is no superuser."""
    _execute(cluster.url(), "create database empty owner migrator")
    configured(DATABASE_URL=cluster.url("empty", "migrator"))
    yield cluster.url("empty", "migrator")
    db.pool().discard()
    _execute(cluster.url(), "drop database empty with (force)")
    _execute(cluster.url(), f"drop role if exists {', '.join(f'tidemark_{role}' for role in db.ROLES)}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    return tmp_path


def run(folder: Path) -> list[str]:
    return migrate.run(folder, seeds=folder / "none")


def test_an_owner_who_is_no_superuser_can_migrate_an_empty_database_and_again_changes_nothing(empty):
    first, second = migrate.run(), migrate.run()
    assert (len(first), second) == (len(migrate.migrations()), [])
    assert _execute(empty, "select rolsuper from pg_roles where rolname = current_user") == [[False]]
    assert _execute(empty, "select count(*) from tds_configuration") == [[11]]


def test_the_functions_work_on_a_database_whose_owner_is_no_superuser(empty):
    migrate.run()
    send("products", an_item())
    assert process.process().outcomes == {"applied": 1}


def test_the_contract_of_the_seeds_holds(sql):
    tables = "select count(*) from information_schema.tables where table_schema = 'public' and table_name like 'tds\\_%'"
    types = (
        "select count(*) from pg_type t join pg_namespace n on n.oid = t.typnamespace where nspname = 'public' and typtype = 'e'"
    )
    functions = "select count(*) from pg_proc where proname like 'tds\\_%' and pronamespace = 'public'::regnamespace"
    assert [sql(each) for each in (tables, types, functions, "select count(*) from pg_extension")] == [[[14]], [[5]], [[6]], [[1]]]


def test_two_that_start_at_once_run_each_migration_once(empty):
    together = threading.Barrier(2)

    def start(_: int) -> list[str]:
        together.wait()
        return migrate.run()

    with ThreadPoolExecutor(2) as threads:
        ran = list(threads.map(start, range(2)))
    names = [migration.name for migration in migrate.migrations()]
    assert sorted(name for one in ran for name in one) == names
    assert _execute(empty, "select name from tds_schema_versions order by version") == [[name] for name in names]


@pytest.mark.process
def test_two_processes_that_start_at_once_both_succeed(empty):
    command = [sys.executable, "-c", "from common.flows import migrate; migrate.run()"]
    environment = {**os.environ, "DATABASE_URL": empty}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert _execute(empty, "select count(*) from tds_schema_versions") == [[len(migrate.migrations())]]


def test_an_edited_migration_is_refused_and_nothing_after_it_runs(empty, folder):
    run(folder)
    (folder / "0001_first.sql").write_text(FIRST + " -- improved")
    (folder / "0002_second.sql").write_text("create table public.seconds (id integer);")
    with pytest.raises(Conflict, match="0001_first was edited"):
        run(folder)
    assert _execute(empty, "select to_regclass('public.seconds')") == [[None]]


def test_a_database_that_is_newer_than_the_code_is_left_alone(empty, folder):
    (folder / "0002_second.sql").write_text("select 1;")
    run(folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(Conflict, match="deploy newer code"):
        run(folder)


@pytest.mark.parametrize("name", ["0003_gap.sql", "0001_again.sql"])
def test_a_number_is_neither_left_out_nor_used_twice(name, folder):
    (folder / name).write_text("select 1;")
    with pytest.raises(Conflict, match="should have number 000"):
        migrate.migrations(folder)


def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(empty, folder):
    (folder / "0002_second.sql").write_text("create table public.seconds (id integer); select 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        run(folder)
    assert _execute(empty, "select to_regclass('public.firsts')::text, to_regclass('public.seconds')::text") == [["firsts", None]]
    assert _execute(empty, "select name from tds_schema_versions") == [["0001_first"]]


def test_a_migration_may_run_outside_a_transaction_and_is_recorded_all_the_same(empty, folder):
    (folder / "0002_index.sql").write_text(
        "-- no transaction\ncreate index concurrently if not exists one on public.firsts (id);\n"
        "create index concurrently if not exists two on public.firsts (id);\n"
    )
    assert run(folder) == ["0001_first", "0002_index"]
    assert _execute(empty, "select count(*) from pg_indexes where indexname in ('one', 'two')") == [[2]]
    assert run(folder) == []


@pytest.fixture
def held(empty: str, folder: Path) -> Iterator[db.Connection]:
    """A connection that holds the table which the second migration wants."""
    run(folder)
    (folder / "0002_second.sql").write_text("alter table public.firsts add column if not exists name text;")
    connection = db.Connection(db.Address(empty))
    connection.begin("begin; lock table public.firsts", 30)
    yield connection
    connection.close()


def test_a_lock_that_is_not_given_is_asked_for_again(held, folder, monkeypatch, capsys):
    monkeypatch.setattr(migrate, "LOCK", migrate.timedelta(milliseconds=200))
    wanted = migrate.migrations(folder)
    attempts = iter(migrate._once(wanted[1], wanted))
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(list, attempts)
        while "migration.retried" not in capsys.readouterr().out:
            assert not ran.done()
        held.script("rollback")
        assert ran.result(30) == ["0002_second"]


def test_a_lock_that_is_never_given_ends_the_run_after_five_tries(held, folder, monkeypatch, capsys):
    monkeypatch.setattr(migrate, "LOCK", migrate.timedelta(milliseconds=20))
    with pytest.raises(Unavailable):
        run(folder)
    assert capsys.readouterr().out.count("migration.retried") == migrate.TRIES - 1
