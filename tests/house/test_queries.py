"""Every query of sql/queries prepares against the migrated schema, fits what it is read into, and is its store's own."""

from __future__ import annotations

import ast
import collections
import importlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pg8000.exceptions import DatabaseError
from pg8000.native import to_statement

from common import db, entities
from common.flows import source_healers
from common.rules.references import references
from common.stores import pages, records, refetches, seen_ids, standing, statistics, validation
from tests.house.tree import ROOT, calls, parsed

READ = ("all", "one", "value", "run")
# Prepared as they are rendered for each entity.
TEMPLATES = {"records.lock", "records.apply", "records.lines", "seen_ids.missing", "standing.counts"}
TEMPLATES |= {f"refetches.{name}" for name in ("ask_for_details", "ask_for_moved", "ask_for_parents", "young")}
TEMPLATES |= {
    f"statistics.{name}" for name in ("of_run", "days", "whole", "versions", "documents", "live_within", "distrust", "settle")
}
TEMPLATES |= {f"validation.{name}" for name in ("records", "totals", "lines", "references", "line_references")}
TEMPLATES |= {f"pages.{name}" for name in ("probe", "moved", "load", "lock", "write", "lines")}
WHOLE, TEXT = {20, 21, 23}, {25, 1042, 1043, 705}
TYPES = {
    "str": TEXT,
    "int": WHOLE,
    "bool": {16},
    "float": {700, 701},
    "datetime": {1184},
    "UUID": {2950},
    "list[str]": {1009},
    "list[UUID]": {2951},
}


class Read(NamedTuple):
    """A call of a transaction that names a query."""

    module: str
    verb: str
    shape: str
    query: str
    parameters: set[str]


def reads() -> Iterator[Read]:
    for module, tree in parsed("common/stores"):
        for verb in READ:
            for call in calls(tree, verb):
                names = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
                if names:
                    shape = ast.unparse(call.args[0]) if verb in {"all", "one"} else ""
                    yield Read(module, verb, shape, names[0], {name for keyword in call.keywords for name in given(keyword, tree)})


def given(keyword: ast.keyword, tree: ast.Module) -> set[str]:
    """The parameters that a keyword gives: its name, or the keys of the dict that the module's function `**key(...)` returns."""
    if keyword.arg is not None:
        return {keyword.arg}
    called = keyword.value.func.id if isinstance(keyword.value, ast.Call) and isinstance(keyword.value.func, ast.Name) else ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == called:
            return {
                key.value
                for each in ast.walk(node)
                if isinstance(each, ast.Dict)
                for key in each.keys
                if isinstance(key, ast.Constant)
            }
    return {"what nobody can tell"}


def columns(url: str, statement: str) -> list[tuple[str, int]]:
    """The names and types of a statement's columns, as the database prepares it."""
    connection = db.Connection(db.Address(url))
    try:
        _, found, _ = connection.socket.prepare_statement(to_statement(statement)[0], ())
    finally:
        connection.close()
    return [(column["name"], column["type_oid"]) for column in found or []]


def misfits(shape: type, found: list[tuple[str, int]]) -> list[str]:
    """Why columns cannot be read into a NamedTuple, by position: their number, an order that their names contradict, types."""
    fields = {name: kind.__forward_arg__.removesuffix(" | None") for name, kind in shape.__annotations__.items()}
    if len(fields) != len(found):
        return [f"{len(found)} columns for {len(fields)} fields"]
    wrong = []
    for (field, kind), (column, oid) in zip(fields.items(), found, strict=True):
        if column in fields and column != field:
            wrong.append(f"the column {column} stands where {field} is read")
        if kind in TYPES and oid not in TYPES[kind]:
            wrong.append(f"the column {column} of type {oid} is read as {kind} into {field}")
    return wrong


