"""GitHub's API, as far as deployments and the workflows that carry them out need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.local.providers.wire import Call, Row, Said, missing
from deploy.local.providers.world import FIRST, Deploy, Place, World

STATES = {"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}


def rows(url: Callable[[], str]) -> list[Row]:
    """Its routes."""
    repository = "/repos/{owner}/{name}"
    deployment = repository + "/deployments/{deployment}"
    workflow = repository + "/actions/workflows/{workflow}"
    environment = repository + "/environments/{environment}"
    return [
        Row("POST", f"{repository}/deployments", _of(_begun)),
        Row("GET", f"{repository}/deployments", _of(_listed)),
        Row("GET", deployment, _of(_one)),
        Row("GET", f"{deployment}/statuses", _of(lambda world, call, place: _statuses(world, call, place, url()))),
        Row("POST", f"{deployment}/statuses", _of(_status)),
        Row("GET", workflow, _of(_workflow)),
        Row("POST", f"{workflow}/dispatches", _of(_dispatched)),
        Row("PUT", f"{workflow}/disable", _of(lambda _, call, place: _switched(call, place, is_on=False))),
        Row("PUT", f"{workflow}/enable", _of(lambda _, call, place: _switched(call, place, is_on=True))),
        Row("GET", f"{workflow}/runs", _of(_runs)),
        Row("POST", repository + "/actions/runs/{run}/cancel", _of(_run_cancelled)),
        Row("GET", f"{environment}/variables", _of(_variables)),
        Row("GET", f"{environment}/secrets", _of(_secrets)),
    ]


def _of(answer: Callable[[World, Call, Place], Said]) -> Callable[[World, Call], Said]:
    def answered(world: World, call: Call) -> Said:
        place = world.place("github", f"{call.ids['owner']}/{call.ids['name']}")
        return answer(world, call, place) if place else missing("repository")

    return answered


def _begun(world: World, call: Call, place: Place) -> Said:
    asked = call.document
    if asked.get("auto_merge", True):
        return Said(202, {"message": "Auto-merged main into the branch on deployment."})
    commit = asked["ref"] if len(asked["ref"]) == len(FIRST) else place.head
    key = (asked.get("payload") or {}).get("key")
    return Said(201, _shown(world.begin(place, commit, "api", key=key), place))


def _listed(world: World, call: Call, place: Place) -> Said:
    world.settle(place, looked=True)
    found = []
    for deploy in reversed(place.deploys):
        if deploy.hidden:
            deploy.hidden -= 1
        elif call.arguments.get("sha") in {None, deploy.commit}:
            found.append(_shown(deploy, place))
    size, page = int(call.arguments.get("per_page", "30")), int(call.arguments.get("page", "1"))
    return Said(200, found[(page - 1) * size : page * size])


def _one(world: World, call: Call, place: Place) -> Said:
    world.settle(place, looked=True)
    deploy = place.find(call.ids["deployment"])
    return Said(200, _shown(deploy, place)) if deploy else missing("deployment")


def _statuses(world: World, call: Call, place: Place, url: str) -> Said:
    world.settle(place)
    deploy = place.find(call.ids["deployment"])
    if deploy is None:
        return missing("deployment")
    return Said(200, [each | {"environment_url": f"{url}/sites/{place.name}"} for each in reversed(deploy.statuses)])


def _status(world: World, call: Call, place: Place) -> Said:
    deploy = place.find(call.ids["deployment"])
    if deploy is None:
        return missing("deployment")
    if call.document.get("state") not in STATES:
        return Said(422, {"message": "Validation Failed"})
    said = world.status(deploy, call.document["state"], call.document.get("description", ""))
    if call.document["state"] == "inactive":
        world.end(deploy, "inactive")
    return Said(201, said)


def _workflow(_: World, call: Call, place: Place) -> Said:
    if place.workflow != call.ids["workflow"]:
        return missing("workflow")
    return Said(
        200, {"id": 1, "path": f".github/workflows/{place.workflow}", "state": "disabled_manually" if place.is_locked else "active"}
    )


def _switched(call: Call, place: Place, *, is_on: bool) -> Said:
    if place.workflow != call.ids["workflow"]:
        return missing("workflow")
    place.is_locked = not is_on
    return Said(204)


def _dispatched(world: World, call: Call, place: Place) -> Said:
    if place.workflow != call.ids["workflow"]:
        return missing("workflow")
    if place.is_locked:
        return Said(422, {"message": "Cannot trigger a 'workflow_dispatch' on a disabled workflow"})
    inputs = call.document.get("inputs") or {}
    deploy = place.find(str(inputs.get("deployment")))
    place.runs.append({"id": world.number(), "display_title": inputs.get("key", ""), "status": "queued", "deploy": deploy})
    if deploy and deploy.is_waiting:
        deploy.is_waiting, deploy.created_at = False, world.now()
        world.status(deploy, deploy.path[0])
        deploy.word = deploy.path[0]
    return Said(204)


def _runs(_: World, call: Call, place: Place) -> Said:
    if place.workflow != call.ids["workflow"]:
        return missing("workflow")
    shown = [{"id": run["id"], "display_title": run["display_title"], "status": _run_status(run)} for run in reversed(place.runs)]
    return Said(200, {"total_count": len(shown), "workflow_runs": shown})


def _run_status(run: dict[str, Any]) -> str:
    deploy: Deploy | None = run["deploy"]
    return "completed" if run["status"] == "completed" or (deploy and deploy.is_over) else "in_progress"


def _run_cancelled(world: World, call: Call, place: Place) -> Said:
    for run in place.runs:
        if str(run["id"]) == call.ids["run"]:
            if _run_status(run) == "completed":
                return Said(409, {"message": "Cannot cancel a workflow run that is completed."})
            run["status"] = "completed"
            if run["deploy"]:
                world.end(run["deploy"], "inactive")
            return Said(202, {})
    return missing("run")


def _variables(_: World, call: Call, place: Place) -> Said:
    shown = [{"name": key, "value": value} for key, value in sorted(place.variables.items()) if not key.startswith("HIDDEN_")]
    return _paged(call, "variables", shown)


def _secrets(_: World, call: Call, place: Place) -> Said:
    return _paged(call, "secrets", [{"name": key} for key in sorted(place.variables) if key.startswith("HIDDEN_")])


def _paged(call: Call, what: str, found: list[dict[str, str]]) -> Said:
    size, page = int(call.arguments.get("per_page", "30")), int(call.arguments.get("page", "1"))
    return Said(200, {"total_count": len(found), what: found[(page - 1) * size : page * size]})


def _shown(deploy: Deploy, place: Place) -> dict[str, Any]:
    return {
        "id": int(deploy.id),
        "sha": deploy.commit,
        "ref": deploy.commit,
        "task": "deploy",
        "environment": "production",
        "payload": {"key": deploy.key} if deploy.key else {},
        "created_at": deploy.created_at.isoformat(),
        "updated_at": (deploy.finished_at or deploy.created_at).isoformat(),
        "repository_url": f"https://api.github.com/repos/{place.id}",
    }
