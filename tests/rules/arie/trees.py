"""Small trees of source files, and what the analyzers say of them."""

from __future__ import annotations

from common import lookup
from common.rules import integrity
from common.rules.integrity import Finding, Plan, Policy, Tree


def found(analyzer: str, tree: Tree) -> list[Finding]:
    return list(lookup.find("rules.arie", analyzer).find(tree))


def said(analyzer: str, files: dict[str, str]) -> list[tuple[str, int, str]]:
    """Where, and how bad."""
    tree = Tree({path: text.encode() for path, text in files.items()})
    return [(each.file_path, each.line_number, each.severity.value) for each in found(analyzer, tree)]


def fixed(analyzer: str, files: dict[str, str], policy: Policy) -> tuple[Plan, dict[str, str | None]]:
    """What a policy makes of the files that change."""
    tree = Tree({path: text.encode() for path, text in files.items()})
    plan = integrity.planned(tree, found(analyzer, tree), policy)
    return plan, {path: None if after is None else after.decode() for path, after in plan.after.items()}
