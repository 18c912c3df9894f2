"""Configuration drift: whether the targets have the variables that they need, and the same ones as each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from common import db, log, settings, targets
from common.errors import AppError
from common.flows import at_once, lease, links
from common.rules import environments
from common.rules.deploys import Ability, Target
from common.rules.environments import Side
from common.stores import targets as store
from common.stores.targets import Row


def drift() -> dict[str, Any]:
    """How the environments of all targets differ: names and salted hashes of variables, never a value.

    As rules.environments.compared says it, with `checked_at`. A target that cannot be read in time is told of as such, and
    holds nobody up. Raises: Passive: another deployment is the one that asks providers.
    """
    lease.held()
    with db.transaction("status", read_only=True) as tx:
        rows = [row for row in store.seen(tx) if Ability.ENVIRONMENT in targets.find(row.provider).CAN]
    found = environments.compared(_read(rows), settings.load().environment_key)
    if rows:
        said = f"{len(found['keys'])} variables differ, or may: see /api/diagnostics/env-drift"
        links.report_configurations(found["status"], said)
    if found["status"] == "drifted":
        log.warning("environment.drifted", targets=[row.name for row in rows], names=[each["name"] for each in found["keys"]])
    return {**found, "checked_at": datetime.now(UTC)}


def _read(rows: Sequence[Row]) -> list[Side]:
    sides = {row.name: _side(row, None, "it did not answer in time") for row in rows}
    at_once.each(lambda row: _keep(row, sides), rows)
    return list(dict(sides).values())


def _keep(row: Row, sides: dict[str, Side]) -> None:
    try:
        variables = targets.find(row.provider).environment(Target(row.name, row.provider, row.config))
    except AppError as error:
        sides[row.name] = _side(row, None, error.detail)
        return
    sides[row.name] = _side(row, variables, None)


def _side(row: Row, variables: Any, error: str | None) -> Side:
    return Side(row.name, variables, row.config.get("required_env", ()), row.config.get("own_env", ()), error)
