"""Requests and answers as they pass between the socket and what answers; no more HTTP than this needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

JSON = "application/json;charset=UTF-8"
HTML = "text/html;charset=UTF-8"


@dataclass(frozen=True)
class Request:
    """One request; names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def arguments(self) -> dict[str, str]:
        """The query, decoded; the last of several values counts, and a `+` is a blank."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def form(self) -> dict[str, str]:
        """The query and the body of a form."""
        return self.arguments() | dict(parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True))


@dataclass
class Answer:
    """One answer, and how its way to the caller is spoilt."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: str = ""  # whole lines
    code: int | None = None  # Zoho's own, for the log
    spoilt: Mapping[str, float] = field(default_factory=dict)  # of truncated, cut, slow, down
    end: Callable[[], None] = lambda: None  # to be called once it is sent


def said(status: int, code: int, message: str) -> Answer:
    """An answer that is only a code and a message."""
    return Answer(status, orjson.dumps({"code": code, "message": message}), code=code)


def shown(value: Any, status: int = 200) -> Answer:
    """An answer in JSON that is none of Zoho's envelopes."""
    return Answer(status, orjson.dumps(value))
