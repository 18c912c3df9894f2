"""Routes that serverless.yml names and no function serves, and those that a function serves and the list does not name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from common.rules.integrity import Finding, Module, Severity, Tree

CATEGORY = "routes"
LIST = "serverless.yml"
FUNCTIONS = "functions/"
EVENT = re.compile(r"^\s*- httpApi:\s*([A-Z]+)\s+(/\S*)\s*$")
FUNCTION = re.compile(r"^  ([\w-]+):\s*$")
SECTION = re.compile(r"^(\w+):")
Served = tuple[str, str, str]  # function, method, path


def find(tree: Tree) -> Iterator[Finding]:
    """What differs between the list and the code; nothing, where a tree has no such list."""
    if LIST not in tree.files:
        return
    listed, coded = _listed(tree.files[LIST].decode("utf-8", "replace")), _coded(tree)
    with_routes = {function for function, _, _ in coded}  # others answer by rules of their own
    for served, line in listed.items():
        function, method, path = served
        if f"{FUNCTIONS}{function}.py" not in tree.modules:
            yield _finding(LIST, line, f"names the function {function}, which is not there")
        elif function in with_routes and served not in coded:
            yield _finding(LIST, line, f"names {method} {path}, which {function} does not serve")
    for served, (module, line) in coded.items():
        function, method, path = served
        if served not in listed:
            yield _finding(module.path, line, f"serves {method} {path}, which {LIST} does not name", module.line(line))


def _plain(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _listed(text: str) -> dict[Served, int]:
    found: dict[Served, int] = {}
    section = function = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := SECTION.match(line):
            section = match[1]
        elif section == "functions" and (match := FUNCTION.match(line)):
            function = match[1]
        elif section == "functions" and (match := EVENT.match(line)):
            found.setdefault((function, match[1], _plain(match[2])), number)
    return found


def _coded(tree: Tree) -> dict[Served, tuple[Module, int]]:
    """Every Route("GET", "/path", who, ...) of a function; those that only tasks may call come by queue and clock."""
    found: dict[Served, tuple[Module, int]] = {}
    for path, module in tree.modules.items():
        if not path.startswith(FUNCTIONS) or "/" in path.removeprefix(FUNCTIONS):
            continue
        for node in module.nodes:
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Route" or len(node.args) < 3:  # noqa: PLR2004
                continue
            method, place, need = (each.value if isinstance(each, ast.Constant) else None for each in node.args[:3])
            if isinstance(method, str) and isinstance(place, str) and need != "task":
                found[path.removeprefix(FUNCTIONS).removesuffix(".py"), method, _plain(place)] = (module, node.lineno)
    return found


def _finding(path: str, line: int, description: str, snippet: str = "") -> Finding:
    return Finding(
        "route_registry", Severity.HIGH, CATEGORY, path, line, description, snippet, "make the list and the code the same"
    )
