"""Habits that no other tool checks, each with a planted violation that it catches."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.house.tree import calls, parsed

SQL = re.compile(r"\s*(select|insert into|update|delete from|with \w+ as|set local|create|alter|drop|truncate|grant|lock) ")


class Habit(NamedTuple):
    """What is looked for, where it may be, and what it looks like."""

    found: Callable[[ast.AST], bool]
    allowed: set[str]
    planted: tuple[str, ...]


def reads_the_environment(tree: ast.AST) -> bool:
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os"}
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "os" for name in node.names
    }
    return bool((names | imported) & {"environ", "getenv", "environb"})


def prints(tree: ast.AST) -> bool:
    return any(isinstance(call.func, ast.Name) for call in calls(tree, "print"))


def names_the_driver(tree: ast.AST) -> bool:
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    return any(module.split(".")[0] == "pg8000" for module in modules)


def builds_sql(tree: ast.AST) -> bool:
    return any(SQL.match(text) for node in ast.walk(tree) for text in built(node))


def built(node: ast.AST) -> Iterator[str]:
    """The text at the beginning of what a node puts together from parts."""
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        yield from texts(node.values[0])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        yield from texts(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "replace", "join"}:
        yield from texts(node.func.value)


def texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


HABITS = {
    "only settings read the environment": Habit(
        reads_the_environment,
        {"common/settings.py", "functions/main.py"},
        ("import os\nos.environ['A']", "from os import getenv\ngetenv('A')"),
    ),
    "nothing is printed: log says it": Habit(prints, set(), ("print(1)",)),
    "only db speaks to Postgres": Habit(names_the_driver, {"common/db.py"}, ("import pg8000.native", "from pg8000 import native")),
    "SQL is written down, not put together": Habit(
        builds_sql,
        {"common/stores/records.py", "common/db.py"},
        ("f'select {a} from b'", "'update a set b = %s' % c", "'drop table {}'.format(a)", "'delete from ' + a"),
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_is_kept_everywhere(habit):
    found, allowed, _ = HABITS[habit]
    assert {path for path, tree in parsed("common", "functions") if found(tree)} <= allowed


@pytest.mark.parametrize(("habit", "planted"), [(name, planted) for name, habit in HABITS.items() for planted in habit.planted])
def test_a_habit_that_is_broken_is_seen(habit, planted):
    assert HABITS[habit].found(ast.parse(planted))


@pytest.mark.parametrize("harmless", ["f'{name} is not SQL'", "'update'", "f'{count} rows'", "f'with {a} and {b}'"])
def test_what_only_looks_like_sql_is_let_through(harmless):
    assert not builds_sql(ast.parse(harmless))
