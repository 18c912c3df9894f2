"""What the files of common/entities declare fits together, and fits the tables of sql/migrations."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import pytest

from common import lookup
from common.rules.entity import Column, Entity, Kind

MIGRATION = (Path(__file__).parents[2] / "sql" / "migrations" / "0004_erp.sql").read_text()
FILES = lookup.names("entities")
ENTITIES: list[Entity] = [lookup.find("entities", name).ENTITY for name in FILES]
TYPES = {
    Kind.ID: 'text collate "C"',
    Kind.TEXT: "text",
    Kind.MONEY: "numeric",
    Kind.NUMBER: "numeric",
    Kind.WHOLE: "bigint",
    Kind.FLAG: "boolean",
    Kind.DAY: "date",
    Kind.INSTANT: "timestamptz",
    Kind.JSON: "jsonb",
}
KEY = [("organization_id", 'text collate "C" not null'), ("source_id", 'text collate "C" not null')]
RECORD = [
    ("source_modified_at", "timestamptz"),
    ("settled", "boolean not null default false"),
    ("observed_at", "timestamptz not null"),
    ("detail_document", "jsonb"),
    ("detail_hash", "text not null default ''"),
    ("list_document", "jsonb"),
    ("list_hash", "text"),
    ("detail_stale", "boolean not null default false"),
    ("ambiguous", "boolean not null default false"),
    ("provenance", "public.tds_source_type not null"),
    ("event_id", "uuid"),
    ("deleted_at", "timestamptz"),
    ("created_at", "timestamptz not null default app_now()"),
    ("updated_at", "timestamptz not null default app_now()"),
]
REFERENCES = {"customer_id", "vendor_id", "item_id", "invoice_id", "salesorder_id", "pricebook_id"}


def tables() -> dict[str, list[tuple[str, str]]]:
    """Each table of the migration with its columns, in order, and what follows their names."""
    found = {}
    for name, body in re.findall(r"^create table if not exists erp\.(\w+) \(\n(.*?)^\)", MIGRATION, re.MULTILINE | re.DOTALL):
        lines = [line.strip().rstrip(",") for line in body.splitlines()]
        found[name] = [(line.split()[0], line.split(" ", 1)[1]) for line in lines]
    return found


def typed(columns: Mapping[str, Column]) -> list[tuple[str, str]]:
    return [(name, TYPES[column.kind]) for name, column in columns.items()]


def wanted() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for entity in ENTITIES:
        marks = [(mark, TYPES[Kind.INSTANT]) for mark in entity.marks]
        yield entity.table, [*KEY, *typed(entity.columns), *marks, *RECORD, ("primary", "key (organization_id, source_id)")]
        if entity.lines:
            key = ("primary", "key (organization_id, source_id, line_no)")
            yield entity.lines.table, [*KEY, ("line_no", "integer not null"), *typed(entity.lines.columns), key]


def test_the_eleven_record_types_are_there() -> None:
    assert {entity.label for entity in ENTITIES} == {
        "product",
        "customer",
        "invoice",
        "order",
        "payment",
        "vendor",
        "user",
        "bill",
        "credit_note",
        "stock_adjustment",
        "price_list",
    }


@pytest.mark.parametrize(("table", "columns"), list(wanted()))
def test_a_table_has_the_columns_its_entity_fills(table: str, columns: list[tuple[str, str]]) -> None:
    assert tables()[table] == columns


def test_no_table_is_without_an_entity() -> None:
    assert tables().keys() == {table for table, _ in wanted()}


def test_every_table_says_what_it_holds() -> None:
    assert len(re.findall(r"^-- .+\ncreate table if not exists erp\.", MIGRATION, re.MULTILINE)) == len(tables())


def test_a_column_that_refers_to_another_record_is_indexed() -> None:
    indexed = set(re.findall(r"^create index if not exists \w+ on erp\.(\w+) \((\w+)\);", MIGRATION, re.MULTILINE))
    assert indexed == {(table, name) for table, columns in wanted() for name, _ in columns if name in REFERENCES}


@pytest.mark.parametrize(("file", "entity"), list(zip(FILES, ENTITIES, strict=True)))
def test_a_file_is_named_after_the_path_of_its_webhook(file: str, entity: Entity) -> None:
    assert entity.path.replace("-", "_") == file
    assert {entity.path, file} <= {entity.label, entity.path, *entity.aliases}


def test_a_name_means_one_entity() -> None:
    names = [name for entity in ENTITIES for name in {entity.label, entity.path, *entity.aliases}]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.label)
def test_an_alias_is_new(entity: Entity) -> None:
    assert len({entity.label, *entity.aliases}) == 1 + len(entity.aliases)
    assert entity.label in entity.wrappers


def test_a_wrapper_means_one_entity_unless_a_field_tells_them_apart() -> None:
    for one, other in combinations(ENTITIES, 2):
        if set(one.wrappers) & set(other.wrappers):
            assert any(one.only[field] != other.only[field] for field in one.only.keys() & other.only.keys())


def test_no_two_entities_have_the_same_rank() -> None:
    assert len({entity.rank for entity in ENTITIES}) == len(ENTITIES)


def test_parents_come_before_children() -> None:
    rank = {entity.label: entity.rank for entity in ENTITIES}
    parents = {"product", "customer", "vendor", "user", "price_list"}
    assert max(rank[label] for label in parents) < min(rank[label] for label in rank.keys() - parents)
    assert rank["order"] < rank["invoice"] < rank["payment"]
    assert rank["invoice"] < rank["credit_note"]


def test_the_urgent_go_first() -> None:
    assert {entity.label: entity.priority for entity in ENTITIES if entity.priority < 8} == {
        "invoice": 2,
        "order": 2,
        "product": 5,
        "customer": 5,
        "bill": 5,
    }


def test_versionless_entities_are_the_three_whose_source_has_no_stamp() -> None:
    assert {entity.label for entity in ENTITIES if not entity.version_keys} == {
        "user",
        "price_list",
        "stock_adjustment",
    }
    assert all(entity.version_keys[0] == "last_modified_time" for entity in ENTITIES if entity.version_keys)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.label)
def test_an_id_is_never_a_number_that_people_give(entity: Entity) -> None:
    assert all(key.endswith("_id") for key in entity.id_keys)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.label)
def test_nothing_is_required_because_a_webhook_may_carry_a_few_fields_only(entity: Entity) -> None:
    lines = entity.lines.columns.values() if entity.lines else ()
    assert not any(column.required for column in (*entity.columns.values(), *lines))


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.label)
def test_the_list_of_lines_is_not_a_column_as_well(entity: Entity) -> None:
    if entity.lines:
        assert not any(entity.lines.key in (name, *column.keys) for name, column in entity.columns.items())
        assert next(iter(entity.lines.columns)) == "line_item_id"


def test_the_receiver_reads_entities_without_paying_for_pydantic() -> None:
    code = (
        "import sys; from common import lookup; from common.rules import instants;"
        "[lookup.find('entities', name) for name in lookup.names('entities')];"
        "sys.exit(any(name.startswith('pydantic') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
