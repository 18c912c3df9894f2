"""Deploys: begun, approved, watched, taken back; and what can be deployed to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.client import Api, say, write, write_facts, write_json, write_rows
from deploy.commands.options import Json, Limit, Token, Url, group, read_json, segment, unknown

deploy = group("Deploys of what stands around the database.")
target = group("What can be deployed to.")
deploy.add_typer(target, name="target")
COLUMNS = ("deployment_id", "kind", "status", "commit", "artifact", "requested_by", "created_at", "reason")
TARGETS = ("name", "provider", "wave", "state", "serving", "verified_at", "promoted_at", "frozen")
POINTS = ("deployment_id", "status", "eligible", "reason", "targets")
Watch = Annotated[bool, typer.Option("--watch", help="Stay until it is over.")]
Deployment = Annotated[str, typer.Argument(help="The id of a deployment.")]
LIST = "tidemark deploy list"


@deploy.command()
def start(
    targets: Annotated[list[str] | None, typer.Argument(help="The targets, in their order.")] = None,
    *,
    commit: Annotated[str | None, typer.Option(help="What is to run there.")] = None,
    artifact: Annotated[str | None, typer.Option(help="Something built before, instead of a commit.")] = None,
    strategy: Annotated[str | None, typer.Option(help="rolling; others are said in a file.")] = None,
    file: Annotated[str | None, typer.Option(help="The whole of it as JSON; - for stdin. What is given here counts more.")] = None,
    once: Annotated[str | None, typer.Option(help="A key: the same key begins the same deploy once.")] = None,
    watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Begin a deploy; exit status 1 when it is watched, and does not go live."""
    api = Api(url, key)
    given = {"targets": targets or None, "commit": commit, "artifact": artifact, "strategy": strategy}
    asked = (read_json(file) if file else {}) | {name: value for name, value in given.items() if value is not None}
    found = api.call("POST", "/api/hxo/deployments", asked, headers={"Idempotency-Key": once} if once else None)
    _begun(api, found, watch=watch, as_json=as_json)


def _begun(api: Api, found: dict[str, Any], *, watch: bool, as_json: bool) -> None:
    identifier = found["deployment_id"]
    if found["status"] == "waiting":
        say(f"It waits to be approved: tidemark deploy approve {identifier} --confirm {found['definition_hash']}")
    if watch:
        follow(api, identifier, as_json=as_json)
    elif as_json:
        write_json(found)
    else:
        write(identifier)
        say(f"To watch it: tidemark deploy watch {identifier}")


@deploy.command(name="list")
def list_(*, limit: Limit = 20, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """The deployments, latest first."""
    found = Api(url, key).get("/api/hxo/deployments", limit=limit)["deployments"]
    if as_json:
        write_json(found)
    else:
        write_rows(COLUMNS, [[each.get(column) for column in COLUMNS] for each in found])


@deploy.command()
def show(deployment: Deployment, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """One deployment, with its targets."""
    with unknown(then=LIST):
        _show(Api(url, key).get(f"/api/hxo/deployments/{segment(deployment)}"), as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    inside = {"targets", "strategy", "gates", "rollback"}
    write_facts({name: value for name, value in found.items() if name not in inside and value not in (None, [])})
    write_rows(TARGETS, [[_short(each, column) for column in TARGETS] for each in found["targets"]])


def _short(each: dict[str, Any], column: str) -> Any:
    value = each.get(column)
    return _version(value) if column == "serving" and value else value


def _version(known: dict[str, Any]) -> Any:
    """What is served, in a word."""
    return known.get("commit") or known.get("artifact") or known.get("id")


@deploy.command()
def watch(deployment: Deployment, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Stay until a deployment is over; exit status 1 when it does not go live."""
    with unknown(then=LIST):
        follow(Api(url, key), deployment, as_json=as_json)


def follow(api: Api, deployment: str, *, as_json: bool) -> None:
    """Watch a deployment to its end. Raises: Problem, when that is not a good one."""
    from deploy.bars import of_deployment  # noqa: PLC0415 - rich, which only those who watch pay for
    from deploy.commands import watching  # noqa: PLC0415

    path, again = f"/api/hxo/deployments/{segment(deployment)}", f"tidemark deploy watch {deployment}"
    found = watching.watch(api, path, of_deployment, again=again)
    _show(found, as_json=as_json)
    watching.judge(found, f"Deployment {deployment}", then=f"tidemark deploy show {found['rolled_back_by'] or deployment}")


@deploy.command()
def approve(
    deployment: Deployment,
    *,
    confirm: Annotated[str, typer.Option(help="The definition_hash of what you have looked at.")],
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Let a deployment go on that waits for this."""
    with unknown(then=LIST):
        found = Api(url, key).call("POST", f"/api/hxo/deployments/{segment(deployment)}/approve", {"confirm": confirm})
    _show(found, as_json=as_json)


@deploy.command()
def freeze(deployment: Deployment, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Switch off deploys that nobody here asked for, at its targets."""
    _act("freeze", deployment, Api(url, key), as_json=as_json)


@deploy.command()
def unfreeze(deployment: Deployment, *, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Allow them again."""
    _act("unfreeze", deployment, Api(url, key), as_json=as_json)


def _act(verb: str, deployment: str, api: Api, *, as_json: bool) -> None:
    with unknown(then=LIST):
        found = api.call("POST", f"/api/hxo/deployments/{segment(deployment)}/{verb}")
    (write_json if as_json else write_facts)(found)


@deploy.command()
def points(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """What can be taken back, and what cannot and why."""
    found = Api(url, key).get("/api/hxo/deployments/rollback-points")["rollback_points"]
    if as_json:
        write_json(found)
    else:
        write_rows(POINTS, [[_back(each) if column == "targets" else each[column] for column in POINTS] for each in found])


def _back(point: dict[str, Any]) -> str:
    """To what each of its targets would go."""
    said = {each["name"]: each["point"] or {} for each in point["targets"]}
    return ", ".join(f"{name} to {_version(known) or 'nothing'}" for name, known in said.items())


@deploy.command()
def rollback(deployment: Deployment, *, watch: Watch = False, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """Take a deployment back: its targets serve what they served before, and stay there."""
    api = Api(url, key)
    with unknown(then="tidemark deploy points"):
        found = api.call("POST", "/api/hxo/rollback", {"deployment_id": deployment})
    _begun(api, found, watch=watch, as_json=as_json)


# Targets -------------------------------------------------------------------------------------------------------------


@target.command(name="list")
def targets_(*, as_json: Json = False, url: Url = None, key: Token = None) -> None:
    """The targets."""
    found = Api(url, key).get("/api/hxo/targets")["targets"]
    if as_json:
        write_json(found)
    else:
        columns = ("name", "provider", "is_frozen", "frozen_reason", "config")
        write_rows(columns, [[each.get(column) for column in columns] for each in found])


@target.command(name="set")
def set_(
    name: Annotated[str, typer.Argument(help="Its name.")],
    file: Annotated[str, typer.Argument(help="File with {provider, config} as JSON; - for stdin.")],
    *,
    as_json: Json = False, url: Url = None, key: Token = None,
) -> None:  # fmt: skip
    """Make a target, or change one."""
    found = Api(url, key).call("PUT", f"/api/hxo/targets/{segment(name)}", read_json(file))
    (write_json if as_json else write_facts)(found)
