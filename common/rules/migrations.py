"""Migrations: what one is, what its first line says of it, and its statements one by one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

CONTRACT, NO_TRANSACTION = "contract", "no transaction"
# Where a statement cannot end: comments, texts with doubled quotes or backslashes, quoted names, texts between dollars.
OPAQUE = re.compile(
    r"""--[^\n]* | /\* | \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$([A-Za-z_]\w*|)\$.*?\$\1\$ | ;""",
    re.VERBOSE | re.DOTALL,
)
COMMENT_EDGE = re.compile(r"/\*|\*/")


class Migration(NamedTuple):
    """One file of sql/migrations."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What the ledger holds it against: an edited migration is refused."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_transactional(self) -> bool:
        """Whether it may run inside a transaction, as all do whose first line does not say otherwise."""
        return NO_TRANSACTION not in markers(self.text)

    @property
    def is_contract(self) -> bool:
        """Whether it takes away what older code uses: its first line says so, and nothing else does."""
        return CONTRACT in markers(self.text)


class Statement(NamedTuple):
    """One statement, as it stands in the text, and without its comments."""

    line: int
    text: str
    bare: str  # texts and bodies are '' here, and white space is one space


def markers(text: str) -> frozenset[str]:
    """What the first line says: `-- contract`, `-- no transaction`, both with a comma, and why after a colon."""
    first = text.partition("\n")[0].removeprefix("--").partition(":")[0]
    said = {part.strip() for part in first.split(",")}
    return frozenset(said) if text.startswith("--") and said <= {CONTRACT, NO_TRANSACTION} else frozenset()


def statements(text: str) -> Iterator[Statement]:
    """The statements of a script, without the semicolons between them."""
    start, position = 0, 0
    bare: list[tuple[int, str]] = []  # what is neither a comment nor a text, with where it stands
    while found := OPAQUE.search(text, position):
        bare.append((position, text[position : found.start()]))
        position = found.end()
        if found[0] == ";":
            yield from _statement(text, start, found.start(), bare)
            start, bare = position, []
        elif found[0] == "/*":
            position = _after_comment(text, position)
        elif not found[0].startswith("--"):
            bare.append((found.start(), found[0] if found[0].startswith('"') else "''"))
    yield from _statement(text, start, len(text), [*bare, (position, text[position:])])


def _statement(text: str, start: int, stop: int, bare: list[tuple[int, str]]) -> Iterator[Statement]:
    words = " ".join("".join(part for _, part in bare).split())
    if words:
        first = next(at + len(part) - len(part.lstrip()) for at, part in bare if part.strip())
        yield Statement(text.count("\n", 0, first) + 1, text[start:stop].strip(), words)


def _after_comment(text: str, position: int) -> int:
    """Behind the end of a comment, which may hold others."""
    depth = 1
    while depth and (edge := COMMENT_EDGE.search(text, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position if not depth else len(text)
