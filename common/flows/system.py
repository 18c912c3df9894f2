"""The system itself: its migrations as a plan, and the plans that fill in what a migration has added."""

from __future__ import annotations

from typing import Any

from common import db, encoding, log, settings
from common.errors import Broken, Invalid
from common.flows import lease, plans, stages, work
from common.rules.plan import DAY_MS
from common.stores import migrations, schema_versions
from common.stores import plans as store


def migrate(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run pending migrations, as a plan: 202 with its id, and what is pending. `{"contract": true}`: also what takes away.

    Raises: Invalid, for what cannot be understood; Conflict, when older code serves that uses what is to be taken away; Passive,
    where another deployment's workers would run it: they know their own migrations, not ours.
    """
    contract = _contract(given)
    lease.held()
    with db.transaction() as tx:
        waiting = migrations.pending(tx)
        for each in migrations.migrations():
            if contract and each.name in waiting.contract:
                migrations.refuse_contraction(tx, each)
    longest = int(settings.load().hxo_migration_timeout.total_seconds() * 1000)
    count = 1 + len(waiting.expand) + len(waiting.contract)
    plan = _submitted(
        {
            "name": "migrate",
            "priority": 1,
            "stages": [{"id": "migrate", "kind": "system.migrate", "config": {"contract": contract}}],
            "constraints": {"shard_timeout_ms": min(DAY_MS, longest * count), "timebox_ms": min(DAY_MS, 2 * longest * count)},
        },
        by=str(log.field("operator")),
    )
    return 202, {"plan_id": plan, "pending": waiting.expand, "contract_pending": waiting.contract, "contract": contract}


def begin_backfills() -> int:
    """Submit the plans that fill in what migrations have added, each once: sql/backfills/<migration>.json; how many."""
    paths = sorted(migrations.BACKFILLS.glob("*.json"))
    if not paths:
        return 0
    with db.transaction() as tx:
        waiting, begun = migrations.pending(tx), schema_versions.backfills(tx)
    ready = [path for path in paths if path.stem not in begun and path.stem not in waiting.expand]
    return sum(_submitted(encoding.loads(path.read_bytes()), by="tick", key=f"backfill:{path.stem}") is not None for path in ready)


def _submitted(given: dict[str, Any], *, by: str, key: str | None = None) -> str | None:
    """Begin a plan of ours; None: somebody has begun the one of this key."""
    try:
        draft = plans.drafted(given, submitted_by=by, key=key, is_ours=True)
    except Invalid as error:  # nobody has sent this: it stands in our own files
        message = f"{given.get('name')} cannot be submitted: {error.fields.get('errors')}"
        raise Broken(message) from error
    with db.transaction("worker") as tx:
        plan = store.add(tx, draft)
        opened = stages.open_next(tx, plan) if plan else 0
    if opened:
        work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return str(plan) if plan else None


def _contract(given: dict[str, Any]) -> bool:
    contract = given.get("contract", False)
    faults = [{"pointer": f"/{name}", "message": "is not known; there is contract"} for name in given if name != "contract"]
    if not isinstance(contract, bool):
        faults.append({"pointer": "/contract", "message": "must be true or false"})
    if faults:
        message = "Only whether to contract can be said."
        raise Invalid(message, errors=faults)
    return bool(contract)
