"""The pipeline of integrity scans: one analyzer that breaks, fixes that meet, plans that are known again."""

from __future__ import annotations

from types import SimpleNamespace

from common import lookup
from common.rules import integrity
from common.rules.integrity import Change, Finding, Fix, Policy, Severity, Tree

ANALYZERS = {name: lookup.find("rules.arie", name) for name in lookup.names("rules.arie")}


def a_finding(*changes: Change, line: int = 1, severity: Severity = Severity.LOW) -> Finding:
    return Finding("a", severity, "c", "a.py", line, "d", fix=Fix(Policy.SAFE_EDIT, changes))


def test_the_analyzers_are_those_of_the_origin():
    assert ANALYZERS.keys() == {
        "deprecated_datetime", "stub_marker", "route_registry", "import_health", "config_smell", "duplicate_file", "dead_file", "unused_import",
    }  # fmt: skip


def test_an_analyzer_that_breaks_is_a_finding_and_the_others_go_on():
    def find(_: Tree) -> None:
        message = "no"
        raise ValueError(message)

    found = integrity.analyzed(Tree({"a.py": b"def f(:"}), ANALYZERS | {"broken": SimpleNamespace(find=find)})
    assert [(each.analyzer, each.severity) for each in found] == [("import_health", "critical"), ("broken", "high")]
    assert "ValueError: no" in found[1].description


def test_of_two_fixes_that_meet_the_first_counts():
    tree = Tree({"a.py": b"0123456789"})
    first, meets, beside = (
        a_finding(Change("a.py", 2, 5, b"x")),
        a_finding(Change("a.py", 4, 6, b"y")),
        a_finding(Change("a.py", 5, 6, b"z")),
    )
    plan = integrity.planned(tree, [first, meets, beside], Policy.SAFE_EDIT)
    assert (plan.after["a.py"], plan.fixable) == (b"01xz6789", (first, beside))


def test_a_plan_has_the_same_id_for_the_same_changes_to_the_same_bytes_and_no_other():
    def plan(source: bytes, text: bytes | None, policy: Policy = Policy.SAFE_EDIT) -> str:
        return integrity.planned(Tree({"a.py": source}), [a_finding(Change("a.py", 0, 1, text))], policy).id

    assert plan(b"ab", b"x") == plan(b"ab", b"x")
    assert len({plan(b"ab", b"x"), plan(b"ac", b"x"), plan(b"ab", b"y"), plan(b"ab", None), plan(b"ab", b"")}) == 5


def test_a_fix_that_would_break_something_grave_is_refused():
    tree = Tree({"p/__init__.py": b"", "p/a.py": b"from p import b\nb.x\n", "p/b.py": b"x = 1\n"})
    breaking = integrity.planned(tree, [a_finding(Change("p/b.py", 0, 6, None))], Policy.SAFE_EDIT)
    assert integrity.verified(tree, breaking, ANALYZERS) == ["p/a.py:1: imports p.b, which is not there"]
    unreadable = integrity.planned(tree, [a_finding(Change("p/b.py", 0, 0, b"def ("))], Policy.SAFE_EDIT)
    assert len(integrity.verified(tree, unreadable, ANALYZERS)) == 1
    harmless = integrity.planned(tree, [a_finding(Change("p/b.py", 4, 5, b"2"))], Policy.SAFE_EDIT)
    assert integrity.verified(tree, harmless, ANALYZERS) == []


def test_the_worst_comes_first():
    found = [a_finding(line=no, severity=severity) for no, severity in enumerate((Severity.LOW, Severity.CRITICAL, Severity.HIGH))]
    shown = integrity.analyzed(Tree({}), {"a": SimpleNamespace(find=lambda _: found)})
    assert [each.severity for each in shown] == ["critical", "high", "low"]
