"""The integrity of a tree of source files: what analyzers find in it, and which of that can be put right, by which policy.

An analyzer is a file of common/rules/arie with

    CATEGORY                                 what its findings are about
    def find(tree) -> Iterator[Finding]      what is wrong; pure: it sees the files' bytes and nothing else
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

ID = 16
SNIPPET = 200


class Severity(StrEnum):
    """From the worst to the least."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


GRAVE = frozenset({Severity.CRITICAL, Severity.HIGH})


class Policy(StrEnum):
    """How far a run may go."""

    LINT_ONLY = "LINT_ONLY"  # says what it finds
    SAFE_EDIT = "SAFE_EDIT"  # edits that do not change what the code does
    REFACTOR = "REFACTOR"  # edits that somebody should have looked at
    ARCHIVE = "ARCHIVE"  # files that nothing uses are taken out; the journal keeps them


ALLOWED: Mapping[Policy, frozenset[Policy]] = {
    Policy.LINT_ONLY: frozenset(),
    Policy.SAFE_EDIT: frozenset({Policy.SAFE_EDIT}),
    Policy.REFACTOR: frozenset({Policy.SAFE_EDIT, Policy.REFACTOR}),
    Policy.ARCHIVE: frozenset({Policy.ARCHIVE}),
}
TO_CONFIRM = frozenset({Policy.REFACTOR, Policy.ARCHIVE})


class Change(NamedTuple):
    """The bytes [start, end) of a file become `text`; None: the file is taken out."""

    path: str
    start: int
    end: int
    text: bytes | None


