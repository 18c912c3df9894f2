"""Verify an export: with the file and keys alone, without a database and without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import Unknown
from common.rules.capability import Key
from common.rules.exports import Checker, Verdict

LONGEST = 64 * 1024 * 1024  # characters of a line: what is longer is no line of ours


def verify_export(path: Path | str, keys: Sequence[Key] = ()) -> Verdict:
    """What comes of checking a file; it names what was altered. Without keys the signatures are left unchecked, and say so.

    Raises: Unknown, when the file cannot be read.
    """
    checker = Checker(keys)
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(LONGEST):
                if line.strip():
                    checker.line(line)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise Unknown(message) from error
    return checker.verdict()
