"""What a linter of SQL cannot know of our migrations: what may be taken away, when, and that the first line says so.

Old and new code share a database while a release is rolled out. So a migration only adds (it expands), unless its first line
is `-- contract`; those run when somebody asks for it, and no release serves any more that still uses what they take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from common.rules.migrations import CONTRACT, NO_TRANSACTION, Statement, markers, statements

NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)(?:\s?\.\s?(?:"(?:[^"]|"")+"|[\w$]+))*'
ALTER = rf"^alter table (?:if exists )?(?:only )?{NAME}\b.*"
NAMED = "table|view|materialized view|type|sequence|schema|function|procedure|domain"
USED = f"{NAMED}|aggregate|routine"
# What takes something away from those who use it, and what the fault says of it.
TAKES: tuple[tuple[str, str], ...] = (
    (rf"^drop (?:{USED}) ", "drops what older code may use"),
    (rf"{ALTER}\bdrop (?!constraint\b|default\b|not null\b|expression\b|identity\b)", "drops a column"),
    (rf"^alter (?:{NAMED}) .*\brename ", "renames what older code knows by its name"),
    (rf"^alter (?:{NAMED}) .*\bset schema ", "moves what older code knows by its name"),
    (rf"{ALTER}\balter (?:column )?{NAME} (?:set data )?type ", "changes the type of a column"),
    (rf"{ALTER}\bset not null", "forbids null where older code may write it"),
    (rf"{ALTER}\balter (?:column )?{NAME} drop default", "takes away a default that older code may count on"),
    (r"^truncate ", "empties a table"),
    (r"^alter type .*\bdrop ", "takes something out of a type"),
    (r"^revoke .* from (?!public\b)", "takes away a right that older code may use"),
)  # fmt: skip
ADDED = re.compile(
    r"\badd (?:column )?(?:if not exists )?(?!constraint\b|check\b|unique\b|primary\b|foreign\b|exclude\b)[^,]*", re.IGNORECASE
)
FILLED = re.compile(r"\b(?:default|generated|serial|bigserial)\b", re.IGNORECASE)
IN_BRACKETS = re.compile(r"\([^()]*\)")
PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), said) for pattern, said in TAKES)
CONCURRENTLY = re.compile(r"^(?:create (?:unique )?index|drop index|reindex .*) concurrently ", re.IGNORECASE)
BORDER = re.compile(r"^(?:begin|start transaction|commit|end|rollback)\b", re.IGNORECASE)
ATOMIC = re.compile(r"\bbegin atomic\b", re.IGNORECASE)


class Fault(NamedTuple):
    """Something that a migration must not do as it stands."""

    line: int
    rule: str
    message: str


def faults(text: str) -> list[Fault]:
    """What is wrong with a migration, in order; nothing, if it may be merged."""
    said = markers(text)
    found = [] if text.startswith("-- ") else [Fault(1, "first-line", "The first line says what the migration is for: -- ...")]
    for statement in statements(text):
        if CONTRACT not in said:
            found += contractions([statement])
        found += _of_form(statement, is_transactional=NO_TRANSACTION not in said)
    return found


def contractions(given: Sequence[Statement]) -> list[Fault]:
    """What these statements take away from code that is older than they are."""
    return [
        Fault(statement.line, "contract", f"This {said}: put it into a migration of its own, whose first line is `-- contract`.")
        for statement in given
        for said in _taken(statement.bare)
    ]


def _taken(bare: str) -> list[str]:
    found = [said for pattern, said in PATTERNS if pattern.search(bare)]
    if bare.lower().startswith("alter table ") and any(_must_be_filled(column) for column in ADDED.findall(_flat(bare))):
        found.append("adds a column, not null and without a default, which older code does not fill")
    return list(dict.fromkeys(found))


def _must_be_filled(column: str) -> bool:
    return "not null" in column.lower() and not FILLED.search(column)


def _flat(bare: str) -> str:
    """Without what stands in brackets, so that every comma stands between two things that are done."""
    while (flatter := IN_BRACKETS.sub("", bare)) != bare:
        bare = flatter
    return bare


def _of_form(statement: Statement, *, is_transactional: bool) -> list[Fault]:
    found = []
    if is_transactional and CONCURRENTLY.search(statement.bare):
        found.append(Fault(statement.line, "no-transaction", "CONCURRENTLY needs `-- no transaction` as the first line."))
    if BORDER.search(statement.bare):
        found.append(Fault(statement.line, "border", "Where the transaction begins and ends is the migrator's business."))
    if ATOMIC.search(statement.bare):
        found.append(Fault(statement.line, "atomic", "Write the body between dollars: its semicolons would end the statement."))
    return found
