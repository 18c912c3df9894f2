"""The kinds of shards that there are, with the schemas of what they read and say; and what the shards of a plan said."""

from __future__ import annotations

from typing import Any

from common import db, shards
from common.errors import Invalid, Unknown
from common.flows.status import id_of
from common.rules import blueprint, schedulers
from common.rules.http import Request
from common.stores import parts, plans

MOST = 1000
FIELDS = ("partitioner", "executor")


def listed() -> dict[str, Any]:
    """Every kind that can be submitted, and the schedulers that a stage may name."""
    found = {kind: shards.find(kind) for kind in shards.kinds()}
    return {
        "kinds": [
            {
                "kind": kind,
                **{f"{field}s": blueprint.choices(module.INPUT, field) for field in FIELDS},
                "can_be_taken_back": hasattr(module, "undo"),
                "input": blueprint.described(module.INPUT),
                "output": blueprint.described(module.OUTPUT),
            }
            for kind, module in found.items()
            if hasattr(module, "INPUT")
        ],
        "schedulers": list(schedulers.SCHEDULERS),
    }


def outputs(request: Request, plan: str) -> dict[str, Any]:
    """What the shards of a plan said, 1,000 at most from `?after=` on, and what its stages came to.

    Raises: Unknown, for a plan that there is not; Invalid, for an `after` that no answer gave.
    """
    identifier = str(id_of(plan))
    after = _after(request.arguments.get("after"))
    with db.transaction("status", read_only=True) as tx:
        if plans.definition(tx, identifier) is None:
            message = f"There is no plan {identifier}."
            raise Unknown(message)
        results = parts.results(tx, identifier)
        found = parts.outputs(tx, identifier, after, MOST)
    last = found[-1] if len(found) == MOST else None
    return {
        "plan_id": identifier,
        "results": [result._asdict() for result in results],
        "outputs": [{"stage": each.id, "shard": each.shard, **each.output} for each in found],
        "next": f"{last.stage}.{last.shard}" if last else None,
    }


def _after(text: str | None) -> tuple[int, int]:
    if text is None:
        return -1, -1
    stage, _, shard = text.partition(".")
    if not (stage.isdecimal() and shard.isdecimal() and len(text) < 24):  # noqa: PLR2004 - two numbers, of 64 bits at most
        message = "`after` is the `next` of an answer before."
        raise Invalid(message, errors=[{"pointer": "/after", "message": "must be the next of an answer before"}])
    return int(stage), int(shard)
