"""The shard that brings the database to the schema of this code: config `{contract}`, whether what takes away is run as well."""

from __future__ import annotations

from typing import Any

from common import encoding
from common.clients import keeping
from common.errors import Invalid
from common.rules import merkle
from common.rules.shard import Context, Ran
from common.stores import migrations

KIND = "system.migrate"
IS_OURS = True


def plan(config: dict[str, Any]) -> int:
    """One shard: migrations go in order.

    Raises: Invalid, for what is not in its config, or not so.
    """
    faults = [{"pointer": f"/{name}", "message": "is not known; there is contract"} for name in config if name != "contract"]
    if not isinstance(config.get("contract", False), bool):
        faults.append({"pointer": "/contract", "message": "must be true or false"})
    if faults:
        message = "A stage of kind system.migrate is told nothing but whether to contract."
        raise Invalid(message, errors=faults)
    return 1


def run(shards: range, context: Context) -> Ran:
    """Run what has not run; the leaf names what did. Run twice, it finds nothing to do.

    Raises: as `migrations.run` does.
    """
    with keeping.kept(context):  # others wait for the migrators' lock, and then find it done
        ran = migrations.run_pending(contract=context.stage.config.get("contract", False))
    return Ran([merkle.leaf(context.hash, b"migrated " + encoding.canonical(ran)) for _ in shards])
