"""The project's own code, as the rules about it read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FUNCTIONS = tuple(sorted(path for path in (ROOT / "functions").glob("*.py") if path.stem not in {"__init__", "main"}))


class Declared(NamedTuple):
    """A Route as a deployable declares it."""

    function: str
    method: str
    path: str
    need: str  # "open", "task", "page", or the role's name


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Calls of `name` or of `something.name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name == getattr(node.func, "id", getattr(node.func, "attr", None)):
            yield node


def routes() -> list[Declared]:
    """Every Route of functions/*.py; the receiver has none, its paths are its entities."""
    return [
        Declared(file.stem, *(ast.unparse(argument).strip("'").removeprefix("Role.") for argument in call.args[:3]))
        for file in FUNCTIONS
        for call in calls(ast.parse(file.read_text()), "Route")
    ]


def parsed(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Each module of the folders, by its path from the root."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())
