"""Parity: what the last deploys wanted, and what is served. Reads only."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common.db import Transaction


class Required(NamedTuple):
    """A stage that must have succeeded before a release is ready."""

    id: str
    kind: str
    status: str
    deployment: str


class Newest(NamedTuple):
    """The last deploy; None is a stage that it does not have."""

    id: str
    status: str
    commit: str | None
    artifact: str | None
    bootstrap: bool | None
    runtime: bool | None
    diagnostics: bool | None
    background: str | None  # the status of the plan that goes on beside it


class Depth(NamedTuple):
    """What is left of a deploy's work in the background."""

    depth: int
    is_whole: bool  # else there is more than that, and nobody knows yet how much


class Deployed(NamedTuple):
    """A target, and what its last deployment wanted there."""

    name: str
    provider: str
    config: dict[str, Any]
    is_frozen: bool
    deployment: str
    wanted_commit: str | None
    wanted_artifact: str | None
    config_hash: str | None
    serving: dict[str, Any] | None  # as it was last read back
    updated_at: datetime
    schema_version: int  # when that deployment began


def required(tx: Transaction, release: str) -> list[Required]:
    """The stages that decide whether a release is ready: of the last deploy that brings it; of the last one, if `release` is ''."""
    return tx.all(Required, "parity.required", release=release)


def newest(tx: Transaction) -> Newest | None:
    """The last deploy."""
    return tx.one(Newest, "parity.newest")


def depth(tx: Transaction, deployment: str) -> Depth:
    """What is left of a deploy's work in the background."""
    return tx.one(Depth, "parity.depth", deployment=deployment) or Depth(0, is_whole=True)


def targets(tx: Transaction, *, limit: int) -> list[Deployed]:
    """Every target that was deployed to."""
    return tx.all(Deployed, "parity.targets", limit=limit)
