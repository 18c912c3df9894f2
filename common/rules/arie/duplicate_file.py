"""Files that hold the same bytes as another: one of them is changed some day, and the other is not."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

from common.rules.integrity import Finding, Severity, Tree

CATEGORY = "duplicate"
SMALLEST = 64  # bytes: what is shorter says the same by chance


def find(tree: Tree) -> Iterator[Finding]:
    """Each copy, beside the first by path; none is taken out, because nobody can tell which of them is meant."""
    same: defaultdict[bytes, list[str]] = defaultdict(list)
    for path, source in sorted(tree.files.items()):
        if len(source) >= SMALLEST:
            same[hashlib.sha256(source).digest()].append(path)
    for first, *copies in same.values():
        for copy in copies:
            said, advice = f"holds the same bytes as {first}", "keep one of the two"
            yield Finding("duplicate_file", Severity.LOW, CATEGORY, copy, 1, said, "", advice, {"same_as": first})
