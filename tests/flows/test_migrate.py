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
from datetime import timedelta
from pathlib import Path

import pytest

from common import db
from common.errors import Conflict, Unavailable
from common.flows import migrate, process
from common.stores import migrations
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


@pytest.fixture
def hurried(monkeypatch):
    """Waits that a test can bear."""
    monkeypatch.setattr(migrations, "LOCK", timedelta(milliseconds=50))
    monkeypatch.setattr(migrations, "LONGEST", timedelta(milliseconds=50))


def test_a_lock_that_is_not_given_is_asked_for_again(held, folder, hurried, capsys):
    wanted = migrate.migrations(folder)
    attempts = iter(migrations._once(wanted[1], wanted))
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(list, attempts)
        while "migration.retried" not in capsys.readouterr().out:
            assert not ran.done()
        held.script("rollback")
        assert ran.result(30) == ["0002_second"]


def test_a_lock_that_is_never_given_ends_the_run_after_ten_tries(held, folder, hurried, capsys):
    with pytest.raises(Unavailable):
        run(folder)
    assert capsys.readouterr().out.count("migration.retried") == migrations.TRIES - 1


def test_a_migration_has_its_time_for_all_of_its_statements_together(empty, folder, configured):
    configured(DATABASE_URL=empty, HXO_MIGRATION_TIMEOUT="1")
    run(folder)
    short = "select pg_sleep(0.6);"  # each of them is within the limit
    (folder / "0002_second.sql").write_text(f"-- slow\ncreate table public.seconds (id integer);\n{short}\n{short}")
    with pytest.raises(Unavailable, match=r"0002_second takes longer than 1 s, .* HXO_MIGRATION_TIMEOUT"):
        run(folder)
    assert _execute(empty, "select to_regclass('public.seconds')") == [[None]]
    configured(DATABASE_URL=empty, HXO_MIGRATION_TIMEOUT="30")
    assert run(folder) == ["0002_second"]


def test_what_runs_outside_a_transaction_is_bounded_as_well(empty, folder, configured):
    configured(DATABASE_URL=empty, HXO_MIGRATION_TIMEOUT="1")
    (folder / "0002_second.sql").write_text("-- no transaction\nselect pg_sleep(3);")
    with pytest.raises(Unavailable, match="HXO_MIGRATION_TIMEOUT"):
        run(folder)


def test_an_index_that_was_left_half_built_is_not_taken_for_one(empty, folder):
    run(folder)
    _execute(empty, "insert into public.firsts values (1), (2)")
    (folder / "0002_index.sql").write_text(
        "-- no transaction\ncreate unique index concurrently if not exists halves on public.firsts ((id / 10));\n"
    )
    with pytest.raises(Conflict):  # two rows are one to the index
        run(folder)
    with pytest.raises(Conflict, match=r"halves was left half built .* drop it"):
        run(folder)
    assert _execute(empty, "select name from tds_schema_versions") == [["0001_first"]]
    _execute(empty, "drop index public.halves; delete from public.firsts where id = 1")
    assert run(folder) == ["0002_index"]


def test_bodies_texts_and_comments_may_hold_semicolons(empty, folder):
    (folder / "0002_second.sql").write_text("""-- everything; at once
        create table public.seconds (said text default 'a;b'';c', "odd;name" text); /* one; /* two; */ three; */
        create function public.told() returns text language plpgsql as $body$ begin return $$x;y$$; end $body$;
        insert into public.seconds ("odd;name") values (E'it\\'s; all') -- the last; it has no semicolon
    """)
    assert run(folder) == ["0001_first", "0002_second"]
    assert _execute(empty, 'select said, "odd;name", public.told() from public.seconds') == [["a;b';c", "it's; all", "x;y"]]