def statements() -> dict[str, str]:
    """Every statement as it is sent."""
    found = {name: text for name, text in db.queries().items() if name not in TEMPLATES}
    for entity in entities.every():
        lock, apply = records.rendered(entity)
        found |= {
            f"lock {entity.label}": lock,
            f"apply {entity.label}": apply,
            f"missing {entity.label}": seen_ids.rendered(entity),
        }
        found |= {f"{name} a page of {entity.label}": text for name, text in pages.rendered(entity).items()}
        found |= {f"{name} of {entity.label}": text for name, text in refetches.rendered(entity).items()}
        found |= {
            f"ask for parents by {column} of {entity.label}": refetches.rendered_for_parents(entity.table, column, "products")
            for column in source_healers.PARENTS
            if column in entity.columns
        }
        found[f"counts of {entity.label}"] = standing.rendered(entity)
        found |= {f"{name} of {entity.label}": text for name, text in validation.consistency(entity)}
        found |= {f"{name} for statistics of {entity.label}": text for name, text in statistics.rendered(entity).items()}
    found |= {f"{each.entity.label} to {each.column}": validation.rendered(each) for each in references(entities.every())}
    return found


def refusal(url: str, statement: str) -> str | None:
    try:
        columns(url, statement)
    except DatabaseError as error:
        return str(error)
    return None


def test_every_query_prepares_against_the_migrated_schema(database_url):
    assert {name: said for name, text in statements().items() if (said := refusal(database_url, text))} == {}


def test_every_querys_columns_fit_what_they_are_read_into(database_url):
    wrong = {}
    for read in reads():
        found = columns(database_url, db.queries()[read.query]) if read.verb != "run" else []
        if read.shape:
            module = importlib.import_module(read.module.removesuffix(".py").replace("/", "."))
            wrong[read.query] = misfits(getattr(module, read.shape), found)
        if read.verb == "value" and len(found) != 1:
            wrong[read.query] = [f"{len(found)} columns for a value"]
    assert {name: why for name, why in wrong.items() if why} == {}


@pytest.mark.parametrize("read", list(reads()), ids=lambda read: read.query)
def test_a_query_is_given_exactly_its_parameters(read):
    asked = collections.defaultdict(str)
    to_statement(db.queries()[read.query])[1](asked)
    assert asked.keys() == read.parameters


def test_a_query_that_does_not_fit_is_seen(database_url):
    class Shape(NamedTuple):
        name: str
        amount: int

    assert misfits(Shape, columns(database_url, "select amount, name from tidemark.totals"))
    assert misfits(Shape, columns(database_url, "select name from tidemark.totals"))
    assert misfits(Shape, columns(database_url, "select name, name || '' as other from tidemark.totals"))
    assert misfits(Shape, columns(database_url, "select name, amount from tidemark.totals")) == []
    with pytest.raises(DatabaseError):
        columns(database_url, "select unicorns from tidemark.totals")


def uses() -> set[tuple[str, str]]:
    """Each query with each module that names it."""
    return {
        (node.value, module)
        for module, tree in parsed("common", "functions")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in db.queries()
    }


def test_a_query_is_used_by_the_store_of_its_name_and_only_there():
    assert uses() == {(name, f"common/stores/{name.partition('.')[0]}.py") for name in db.queries()}


@pytest.mark.parametrize("path", sorted((ROOT / "sql" / "queries").glob("*.sql")), ids=lambda path: path.stem)
def test_a_file_of_queries_and_each_query_says_what_it_does(path):
    assert mute(path.read_text()) == []


def test_a_query_that_says_nothing_is_seen():
    assert mute("-- Words.\n\n-- name: a\nselect 1;\n") == ["a"]
    assert mute("-- name: a\n-- Something.\nselect 1;\n") == ["the file"]


def mute(text: str) -> list[str]:
    """The queries without a comment line under their name."""
    silent = [] if re.match(r"-- (?!name:)\S", text) else ["the file"]
    return silent + [
        name for name, after in re.findall(r"^-- name: (\w+)\n(.*)", text, re.MULTILINE) if not re.match(r"-- \S", after)
    ]


def test_every_statement_is_one_statement(database_url: Any):
    assert [name for name, statement in db.queries().items() if re.search(r";\s*\n(?!\s*--)", re.sub(r"--.*", "", statement))] == []
