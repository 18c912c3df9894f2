"""Imports that cannot work: files that cannot be read, modules and names of the tree that are not there, stars, circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from common.rules.integrity import Finding, Module, Severity, Tree, dotted, is_test

CATEGORY = "imports"
MAGIC = frozenset({"*", "__getattr__"})  # a module that binds one of these may have any name


def find(tree: Tree) -> Iterator[Finding]:
    """What is wrong with how the files of the tree import each other; what is installed beside it is not looked at."""
    modules = tree.modules
    for path, (line, why) in tree.unreadable.items():
        yield _finding(path, line, Severity.CRITICAL, f"cannot be read: {why}")
    known = _known(tree)
    for module in modules.values():
        for node in module.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                yield _finding(
                    module.path, node.lineno, Severity.MEDIUM, f"imports everything from {node.module}", module.line(node.lineno)
                )
            for name in _missing(tree, known, module, node):
                yield _finding(
                    module.path, node.lineno, Severity.HIGH, f"imports {name}, which is not there", module.line(node.lineno)
                )
    for circle in _circles(tree):
        said = f"modules import each other in a circle: {' -> '.join(circle)}"
        yield _finding(tree.by_name[circle[0]].path, 1, Severity.MEDIUM, said)


def _packages(tree: Tree) -> set[str]:
    """Every folder with Python files in it, as a package."""
    found = set()
    for path in (*tree.modules, *tree.unreadable):
        parts = path.split("/")[:-1]
        found |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return found


def _known(tree: Tree) -> set[str]:
    """Every name of a module or a package."""
    return {*tree.by_name, *_packages(tree), *(dotted(path) for path in tree.unreadable)}


def _missing(tree: Tree, known: set[str], module: Module, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """What an import names of the tree's own packages and is not there."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _is_ours(tree, alias.name) and alias.name not in known)
    if isinstance(node, ast.ImportFrom):
        owner = _owner(module, node)
        if not _is_ours(tree, owner):
            return
        if owner not in known:
            yield owner
            return
        wanted = [alias.name for alias in node.names if alias.name != "*" and f"{owner}.{alias.name}" not in known]
        names = tree.by_name[owner].bound if wanted and owner in tree.by_name else frozenset("*")
        if not names & MAGIC:
            yield from (f"{owner}.{name}" for name in wanted if name not in names)


def _is_ours(tree: Tree, name: str) -> bool:
    return f"{name.partition('.')[0]}/__init__.py" in tree.files


def _owner(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = module.path.endswith("/__init__.py")
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def _circles(tree: Tree) -> list[list[str]]:
    """Circles of imports that happen while a module is loaded, each once; tests are not looked at."""
    needs = {module.name: _needs(tree, module) for module in tree.modules.values() if not is_test(module.path)}
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(needs):
        _walk(start, needs, [], done, found)
    return found


def _needs(tree: Tree, module: Module) -> list[str]:
    found: list[str] = []
    for node in module.tree.body:  # those inside of functions wait until they are called
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            owner = _owner(module, node)
            found += [f"{owner}.{alias.name}" if f"{owner}.{alias.name}" in tree.by_name else owner for alias in node.names]
    return [name for name in dict.fromkeys(found) if name in tree.by_name and name != module.name]


def _walk(start: str, needs: Mapping[str, list[str]], above: list[str], done: set[str], found: list[list[str]]) -> None:
    stack = [(start, iter(needs[start]))] if start not in done else []
    above.extend(name for name, _ in stack)
    while stack:
        name, rest = stack[-1]
        following = next((each for each in rest if each not in done and each in needs), None)
        if following is None:
            done.add(name)
            stack.pop()
            above.pop()
        elif following in above:
            found.append([*above[above.index(following) :], following])
        else:
            stack.append((following, iter(needs[following])))
            above.append(following)


def _finding(path: str, line: int, severity: Severity, description: str, snippet: str = "") -> Finding:
    return Finding("import_health", severity, CATEGORY, path, line, description, snippet)
