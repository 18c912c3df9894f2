"""Syncs: started, listed, watched."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, say, write, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, segment, unknown

sync = group("Syncs with the source.")
COLUMNS = (
    "run_id", "run_type", "entity_type", "mode", "status", "pages", "total_events", "processed_events", "failed_events",
    "rows_per_second", "started_at", "completed_at",
)  # fmt: skip


@sync.command()
def start(
    entity: Annotated[str, typer.Argument(help="An entity, such as invoice, or `all`.")] = "all",
    *,
    mode: Annotated[str, typer.Option(help="full, incremental or stock.")] = "incremental",
    ids: Annotated[list[str] | None, typer.Option(help="Only the records with these ids; commas between, or repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where a sync is under way.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it is over.")] = False,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Start a sync; exit status 1 when it is watched, and fails."""
    api = Api(url, key)
    asked: dict[str, Any] = {"entity_type": entity, "mode": mode, "force": force}
    wanted = [each for text in ids or [] for each in text.split(",") if each]
    if wanted:
        asked["entity_ids"] = wanted
    found = api.call("POST", "/sync/manual", asked)
    say(found["message"])
    if watch:
        _watch(api, found["run_id"], as_json=as_json)
    elif as_json:
        write_json(found)
    else:
        write(found["run_id"])
        say(f"To watch it: tidemark sync watch {found['run_id']}")


@sync.command()
def runs(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, processing, completed or failed.")] = None,
    limit: Limit = 20, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """The runs of syncs, latest first."""
    found = Api(url, key).get("/api/tds/runs", entity=entity, status=status, limit=limit)["runs"]
    if as_json:
        write_json(found)
    else:
        write_rows(COLUMNS, [[run.get(column) for column in COLUMNS] for run in found])


@sync.command("watch")
def watch_run(run: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Stay with a run until it is over; exit status 1 when it fails. Ctrl-C leaves it alone."""
    with unknown(then="tidemark sync runs"):
        _watch(Api(url, key), run, as_json=as_json)


def _watch(api: Api, run: str, *, as_json: bool) -> None:
    from deploy.bars import of_run  # noqa: PLC0415 - rich, which only those who watch pay for
    from deploy.commands import watching  # noqa: PLC0415

    found = watching.watch(api, f"/api/tds/runs/{segment(run)}", of_run, again=f"tidemark sync watch {run}")
    if as_json:
        write_json(found)
    else:
        write_facts({column: found.get(column) for column in COLUMNS if column != "entity_type" or found.get(column)})
    watching.judge(found, f"Run {run}", then=f"tidemark plan status {found['plan_id']}")
