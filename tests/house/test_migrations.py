"""Migrations are linted twice: by squawk, and by our own rules for what it cannot know. Planted faults show that both see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.rules.migration_lint import faults
from common.stores import migrations
from tests.house.tree import ROOT

SQUAWK = Path(sys.executable).with_name("squawk")
LANDED = 19  # before there was a linter
FILES = sorted((ROOT / "sql" / "migrations").glob("*.sql"))
PLANTED = {
    "alter table tidemark.plans drop column name;": "ban-drop-column",
    "drop table tidemark.plans;": "ban-drop-table",
    "alter table tidemark.plans rename column name to title;": "renaming-column",
    "alter table tidemark.plans rename to jobs;": "renaming-table",
    "alter table tidemark.plans alter column name type varchar(9);": "changing-column-type",
    "alter table tidemark.plans alter column hash set not null;": "adding-not-nullable-field",
    "alter table tidemark.plans add column colour text not null;": "adding-required-field",
    "alter table tidemark.plans add column seen timestamptz default clock_timestamp();": "adding-field-with-default",
    "create index if not exists slow on erp.products (name);": "require-concurrent-index-creation",
    "alter table tidemark.lanes add constraint owned foreign key (plan) references tidemark.plans;": "adding-foreign-key-constraint",
    "alter table tidemark.lanes add constraint odd check (no > 0);": "constraint-missing-not-valid",
    "alter table tidemark.plans add constraint one unique (name);": "disallowed-unique-constraint",
    "create table tidemark.more (at timestamp);": "prefer-timestamp-tz",
    "truncate tidemark.plans cascade;": "ban-truncate-cascade",
}
OURS = {
    "alter table tidemark.plans drop column name;": "contract",
    "alter table tidemark.plans drop name;": "contract",
    "alter table if exists only tidemark.plans add colour text, drop column if exists name cascade;": "contract",
    "drop table if exists tidemark.plans;": "contract",
    "drop view tidemark.permits;": "contract",
    "drop function tidemark.total(text);": "contract",
    "alter table tidemark.plans rename column name to title;": "contract",
    "alter table tidemark.plans rename name to title;": "contract",
    "alter table tidemark.plans rename to jobs;": "contract",
    "alter type public.tds_event_status rename value 'retry' to 'again';": "contract",
    "alter table tidemark.plans set schema public;": "contract",
    "alter table tidemark.plans alter column name type varchar(9);": "contract",
    "alter table tidemark.plans alter name set data type varchar(9);": "contract",
    'alter table tidemark."odd;plans" alter "na""me" type text;': "contract",
    "alter table tidemark.plans alter hash set not null;": "contract",
    "alter table tidemark.plans alter column priority drop default;": "contract",
    "alter table tidemark.plans add column price numeric(10, 2) not null;": "contract",
    "ALTER TABLE tidemark.plans\n    /* or so */ DROP\n    COLUMN name;": "contract",
    "truncate tidemark.plans;": "contract",
    "revoke select on tidemark.plans from tidemark_worker;": "contract",
    "create index concurrently if not exists one on tidemark.plans (name);": "no-transaction",
    "commit;": "border",
    "create function one() returns integer begin atomic select 1; end;": "atomic",
}
FINE = (
    "alter table tidemark.plans add column if not exists colour text not null default 'blue, or drop column';",
    "alter table tidemark.plans add column if not exists price numeric(10, 2) default 0 not null;",
    "alter table tidemark.plans add column no bigint generated always as identity not null;",
    "alter table tidemark.plans add constraint named check (name is not null) not valid;",
    "alter table tidemark.plans drop constraint priority_is_between_1_and_10;",
    "alter table tidemark.plans alter column hash drop not null;",
    "alter table tidemark.plans alter column priority set default 6;",
    "create or replace function one() returns text language plpgsql as $$ begin drop table a; commit; return ''; end $$;",
    "drop trigger if exists one on tidemark.plans; drop index if exists tidemark.two;",
    "-- alter table tidemark.plans drop column name;\nselect 'drop table a;';",
    "revoke all on function tidemark.total(text) from public;",
)


def squawked(*paths: Path) -> str:
    """What squawk has to say of migrations."""
    command = [SQUAWK, "--config", ROOT / ".squawk.toml", "--reporter", "gcc", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def planted(folder: Path, statement: str, number: int = 99) -> Path:
    """A migration of this number with this statement."""
    path = folder / "sql" / "migrations" / f"{number:04}_planted.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"-- planted\n{statement}\n")
    return path


def test_squawk_finds_nothing_in_what_came_since_there_is_a_linter():
    assert squawked(*FILES) == ""


@pytest.mark.parametrize("statement", PLANTED)
def test_squawk_finds_what_is_planted_in_a_new_migration(statement, tmp_path):
    assert f": {PLANTED[statement]} " in squawked(planted(tmp_path, statement))


def test_what_landed_before_there_was_a_linter_is_let_be_and_nothing_else(tmp_path):
    paths = [planted(tmp_path, next(iter(PLANTED)), number) for number in range(1, 101)]
    said = squawked(*paths)
    assert [number for number, path in enumerate(paths, start=1) if str(path) in said] == [*range(LANDED + 1, 101)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_migration_keeps_our_own_rules(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("statement", OURS)
def test_what_is_planted_against_our_own_rules_is_found(statement):
    found = faults(f"-- planted\n\n{statement}")[0]
    assert (found.rule, found.line) == (OURS[statement], 3)


@pytest.mark.parametrize("statement", FINE)
def test_what_takes_nothing_away_is_let_through(statement):
    assert faults(f"-- fine\n{statement}") == []


@pytest.mark.parametrize("statement", [statement for statement, rule in OURS.items() if rule == "contract"])
def test_a_migration_that_says_that_it_contracts_may(statement):
    assert faults(f"-- contract: nobody uses it any more\n{statement}") == []


def test_a_migration_that_does_not_say_what_it_is_for_is_found():
    assert [fault.rule for fault in faults("select 1;")] == ["first-line"]


def test_what_runs_outside_a_transaction_says_so_and_may_contract_as_well():
    text = "drop index concurrently if exists tidemark.one;\nalter table tidemark.plans drop column name;"
    assert faults(f"-- contract, no transaction: both\n{text}") == []


def test_the_linters_look_at_the_files_that_are_run():
    assert [path.stem for path in FILES] == [migration.name for migration in migrations.migrations(migrations.SQL / "migrations")]
