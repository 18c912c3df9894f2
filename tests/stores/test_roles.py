"""Least privilege: every verb on every table, column by column, and every function, tried as each role.

What each may do is in grants.txt; a new table or a new grant changes that file, where a reviewer sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import db, encoding
from common.db import ROLES
from common.errors import Broken

Sql = Callable[..., list[list[Any]]]
GRID = Path(__file__).with_name("grants.txt")
RELATIONS = """
    select format('%I.%I', n.nspname, c.relname), array_agg(quote_ident(a.attname) order by a.attnum)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where n.nspname in ('public', 'tidemark', 'erp') and c.relkind in ('r', 'v', 'm', 'p', 'f')
     group by c.oid, n.nspname, c.relname
"""
OTHERS = """
    select o.name, o.may
      from unnest(:roles::text[]) with ordinality as roles (role, position)
      join pg_namespace n on n.nspname in ('public', 'tidemark', 'erp')
     cross join lateral (
           select format('%I.%I(%s)', n.nspname, p.proname,
                  (select string_agg(a.name, ', ' order by a.no) from unnest(p.proargnames) with ordinality a (name, no) where a.no <= p.pronargs)),
                  has_function_privilege(role, p.oid, 'execute')
             from pg_proc p where p.pronamespace = n.oid
           union all
           select format('%I.%I', n.nspname, s.relname), has_sequence_privilege(role, s.oid, 'usage, select, update')
             from pg_class s where s.relnamespace = n.oid and s.relkind = 'S'
           ) as o (name, may)
     order by roles.position
"""
# Do it, as the role, and undo it; what fails only for its values might have succeeded with others.
ATTEMPT = """
    create function pg_temp.may(p_role text, p_statement text) returns boolean language plpgsql as $$
    begin
        execute format('set local role %I', p_role);
        begin
            execute p_statement;
            raise exception 'undo' using errcode = 'TD001';
        exception
            when sqlstate 'TD001' or integrity_constraint_violation then return true;
            when others then return false;
        end;
    end $$
"""
ATTEMPTED = """
    select a.role, a.relation, a.letter, a.columns, pg_temp.may(a.role, a.statement)
      from jsonb_to_recordset(:attempts::jsonb) as a (role text, relation text, letter text, columns text, statement text)
"""


def test_each_role_may_do_what_the_grid_says_and_nothing_else(sql: Sql):
    assert grid(sql) == GRID.read_text().splitlines()


def grid(sql: Sql) -> list[str]:
    """A line per table: what each role may do with it, s(elect), i(nsert), u(pdate), d(elete), t(runcate); a capital
    letter where only some columns may be updated, listed below. Then a line per
    function and per sequence."""
    relations = dict(sql(RELATIONS))
    attempts = [
        {"role": f"tidemark_{role}", "relation": name, "letter": letter, "columns": column, "statement": statement}
        for role in ROLES
        for name, columns in relations.items()
        for letter, column, statement in [
            ("s", "", f"select {columns[0]} from {name} limit 0"),
            ("i", "", f"insert into {name} default values"),
            *(("u", column, f"update {name} set {column} = null where false") for column in columns),
            ("d", "", f"delete from {name} where false"),
            ("t", "", f"truncate {name}"),
        ]
    ]
    sql(ATTEMPT)
    allowed: dict[tuple[str, str, str], list[str]] = {}
    for role, relation, letter, column, may in sql(ATTEMPTED, attempts=encoding.dumps(attempts)):
        allowed.setdefault((role, relation, letter), [])
        if may:
            allowed[role, relation, letter].append(column)

    def letters(role: str, relation: str) -> str:
        found = ""
        for letter in "siudt":
            columns = allowed[f"tidemark_{role}", relation, letter]
            some = letter == "u" and 0 < len(columns) < len(relations[relation])
            found += (letter.upper() if some else letter) if columns else "-"
        return found

    lines = [row("", ROLES)]
    lines += [row(relation, [letters(role, relation) for role in ROLES]) for relation in sorted(relations)]
    lines += [
        f"tidemark_{role} may update of {relation} only: {', '.join(allowed[f'tidemark_{role}', relation, 'u'])}"
        for relation in sorted(relations)
        for role in ROLES
        if "U" in letters(role, relation)
    ]
    functions: dict[str, list[str]] = {}
    for name, may in sql(OTHERS, roles=[f"tidemark_{role}" for role in ROLES]):
        functions.setdefault(name, []).append("x" if may else "-")
    return lines + [row(name, marks) for name, marks in sorted(functions.items())]


def row(name: str, cells: list[str] | tuple[str, ...]) -> str:
    return f"{name:<112}{''.join(f'{cell:<10}' for cell in cells)}".rstrip()


def test_the_ingest_role_may_do_exactly_one_thing():
    header, *lines = GRID.read_text().splitlines()
    column = header.index("ingest")
    assert [line.split("(")[0] for line in lines if line[column : column + 5].strip("- ") and " only: " not in line] == [
        "tidemark.receive"
    ]


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ingest", "select raw_body from public.tds_inbox_events"),
        ("ingest", "insert into public.tds_inbox_events default values"),
        ("ingest", "select tidemark.not_stored('[]', null, null)"),
        ("worker", "update public.tds_inbox_events set raw_body = null"),
        ("worker", "delete from public.tds_inbox_events"),
        ("worker", "update public.tds_audit_trail set changed_by = 'nobody'"),
        ("worker", "truncate erp.products"),
        ("worker", "select hash from tidemark.operator_tokens"),
        ("status", "select hash from tidemark.operator_tokens"),
        ("status", "update public.tds_alerts set resolved = true"),
        ("operator", "delete from public.tds_dead_letter_queue"),
        ("operator", "update public.tds_sync_queue set attempt_count = 0"),
        ("migrate", "select * from erp.customers"),
    ],
)
def test_what_would_do_harm_is_refused_by_the_database_itself(role, statement, database_url):
    with pytest.raises(Broken) as refusal, db.transaction(role) as tx:
        tx.script(statement)
    assert refusal.value.fields["sqlstate"] == "42501"


def test_a_table_that_a_new_entity_brings_is_open_to_those_who_work_with_it(sql: Sql):
    sql("create table erp.unicorns (id text)")
    assert [line.split()[1:] for line in grid(sql) if line.startswith("erp.unicorns ")] == [
        ["-----", "siud-", "s----", "s----", "-----"]
    ]


def test_the_audit_trail_can_be_changed_by_nobody_not_even_its_owner(sql: Sql):
    for statement in ("update tds_audit_trail set changed_by = ''", "delete from tds_audit_trail", "truncate tds_audit_trail"):
        with pytest.raises(Exception, match="append-only"):
            sql(statement)
