"""One file per provider that is deployed to: render.py, netlify.py, github.py. What each must have stands in rules/deploys.py."""

from __future__ import annotations

from types import ModuleType

from common import lookup


def find(provider: str) -> ModuleType:
    """The module of a provider.

    Raises: Unknown, when there is none.
    """
    return lookup.find("targets", provider)


def providers() -> tuple[str, ...]:
    """The name of every provider."""
    return lookup.names("targets")
