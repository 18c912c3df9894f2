"""A request and an answer, free of any web framework, so that flows can be called by whatever stands in front."""

from __future__ import annotations

import random
import re
import urllib.parse
from dataclasses import dataclass, field
from functools import cached_property

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Request:
    """One HTTP request, read to its end. `headers` keeps every pair in order, names in lower case."""

    method: str
    path: str
    query: str = ""  # as it was sent, without the question mark
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    address: str = ""

    @cached_property
    def first(self) -> dict[str, str]:
        """The first value of each header."""
        return dict(reversed(self.headers))

    def header(self, name: str) -> str | None:
        """The first value of a header; None when it was not sent."""
        return self.first.get(name)

    def headers_named(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key == name]

    @cached_property
    def traceparent(self) -> str:
        """The caller's trace as W3C writes it; a new one, the same at every look, when it sent none or nonsense."""
        offered = self.header("traceparent") or ""
        if TRACEPARENT.fullmatch(offered):
            return offered
        fresh = f"{random.getrandbits(192):048x}"
        return f"00-{fresh[:32]}-{fresh[32:]}-01"

    @property
    def trace_id(self) -> str:
        """The trace's own part of `traceparent`."""
        return self.traceparent[3:35]

    @cached_property
    def arguments(self) -> dict[str, str]:
        """The query's arguments, decoded; the last of a repeated one."""
        return dict(urllib.parse.parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: its body is encoded by the one JSON encoder unless it is bytes already."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
