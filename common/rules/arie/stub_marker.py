"""Stubs: functions that only say that they are not written yet, and comments that say that something is left to do."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from common.rules.integrity import Finding, Module, Severity, Tree, is_test

CATEGORY = "stub"
# Put together, so that this file does not find itself.
MARK = re.compile(r"#\s*(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
OVERRIDDEN = ("abstractmethod", "overload", "abstractproperty")


def find(tree: Tree) -> Iterator[Finding]:
    """Functions without a body, and marks in comments."""
    for module in tree.modules.values():
        if not is_test(module.path):
            yield from _unwritten(module)
        yield from _marks(module)


def _unwritten(module: Module) -> Iterator[Finding]:
    protocols = {
        id(method)
        for node in module.nodes
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split("[")[0].endswith("Protocol") for base in node.bases)
        for method in node.body
    }
    for node in module.nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or id(node) in protocols:
            continue
        if any(ast.unparse(each).rpartition(".")[2] in OVERRIDDEN for each in node.decorator_list):
            continue
        body = [each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
        if len(body) == 1 and isinstance(body[0], ast.Raise) and _is_not_written(body[0]):
            yield _finding(module, node.lineno, Severity.HIGH, f"{node.name}() is not written: it raises NotImplementedError")
        elif not body and not ast.get_docstring(node):
            yield _finding(module, node.lineno, Severity.MEDIUM, f"{node.name}() has no body")


def _is_not_written(node: ast.Raise) -> bool:
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _marks(module: Module) -> Iterator[Finding]:
    if not MARK.search(module.source.decode("utf-8", "replace")):  # most have none, and their tokens are many
        return
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(module.source).readline))
    except (tokenize.TokenError, SyntaxError):
        return  # import_health says why
    for token in tokens:
        mark = MARK.match(token.string) if token.type == tokenize.COMMENT else None
        if mark:
            yield _finding(module, token.start[0], Severity.LOW, f"a comment says {mark[1]}: {token.string[:80]}")


def _finding(module: Module, line: int, severity: Severity, description: str) -> Finding:
    return Finding("stub_marker", severity, CATEGORY, module.path, line, description, module.line(line), "write it, or take it out")
