"""Calls and answers, between the framework and what answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deploy.local.providers.world import World


class Call(NamedTuple):
    """One call: `ids` are the placeholders of its path."""

    method: str
    path: str
    ids: Mapping[str, str]
    arguments: Mapping[str, str]
    document: Any


@dataclass
class Said:
    """One answer; `document` None: no body."""

    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Row(NamedTuple):
    """One method and path, and what answers."""

    method: str
    path: str
    answer: Callable[[World, Call], Said]


def missing(what: str) -> Said:
    """404."""
    return Said(404, {"message": f"{what} not found"})
