"""Imports whose names are not used."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from common.rules.integrity import Change, Finding, Fix, Module, Policy, Severity, Tree

CATEGORY = "unused"
NOT_OURS = re.compile(rb"#\s*noqa(?!:)|#\s*noqa:.*\bF401\b")
WORD = re.compile(r"[A-Za-z_]\w*")
Import = ast.Import | ast.ImportFrom


class Bound(NamedTuple):
    """A name that an import binds."""

    name: str
    module: str
    alias: ast.alias
    statement: Import


def find(tree: Tree) -> Iterator[Finding]:
    """Each name that is imported and not used; not in __init__ files, which import for others."""
    for module in tree.modules.values():
        if module.path.rpartition("/")[2] != "__init__.py":
            used = _used(module)
            yield from (_finding(module, bound) for bound in _bound(module) if bound.name not in used)


def _bound(module: Module) -> Iterator[Bound]:
    tried = {id(each) for node in module.nodes if isinstance(node, ast.Try) for each in ast.walk(node)}  # tried whether it is there
    for node in module.nodes:
        if not isinstance(node, Import) or id(node) in tried or NOT_OURS.search(_text(module, node)):
            continue
        owner = node.module or "" if isinstance(node, ast.ImportFrom) else None
        if owner == "__future__":
            continue
        for alias in node.names:
            if alias.name not in ("*", alias.asname):  # `import a as a` imports for others
                name = alias.asname or (alias.name if owner is not None else alias.name.partition(".")[0])
                yield Bound(name, alias.name if owner is None else owner, alias, node)


def _used(module: Module) -> set[str]:
    """Every name that is read, and every word of a text: an annotation or __all__ may name one."""
    found = set()
    for node in module.nodes:
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:  # noqa: PLR2004 - longer is prose
            found.update(WORD.findall(node.value))
    return found


def _text(module: Module, node: Import) -> bytes:
    return b"".join(module.lines[node.lineno - 1 : node.end_lineno])


def _finding(module: Module, bound: Bound) -> Finding:
    return Finding(
        analyzer="unused_import",
        severity=Severity.LOW,
        category=CATEGORY,
        file_path=module.path,
        line_number=bound.statement.lineno,
        description=f"{bound.name} is imported and not used",
        code_snippet=module.line(bound.statement.lineno),
        suggested_fix="take the import out",
        fix=_fix(module, bound),
    )


def _fix(module: Module, bound: Bound) -> Fix | None:
    """Take out a statement that imports nothing else and stands alone on its lines. A module of Python's own does nothing else
    when it is imported; others may, so somebody must have looked.
    """  # fmt: skip
    node = bound.statement
    if len(node.names) != 1 or not module.can_be_edited or node.end_lineno is None or _is_alone_in_its_block(module, node):
        return None
    lines = _text(module, node)
    if lines.strip() != module.text(node):
        return None  # something else stands on the line
    is_own = bound.module.partition(".")[0] in sys.stdlib_module_names and not getattr(node, "level", 0)
    start = module.offset(node.lineno, 0)
    change = Change(module.path, start, start + len(lines), b"")
    return Fix(Policy.SAFE_EDIT if is_own else Policy.REFACTOR, (change,))


def _is_alone_in_its_block(module: Module, node: Import) -> bool:
    return any(getattr(parent, block, None) == [node] for parent in module.nodes for block in ("body", "orelse", "finalbody"))
