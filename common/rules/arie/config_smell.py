"""Environment variables that are read without a default: where one is not set, the code breaks late, at its first use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from common.rules.integrity import Finding, Module, Severity, Tree, is_test

CATEGORY = "configuration"
READS = frozenset({"os.getenv", "getenv", "os.environ.get", "environ.get"})
READ = re.compile(rb"environ|getenv")
TABLES = frozenset({"os.environ", "environ"})


def find(tree: Tree) -> Iterator[Finding]:
    """Every read without a default, outside of tests."""
    for module in tree.modules.values():
        if is_test(module.path) or not READ.search(module.source):
            continue
        for node in module.nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in READS and len(node.args) == 1 and not node.keywords:
                yield _finding(module, node.lineno, Severity.LOW, f"{ast.unparse(node)} is None where the variable is not set")
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and ast.unparse(node.value) in TABLES:
                yield _finding(module, node.lineno, Severity.MEDIUM, f"{ast.unparse(node)} fails where the variable is not set")


def _finding(module: Module, line: int, severity: Severity, description: str) -> Finding:
    advice = "give it a default, or read it at the start, with a message"
    return Finding("config_smell", severity, CATEGORY, module.path, line, description, module.line(line), advice)
