"""A place in the order of notices: the number of the transaction that told it, then its own."""

from __future__ import annotations

import re
from typing import NamedTuple

SHAPE = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})", re.ASCII)


class Cursor(NamedTuple):
    """Everything up to here has been read. As text it is opaque to those who get it."""

    xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xid}.{self.seq}"


START = Cursor(0, 0)


def read(text: str) -> Cursor | None:
    """The cursor that a text is; None for what is none."""
    found = SHAPE.fullmatch(text)
    return Cursor(int(found[1]), int(found[2])) if found else None
