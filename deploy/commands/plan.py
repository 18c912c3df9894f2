"""Plans: submitted, watched, stopped, tried again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, Exit, Problem, say, write, write_facts, write_json, write_rows
from deploy.commands.options import Json, Token, Url, group, read_json, segment, unknown

plan = group("Plans: large work in many parts.")
Watch = Annotated[bool, typer.Option("--watch", help="Stay until it is over.")]
PLANS = ("plan_id", "plan_name", "status", "done_shards", "total_shards", "failed_shards", "eta_seconds", "submitted_at")
STAGES = ("id", "kind", "status", "done_shards", "total_shards", "failed_shards", "lanes_held")


@plan.command()
def submit(
    file: Annotated[str, typer.Argument(help="File with the plan as JSON; - for stdin.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Only say what it would be.")] = False,
    once: Annotated[str | None, typer.Option(help="A key: the same key submits the same plan once.")] = None,
    watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Submit a plan; exit status 1 when it is watched, and fails."""
    api, given = Api(url, key), read_json(file)
    if check:
        found = api.call("POST", "/api/hxo/plan", given)
        if as_json:
            write_json(found)
        else:
            write_facts({name: value for name, value in found.items() if value is not None})
        return
    found = api.call("POST", "/api/hxo/submit", given, headers={"Idempotency-Key": once} if once else None)
    if watch:
        _watch(api, found["plan_id"], as_json=as_json)
    elif as_json:
        write_json(found)
    else:
        write(found["plan_id"])
        say(f"To watch it: tidemark plan status {found['plan_id']} --watch")


@plan.command()
def status(
    plan_id: Annotated[str | None, typer.Argument(help="One plan; else all that are not over, and the latest ones.")] = None,
    *,
    watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """How far plans are."""
    api = Api(url, key)
    if plan_id is None:
        if watch:
            cause = "Name the plan that is to be watched."
            raise Problem(cause, Exit.USAGE, then="tidemark plan status")
        found = api.get("/api/hxo/status")
        if as_json:
            write_json(found)
        else:
            write_rows(PLANS, [[each.get(column) for column in PLANS] for each in found["plans"]])
        return
    with unknown(then="tidemark plan status"):
        if watch:
            _watch(api, plan_id, as_json=as_json)
        else:
            _show(api.get(f"/api/hxo/status/{segment(plan_id)}"), as_json=as_json)


@plan.command()
def pause(plan_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Let a plan stand still."""
    _act("pause", plan_id, Api(url, key), as_json=as_json)


@plan.command()
def resume(plan_id: str, *, watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Let a plan go on."""
    _act("resume", plan_id, Api(url, key), as_json=as_json, watch=watch)


@plan.command()
def cancel(plan_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """End a plan before its time."""
    _act("cancel", plan_id, Api(url, key), as_json=as_json)


@plan.command()
def retry(plan_id: str, *, watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Try again what failed in a plan."""
    _act("retry", plan_id, Api(url, key), as_json=as_json, watch=watch)


@plan.command()
def abort(plan_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """End a plan now; of a deploy, what it has touched is put back."""
    with unknown(then="tidemark plan status"):
        found = Api(url, key).call("POST", f"/api/hxo/abort/{segment(plan_id)}")
    (write_json if as_json else write_facts)(found)


@plan.command()
def replay(plan_id: str, *, watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Begin a plan anew under a new id, as it was submitted."""
    api = Api(url, key)
    with unknown(then="tidemark plan status"):
        found = api.call("POST", f"/api/hxo/replay/{segment(plan_id)}")
    if watch:
        _watch(api, found["plan_id"], as_json=as_json)
    else:
        (write_json if as_json else write_facts)(found)


@plan.command()
def watch(plan_id: str, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Stay until a plan is over; exit status 1 when it fails."""
    with unknown(then="tidemark plan status"):
        _watch(Api(url, key), plan_id, as_json=as_json)


def _act(verb: str, plan_id: str, api: Api, *, as_json: bool, watch: bool = False) -> None:
    with unknown(then="tidemark plan status"):
        found = api.call("POST", f"/api/hxo/plan/{segment(plan_id)}/{verb}")
    if watch:
        _watch(api, plan_id, as_json=as_json)
    else:
        (write_json if as_json else write_facts)(found)


def _watch(api: Api, plan_id: str, *, as_json: bool) -> None:
    from deploy.bars import of_plan  # noqa: PLC0415 - rich, which only those who watch pay for
    from deploy.commands import watching  # noqa: PLC0415

    again = f"tidemark plan status {plan_id} --watch"
    found = watching.watch(api, f"/api/hxo/status/{segment(plan_id)}", of_plan, again=again)
    _show(found, as_json=as_json)
    then = "retry" if found["status"] == "failed" else "replay"  # what was ended on purpose can only begin anew
    watching.judge(found, f"Plan {plan_id}", then=f"tidemark plan {then} {plan_id}")


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_facts({name: value for name, value in found.items() if name != "stages" and value is not None})
    write_rows(STAGES, [[stage.get(column) for column in STAGES] for stage in found["stages"]])
