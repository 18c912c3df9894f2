"""deploy.runtime: the database has the schema that the new version needs, before anything of that version serves.

The first shard is our own database: what only adds is run, under the migrators' lease, and the schema is read back. Each other
one is a target's own command, as a one-off job at its provider. Nothing here takes anything away.
"""

from __future__ import annotations

from typing import Any

from common import db
from common.clients import deploys, keeping
from common.clients.deploys import Done, Place
from common.db import Transaction
from common.errors import Conflict, SourceRefused
from common.rules.deploys import Ability, State
from common.rules.instants import instant
from common.rules.shard import Context, Ran
from common.stores import deployments, migrations

KIND = "deploy.runtime"
IS_OURS = True
JOB = "migrate"


def plan(config: dict[str, Any]) -> int:
    """One shard for us, and one for each target that has a command for this."""
    return deploys.counted(config, more=1)


def run(shards: range, context: Context) -> Ran:
    """Migrate, and read back."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard - 1) if shard else _ourselves(context))


def _ourselves(context: Context) -> Done:
    try:
        with keeping.kept(context):
            done = migrations.run_pending(contract=False)
    except Conflict as error:
        deploys.refuse("conflict", error.detail)
    with db.transaction("worker", read_only=True) as tx:
        left = migrations.pending(tx).expand
    if left:
        deploys.refuse("schema", f"The schema is not what this code wants: {', '.join(left)} did not run.")
    return Done({"subject": "tidemark", "ran": done, "version": migrations.wanted_version()})


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    command = str(at.target.config["migrate_command"])
    if not at.can(Ability.JOBS):
        deploys.refuse(
            "no_jobs", f"{at.target.provider} runs no commands: take migrate_command out of the target {at.target.name}."
        )
    try:
        known = at.part.gates.get(JOB) or {}
        if "job" not in known:
            known = _asked(context, at, command, known.get("asked_at"))
        state = at.provider.job_state(at.target, known["job"])
    except SourceRefused as error:
        deploys.refuse("refused", error.detail)
    if state in (State.FAILED, State.CANCELED):
        code = "migration_failed"
        deploys.refuse(
            code, f"{command!r} of {at.target.name} {state.value}: its log is at {at.target.provider}, job {known['job']}."
        )
    if state is not State.LIVE:
        at.wait(f"{command!r} is {state.value}")

    def write(tx: Transaction) -> None:
        deployments.note(tx, at.deployment.id, at.target.name, gates={JOB: known | {"outcome": "successful"}})
        deploys.told(tx, at.deployment, "runtime", "migrated", target=at.target.name)

    return Done({"subject": at.target.name, "job": known["job"]}, write)


def _asked(context: Context, at: Place, command: str, asked_at: str | None) -> dict[str, Any]:
    """The job that runs the command, begun once: the intent first, and who finds an intent without a job looks for it before.

    Raises: Waiting, while the provider may not have listed it yet.
    """
    found = at.provider.jobs(at.target, command, at.deployment.created_at - deploys.SKEW) if asked_at else []
    if asked_at and not found and at.now - (instant(asked_at) or at.now) < deploys.VISIBLE:
        at.wait("the provider has not listed the job yet")
    known: dict[str, Any] = {"asked_at": at.now.isoformat()}
    if not found:
        context.beat(None)
        deploys.note(at, gates={JOB: known})
        found = [at.provider.job(at.target, command, at.part.key)]
    known |= {"job": found[0]}
    deploys.note(at, gates={JOB: known})
    return known
