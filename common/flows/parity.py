"""Deploy parity: whether what is served is what the last deploys wanted. Computed from what was read back, or read anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from common import db, log, settings, targets
from common.errors import AppError, Invalid
from common.flows import at_once, lease, migrate
from common.outgoing import probe
from common.rules import parity as rules
from common.rules.deploys import Ability, Serving, Target, fingerprint
from common.rules.http import Request
from common.stores import parity, schema_versions, tickets
from common.stores.parity import Deployed

MOST = 50
REQUIRED = ("bootstrap", "runtime")
# What a deploy reads back by itself; the other two are compared when everything is read anew.
READ_BACK = ("commit", "artifact", "schema")


class Read(NamedTuple):
    """What was read of a target just now; None is what could not be."""

    serving: Serving | None = None
    config_hash: str | None = None
    frozen: bool | None = None


def deploy_parity(request: Request) -> dict[str, Any]:
    """What /api/diagnostics/deploy-parity tells; ?fresh=1 asks every provider and service now, for HXO_FEDERATION_TIMEOUT at most.

    `status` is ok, differs, incomplete (bootstrap or runtime has not succeeded) or unknown. What nobody knows is null, and
    then never ok.

    Raises: Invalid; Passive, for ?fresh=1 while another deployment is ACTIVE.
    """
    is_fresh = _flag(request.arguments.get("fresh", "0"))
    if is_fresh:
        lease.held()  # who is PASSIVE calls nobody
    with db.transaction("status", read_only=True) as tx:
        newest = parity.newest(tx)
        depth = parity.depth(tx, newest.id) if newest else None
        counts = tickets.counts(tx)
        rows = parity.targets(tx, limit=MOST)
        schema = schema_versions.newest(tx)
    read = _read(rows) if is_fresh else None
    shown = [_target(row, schema, None if read is None else read.get(row.name, Read())) for row in rows]
    shards = {name: newest and getattr(newest, name) for name in (*REQUIRED, "diagnostics")}
    required = {name: shards[name] for name in REQUIRED}
    compared = [rules.Compared(each["differs"], each["unknown"]) for each in shown]
    return {
        "status": rules.status(required, compared),
        "version": settings.load().running_release,
        "deployment_id": newest and newest.id,
        "shards": shards,
        "queue": {
            "depth": depth.depth if depth and depth.is_whole else None,
            "active": newest and newest.background == "running",
        },
        "tickets": {"count": counts.unresolved, "has_issues": counts.unresolved > 0},
        "targets": shown,
    }


def _target(row: Deployed, schema: int | None, read: Read | None) -> dict[str, Any]:
    stored = row.serving or {}
    wanted = {
        "commit": row.wanted_commit,
        "artifact": row.wanted_artifact,
        "schema": migrate.wanted_version(),
        "config_hash": row.config_hash,
        "frozen": row.is_frozen,
    }
    if read is None:
        serving = {"commit": stored.get("commit"), "artifact": stored.get("artifact"), "schema": schema}
        serving |= {"config_hash": None, "frozen": None}
        compared = rules.compared({name: wanted[name] for name in READ_BACK}, serving)
    else:
        found = read.serving or Serving(None)
        serving = {"commit": found.commit, "artifact": found.artifact, "schema": schema}
        serving |= {"config_hash": read.config_hash, "frozen": read.frozen}
        provider = targets.find(row.provider)
        if Ability.FREEZE not in provider.CAN:
            wanted["frozen"] = None  # nothing there can be
        if Ability.ENVIRONMENT not in provider.CAN:
            wanted["config_hash"] = None
        compared = rules.compared(wanted, serving)
    return {
        "name": row.name,
        "wanted": wanted,
        "serving": serving if read is not None or row.serving is not None else None,
        "differs": compared.differs,
        "unknown": compared.unknown,
        "read_at": row.updated_at if read is None and row.serving is not None else None,
    }


# Reading anew ------------------------------------------------------------------------------------------------------


def _read(rows: Sequence[Deployed]) -> Mapping[str, Read]:
    """Every target, all at once; one that does not answer in time is left out, and holds nobody up."""
    found: dict[str, Read] = {}
    at_once.each(lambda row: _keep(row, found), rows)
    return dict(found)


def _keep(row: Deployed, found: dict[str, Read]) -> None:
    target, provider = Target(row.name, row.provider, row.config), targets.find(row.provider)

    def asked(what: str, ask: Any) -> Any:
        try:
            return ask(target)
        except AppError as error:
            log.warning("parity.not_read", target=row.name, what=what, reason=error.detail)
            return None

    environment = asked("environment", provider.environment) if Ability.ENVIRONMENT in provider.CAN else None
    found[row.name] = Read(
        asked("serving", lambda each: _served(each, provider)),
        None if environment is None else fingerprint(environment, settings.load().secret_key),
        asked("frozen", provider.is_frozen) if Ability.FREEZE in provider.CAN else None,
    )


def _served(target: Target, provider: Any) -> Serving:
    """What the provider says is live, with the commit as the running service itself says it, where it can be asked."""
    serving: Serving = provider.serving(target)
    said = probe.version(target)
    return serving if said is None else serving._replace(commit=said)


def _flag(text: str) -> bool:
    if text not in ("0", "1", "true", "false"):
        message = "'fresh' must be 1 or 0."
        raise Invalid(message, errors=[{"pointer": "/fresh", "message": message}])
    return text in ("1", "true")
