"""Deprecated ways to ask for the time: datetime.utcnow() and utcfromtimestamp() give times that do not know their zone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from common.rules.integrity import Change, Finding, Fix, Module, Policy, Severity, Tree

CATEGORY = "deprecated"
NOW = {"utcnow": "now", "utcfromtimestamp": "fromtimestamp"}


def find(tree: Tree) -> Iterator[Finding]:
    """Every call, with an edit that gives exactly the same time."""
    for module in tree.modules.values():
        spelled = _spelled(module)
        for node in module.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NOW:
                owner = ast.unparse(node.func.value)
                if owner in spelled:
                    yield _finding(module, node, node.func, owner, spelled[owner])


def _spelled(module: Module) -> dict[str, str | None]:
    """How the class datetime is written in a module, and how UTC can be: None, when it would have to be imported."""
    classes: dict[str, str | None] = {}
    zone = None
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "datetime":
                    classes[f"{name.asname or 'datetime'}.datetime"] = f"{name.asname or 'datetime'}.timezone.utc"
        if isinstance(node, ast.ImportFrom) and node.module == "datetime" and not node.level:
            for name in node.names:
                if name.name == "datetime":
                    classes.setdefault(name.asname or "datetime", None)
                if name.name == "UTC":
                    zone = name.asname or "UTC"
                if name.name == "timezone":
                    zone = zone or f"{name.asname or 'timezone'}.utc"
    return {name: known or zone for name, known in classes.items()}


def _finding(module: Module, call: ast.Call, function: ast.Attribute, owner: str, zone: str | None) -> Finding:
    instead = f"{owner}.{NOW[function.attr]}"
    return Finding(
        analyzer="deprecated_datetime",
        severity=Severity.MEDIUM,
        category=CATEGORY,
        file_path=module.path,
        line_number=call.lineno,
        description=f"{owner}.{function.attr}() is deprecated: it gives a time that does not know its zone",
        code_snippet=module.line(call.lineno),
        suggested_fix=f"use {instead}() with UTC",
        fix=_fix(module, call, function, owner, zone) if zone and module.can_be_edited and not call.keywords else None,
    )


def _fix(module: Module, call: ast.Call, function: ast.Attribute, owner: str, zone: str | None) -> Fix:
    start, end = module.span(call)
    inside = b", ".join([*(module.text(each) for each in call.args), f"{zone}".encode()])
    text = f"{owner}.{NOW[function.attr]}(".encode() + inside + b").replace(tzinfo=None)"
    return Fix(Policy.SAFE_EDIT, (Change(module.path, start, end, text),))
