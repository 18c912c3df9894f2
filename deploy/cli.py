"""`tidemark`, also `hxoctl`: the command line. It imports nothing heavy before a command needs it."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from deploy.client import Problem, report
from deploy.commands import dead_letters, diagnosis, events, place, plan, schedule, source, sync, webhooks
from deploy.commands.options import PLAIN

app = typer.Typer(help="Tidemark: keeps a database in step with its source.", **PLAIN)
for _command in (place.health, place.migrate, place.config, diagnosis.doctor):
    app.command()(_command)
for _name, _group in {
    "webhook": webhooks.webhook, "events": events.events, "queue": events.queue, "dead-letters": dead_letters.dead_letters,
    "token": events.token, "source": source.source, "sync": sync.sync, "plan": plan.plan, "schedule": schedule.schedule,
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
