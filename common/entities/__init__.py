"""One file per record type that is kept in step."""

from __future__ import annotations

import functools

from common import lookup
from common.rules.entity import Entity


@functools.cache
def every() -> tuple[Entity, ...]:
    """Every entity, in the order of its files."""
    return tuple(lookup.find("entities", name).ENTITY for name in lookup.names("entities"))


@functools.cache
def by_label() -> dict[str, Entity]:
    """Every entity by its label."""
    return {entity.label: entity for entity in every()}