class Fix(NamedTuple):
    """What puts a finding right."""

    needs: Policy
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be."""

    analyzer: str
    severity: Severity
    category: str
    file_path: str
    line_number: int
    description: str
    code_snippet: str = ""
    suggested_fix: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fix: Fix | None = None

    @property
    def id(self) -> str:
        """The same for the same finding in the same place."""
        told = f"{self.analyzer}\x1f{self.file_path}\x1f{self.line_number}\x1f{self.description}"
        return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:ID]

    def shown(self) -> dict[str, Any]:
        """As it is answered."""
        names = ("analyzer", "severity", "category", "file_path", "line_number", "description", "code_snippet", "suggested_fix")
        return {"id": self.id} | {name: getattr(self, name) for name in names} | {"metadata": dict(self.metadata)}


# The tree ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """A Python file that can be read."""

    path: str
    source: bytes
    tree: ast.Module

    @functools.cached_property
    def lines(self) -> list[bytes]:
        """Its lines with their ends."""
        return self.source.splitlines(keepends=True)

    @functools.cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Everything in it."""
        return tuple(ast.walk(self.tree))

    @functools.cached_property
    def bound(self) -> frozenset[str]:
        """Every name that is bound somewhere in it; `*` for everything of another module."""
        found: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
        return frozenset(found)

    @property
    def name(self) -> str:
        """As it is imported."""
        return dotted(self.path)

    def line(self, number: int) -> str:
        """One line of it, for people."""
        return self.lines[number - 1].decode("utf-8", "replace").strip()[:SNIPPET] if 0 < number <= len(self.lines) else ""

    @functools.cached_property
    def can_be_edited(self) -> bool:
        """Whether a position of the syntax tree is a place in the bytes: UTF-8, without a mark, with plain ends of lines."""
        try:
            self.source.decode()
        except UnicodeDecodeError:
            return False
        return not self.source.startswith(b"\xef\xbb\xbf") and b"\r" not in self.source and b"\x0c" not in self.source

    def offset(self, line: int, column: int) -> int:
        """Where a position of the syntax tree is in the bytes."""
        return sum(map(len, self.lines[: line - 1])) + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends in the bytes."""
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def text(self, node: ast.expr | ast.stmt) -> bytes:
        """A node as it is written."""
        start, end = self.span(node)
        return self.source[start:end]


def dotted(path: str) -> str:
    """The name that a Python file is imported by, from the root."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class Tree:
    """Source files by path; each Python file is read once."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files: Mapping[str, bytes] = MappingProxyType(dict(files))
        self.unreadable: dict[str, tuple[int, str]] = {}  # Python files by path: the line, and why

    @functools.cached_property
    def modules(self) -> Mapping[str, Module]:
        """Every Python file that can be read, by path."""
        found = {}
        for path, source in self.files.items():
            if not path.endswith(".py"):
                continue
            try:
                found[path] = Module(path, source, ast.parse(source))
            except (SyntaxError, ValueError) as error:
                self.unreadable[path] = (getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error))
        return found

    @functools.cached_property
    def by_name(self) -> Mapping[str, Module]:
        """Every Python file by the name that it is imported by."""
        return {module.name: module for module in self.modules.values()}

    def changed(self, after: Mapping[str, bytes | None]) -> Tree:
        """The tree with other bytes in some files; None: without them."""
        files = {path: after.get(path, source) for path, source in self.files.items()}
        return Tree({path: source for path, source in files.items() if source is not None})


def is_test(path: str) -> bool:
    """Whether a file belongs to the tests, whose habits are their own."""
    return path.startswith("tests/") or "/tests/" in path or path.rpartition("/")[2].startswith(("test_", "conftest."))


# The pipeline ------------------------------------------------------------------------------------------------------


def analyzed(tree: Tree, analyzers: Mapping[str, Any]) -> list[Finding]:
    """What every analyzer finds, the worst first. One that breaks is a finding itself, and the others go on."""
    found: list[Finding] = []
    for name, analyzer in analyzers.items():
        try:
            found += analyzer.find(tree)
        except Exception as error:  # noqa: BLE001 - a bulkhead: what one cannot read must not hide what the others see
            said = f"The analyzer {name} broke: {type(error).__name__}: {error}"
            found.append(Finding(name, Severity.HIGH, "analyzer", "", 0, said))
    order = list(Severity)
    return sorted(
        found, key=lambda each: (order.index(each.severity), each.file_path, each.line_number, each.analyzer, each.description)
    )


class Plan(NamedTuple):
    """What a policy allows to be done about findings."""

    id: str  # the same for the same changes to the same bytes: whoever confirms it has seen them
    policy: Policy
    fixable: tuple[Finding, ...]
    after: Mapping[str, bytes | None]  # by path; None: the file is taken out

    def shown(self) -> dict[str, Any]:
        """As it is answered."""
        return {
            "id": self.id,
            "policy": self.policy,
            "findings": [finding.id for finding in self.fixable],
            "actions": [{"path": path, "action": "archive" if after is None else "edit"} for path, after in self.after.items()],
            "estimated_impact": {"files": len(self.after), "fixes": len(self.fixable)},
            "requires_approval": bool(self.after) and self.policy in TO_CONFIRM,
        }


def planned(tree: Tree, findings: Sequence[Finding], policy: Policy) -> Plan:
    """What is to be done; of two fixes that meet, the first one counts, and the other is for the next run."""
    fixable: list[Finding] = []
    changes: list[Change] = []
    for finding in findings:
        fix = finding.fix
        if (
            fix is not None
            and fix.needs in ALLOWED[policy]
            and not any(_meet(one, other) for one in fix.changes for other in changes)
        ):
            fixable.append(finding)
            changes += fix.changes
    after = {path: _applied(tree.files[path], of_file) for path, of_file in _by_file(changes)}
    told = hashlib.sha256(policy.encode())
    for path, content in after.items():
        for part in (path.encode(), tree.files[path], b"" if content is None else content, b"-" if content is None else b"+"):
            told.update(b"%d:" % len(part) + part)
    return Plan(told.hexdigest()[:32], policy, tuple(fixable), after)


def _meet(one: Change, other: Change) -> bool:
    if one.path != other.path:
        return False
    return one.text is None or other.text is None or (one.start < other.end and other.start < one.end) or one.start == other.start


def _by_file(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    for path in sorted({change.path for change in changes}):
        yield path, [change for change in changes if change.path == path]


def _applied(source: bytes, changes: Sequence[Change]) -> bytes | None:
    for change in sorted(changes, key=lambda each: each.start, reverse=True):
        if change.text is None:
            return None
        source = source[: change.start] + change.text + source[change.end :]
    return source


def verified(tree: Tree, plan: Plan, analyzers: Mapping[str, Any]) -> list[str]:
    """Why the plan must not be carried out: what it breaks that was whole before. Empty: nothing."""
    before = {(each.analyzer, each.file_path, each.description) for each in analyzed(tree, analyzers)}
    after = analyzed(tree.changed(plan.after), analyzers)
    broken = [each for each in after if each.severity in GRAVE and (each.analyzer, each.file_path, each.description) not in before]
    return [f"{each.file_path}:{each.line_number}: {each.description}" for each in broken]
