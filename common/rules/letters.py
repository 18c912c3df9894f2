"""Letters: how many are tried again at once, what an edit makes of a payload, and what differs between two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from common import encoding

CANARY, FEW, MANY = 1, 10, 500  # letters of the first step, of the second, and of each after that
MOST_DIFFERENCES = 100


def step_size(step: int) -> int:
    """How many letters the step after step `step` tries again; 0: none was begun."""
    return (CANARY, FEW)[step] if step < 2 else MANY  # noqa: PLR2004


def confirmation(verb: str, asked: dict[str, Any], digest: str) -> str:
    """What must be sent back to do `verb` to exactly the letters with this digest of their ids, by this filter."""
    return hashlib.sha256(encoding.canonical([verb, asked, digest])).hexdigest()[:32]


def merged(document: Any, patch: Any) -> Any:
    """`document` with a JSON merge patch (RFC 7396) applied: null takes a key away, an object goes deeper, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def differences(before: Any, after: Any) -> list[dict[str, Any]]:
    """What differs, as [{pointer, before, after}], at most 100 places; a side that has nothing there has no key."""
    found = []
    for difference in _differences(before, after, ""):
        found.append(difference)
        if len(found) == MOST_DIFFERENCES:
            break
    return found


def _differences(before: Any, after: Any, pointer: str) -> Iterator[dict[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _of_key(before, after, key, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{pointer}/{position}")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield {"pointer": pointer, "before": before, "after": after}


def _of_key(before: dict[str, Any], after: dict[str, Any], key: str, pointer: str) -> Iterator[dict[str, Any]]:
    if key not in after:
        yield {"pointer": pointer, "before": before[key]}
    elif key not in before:
        yield {"pointer": pointer, "after": after[key]}
    else:
        yield from _differences(before[key], after[key], pointer)
