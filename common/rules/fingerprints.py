"""When two errors are the same fault: same class, same place, and the same words but for what differs from case to case."""

from __future__ import annotations

import hashlib
import re

DIGEST = 32
# What differs between two cases of one fault, the longer forms first: an instant holds numbers, an id holds hex.
VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d| UTC)?"), "<time>"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,128}\b", re.IGNORECASE), "<hash>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"0x[0-9a-f]+", re.IGNORECASE), "<number>"),
    (re.compile(r"\d[\d,.]*"), "<number>"),
)


def normalised(message: str) -> str:
    """`message` without its times, ids, hashes, addresses and numbers, and with single spaces."""
    for pattern, name in VARIABLE:
        message = pattern.sub(name, message)
    return " ".join(message.split())


def fingerprint(code: str, kind: str, message: str) -> str:
    """32 hex digits that stand for the fault: the error's class or code, the kind of the stage, and what it said."""
    told = "\x1f".join((code, kind, normalised(message)))
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:DIGEST]
