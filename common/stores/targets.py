"""Targets: what is deployed to, as rows; and those that the environment names, which become rows when they are first used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from common import encoding, settings
from common.db import Transaction

ENVIRONMENT = "environment"  # who writes the rows of the targets that it names


class Row(NamedTuple):
    """One target."""

    name: str
    provider: str
    config: dict[str, Any]
    version: int  # 0: only the environment names it, and no row does
    is_frozen: bool
    frozen_reason: str | None
    frozen_at: datetime | None
    updated_at: datetime | None
    updated_by: str


def get(tx: Transaction, name: str) -> Row | None:
    """The row of a target; None when it has none."""
    return tx.one(Row, "targets.get", name=name)


def listed(tx: Transaction) -> list[Row]:
    """Every target that has a row, by name."""
    return tx.all(Row, "targets.listed")


def seen(tx: Transaction) -> list[Row]:
    """Every target, by name: those that only the environment names, too. A row that somebody wrote counts more than that."""
    rows = {row.name: row for row in listed(tx)}
    for name, row in implicit().items():
        if name not in rows or rows[name].updated_by == ENVIRONMENT:
            known = rows.get(name, row)
            rows[name] = known._replace(provider=row.provider, config=row.config)
    return [rows[name] for name in sorted(rows)]


def ensure(tx: Transaction, name: str) -> Row | None:
    """A target with a row, which is made, or made anew, when the environment names it; None when nothing does."""
    named, row = implicit().get(name), get(tx, name)
    if named is None or (row is not None and row.updated_by != ENVIRONMENT):
        return row
    if row is None:
        return add(tx, name, named.provider, named.config, by=ENVIRONMENT) or get(tx, name)
    if (row.provider, row.config) != (named.provider, named.config):
        return change(tx, name, named.provider, named.config, by=ENVIRONMENT, version=row.version) or get(tx, name)
    return row


def add(tx: Transaction, name: str, provider: str, config: Mapping[str, Any], *, by: str) -> Row | None:
    """Make a target; None when there is one of this name."""
    return tx.one(Row, "targets.add", name=name, provider=provider, config=encoding.dumps(config), by=by)


def change(
    tx: Transaction, name: str, provider: str, config: Mapping[str, Any], *, by: str, version: int | None = None
) -> Row | None:
    """Give a target another config; None when it is not there, or not at `version` any more."""
    return tx.one(Row, "targets.change", name=name, provider=provider, config=encoding.dumps(config), by=by, version=version)


def set_frozen(tx: Transaction, name: str, *, is_frozen: bool, reason: str | None = None) -> None:
    """Write down whether deploys that nobody here asked for are switched off there."""
    tx.run("targets.set_frozen", name=name, is_frozen=is_frozen, reason=reason)


def implicit() -> dict[str, Row]:
    """The targets that the environment names, by name."""
    current = settings.load()
    configs: dict[str, tuple[str, dict[str, Any]]] = {}
    render = {"service_id": current.render_service_id} if current.render_service_id else {}
    if not render and current.render_deploy_hook:
        render = {"deploy_hook": "RENDER_DEPLOY_HOOK"}
    if render:
        configs["render"] = ("render", render)
    if current.render_deploy_hook_green:
        configs["render-green"] = ("render", {"deploy_hook": "RENDER_DEPLOY_HOOK_GREEN"})
    if current.netlify_site_id:
        configs["netlify"] = ("netlify", {"site_id": current.netlify_site_id})
    if current.github_repository:
        configs["github"] = ("github", {"repository": current.github_repository})
    return {
        name: Row(
            name, provider, config, 0, is_frozen=False, frozen_reason=None, frozen_at=None, updated_at=None, updated_by=ENVIRONMENT
        )
        for name, (provider, config) in configs.items()
    }
