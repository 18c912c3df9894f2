"""`tidemark`, also `hxoctl`: the command line. It imports nothing heavy before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

import typer

from deploy.client import Problem, report
from deploy.commands import (
    arie,
    checks,
    dead_letters,
    deployments,
    diagnosis,
    events,
    place,
    plan,
    release,
    schedule,
    source,
    sync,
    tickets,
    verify,
    webhooks,
)  # fmt: skip
from deploy.commands.options import PLAIN

app = typer.Typer(help="Tidemark: keeps a database in step with its source.", **PLAIN)
for _command in (place.health, place.migrate, place.config, diagnosis.doctor, verify.verify, release.drain, checks.links):
    app.command()(_command)
for _command in (checks.check, checks.parity, checks.drift):
    deployments.deploy.command()(_command)
# What people type most stands at the top, too; hxoctl's own words all do.
VERBS: Mapping[str, Callable[..., None]] = {
    "submit": plan.submit, "status": plan.status, "watch": plan.watch, "abort": plan.abort, "retry": plan.retry,
    "replay": plan.replay, "certify": verify.certify_,
    "rollback": deployments.rollback, "compare": release.compare, "stats": release.stats,
}  # fmt: skip
for _name, _verb in VERBS.items():
    app.command(name=_name)(_verb)
for _name, _group in {
    "webhook": webhooks.webhook, "events": events.events, "queue": events.queue, "dead-letters": dead_letters.dead_letters,
    "token": events.token, "source": source.source, "sync": sync.sync, "plan": plan.plan, "deploy": deployments.deploy,
    "schedule": schedule.schedule, "arie": arie.arie, "tickets": tickets.tickets,
}.items():  # fmt: skip
    app.add_typer(_group, name=_name)


def main() -> NoReturn:
    """Run a command; what went wrong becomes words on stderr and an exit status."""
    try:
        app()
    except Problem as fault:
        report(fault, as_json="--json" in sys.argv)
        sys.exit(int(fault.code))
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
