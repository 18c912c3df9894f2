"""Render's API, as far as deploys need it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from deploy.local.providers.apps import Manners
from deploy.local.providers.wire import Call, Row, Said, missing
from deploy.local.providers.world import Deploy, Place, World

LEAST_ARTIFACTS = 5  # of so many deploys the artifact is kept, so that they can be put back
METRICS = {"cpu": "cpu", "memory": "memory"}
Answers = Callable[[World, Call, Place], Said]


def rows(manners: Manners, url: Callable[[], str]) -> list[Row]:
    """Its routes."""
    service = "/v1/services/{service}"
    return [
        Row("GET", service, _of(lambda _, __, place: Said(200, _service(place, url())))),
        Row("PATCH", service, _of(lambda _, call, place: _changed(call, place, url()))),
        Row("POST", f"{service}/deploys", _of(_begun)),
        Row("GET", f"{service}/deploys", _of(_listed)),
        Row("GET", service + "/deploys/{deploy}", _of(_one)),
        Row("POST", service + "/deploys/{deploy}/cancel", _of(_cancelled)),
        Row("POST", f"{service}/rollback", _of(_put_back)),
        Row("GET", f"{service}/env-vars", _of(_variables)),
        Row("POST", f"{service}/jobs", _of(_job)),
        Row("GET", f"{service}/jobs", _of(_jobs)),
        Row("GET", service + "/jobs/{job}", _of(_job_shown)),
        Row("GET", "/v1/logs", lambda world, call: _logs(world, call, manners)),
        Row("GET", "/v1/metrics/{metric}", lambda world, call: _metric(world, call, manners)),
        Row("POST", "/deploy/{service}", _of(_hook)),
        Row("GET", "/deploy/{service}", _of(_hook)),
    ]


def hook_key(place: Place) -> str:
    """What makes the address of its hook a secret."""
    return f"hook-key-of-{place.id}"


def _of(answer: Answers) -> Callable[[World, Call], Said]:
    def answered(world: World, call: Call) -> Said:
        place = world.place("render", call.ids["service"])
        return answer(world, call, place) if place else missing("service")

    return answered


def _service(place: Place, url: str) -> dict[str, Any]:
    return {
        "id": place.id,
        "name": place.name,
        "ownerId": "tea-standin",
        "branch": "main",
        "autoDeploy": "yes" if place.is_automatic else "no",
        "autoDeployTrigger": "commit" if place.is_automatic else "off",
        "suspended": "not_suspended",
        "serviceDetails": {"url": f"{url}/sites/{place.name}"},
    }


def _changed(call: Call, place: Place, url: str) -> Said:
    wanted = call.document.get("autoDeployTrigger", "commit" if place.is_automatic else "off")
    if wanted not in {"off", "commit", "checksPass"}:
        return Said(400, {"message": "invalid autoDeployTrigger"})
    place.is_automatic = wanted != "off"
    return Said(200, _service(place, url))


def _begun(world: World, call: Call, place: Place) -> Said:
    asked = call.document or {}
    artifact = asked.get("imageUrl") or asked.get("artifactId")
    commit = asked.get("commitId") or (None if artifact else place.head)
    return Said(201, _shown(world.begin(place, commit, "api", artifact=artifact)))


def _hook(world: World, call: Call, place: Place) -> Said:
    if call.arguments.get("key") != hook_key(place):
        return Said(401, {"message": "unauthorized"})
    image = call.arguments.get("imgURL")
    commit = call.arguments.get("ref") or (None if image else place.head)
    deploy = world.begin(place, commit, "deploy_hook", artifact=image)
    return Said(200, {"deploy": {"id": deploy.id}})


def _put_back(world: World, call: Call, place: Place) -> Said:
    wanted = place.find(str(call.document.get("deployId")))
    if wanted is None:
        return missing("deploy")
    if not wanted.published_at or wanted not in place.deploys[-LEAST_ARTIFACTS * 10 :]:
        return Said(400, {"message": "the artifact of this deploy is not retained"})
    return Said(201, _shown(world.begin(place, wanted.commit, "rollback", back=True, artifact=wanted.artifact)))


def _listed(world: World, call: Call, place: Place) -> Said:
    world.settle(place, looked=True)
    found = []
    for deploy in reversed(place.deploys):
        if deploy.hidden:
            deploy.hidden -= 1
        elif call.arguments.get("status") in {None, deploy.word}:
            found.append({"cursor": f"c-{deploy.id}", "deploy": _shown(deploy)})
    after = [each["cursor"] for each in found].index(call.arguments["cursor"]) + 1 if "cursor" in call.arguments else 0
    return Said(200, found[after : after + int(call.arguments.get("limit", "20"))])


def _one(world: World, call: Call, place: Place) -> Said:
    world.settle(place, looked=True)
    deploy = place.find(call.ids["deploy"])
    return Said(200, _shown(deploy)) if deploy else missing("deploy")


def _cancelled(world: World, call: Call, place: Place) -> Said:
    deploy = place.find(call.ids["deploy"])
    if deploy is None:
        return missing("deploy")
    if deploy.is_over:
        return Said(400, {"message": "the deploy is not in progress"})
    world.end(deploy, "canceled")
    return Said(200, _shown(deploy))


def _variables(_: World, call: Call, place: Place) -> Said:
    rows = [{"cursor": key, "envVar": {"key": key, "value": value}} for key, value in sorted(place.variables.items())]
    after = [row["cursor"] for row in rows].index(call.arguments["cursor"]) + 1 if "cursor" in call.arguments else 0
    return Said(200, rows[after : after + int(call.arguments.get("limit", "20"))])


def _job(world: World, call: Call, place: Place) -> Said:
    job = {
        "id": f"job-{world.number():06d}",
        "serviceId": place.id,
        "startCommand": call.document["startCommand"],
        "createdAt": world.now().isoformat(),
        "status": "failed" if "fail" in call.document["startCommand"] else "succeeded",
        "looks": 0,
    }
    place.jobs.append(job)
    return Said(201, job | {"status": "pending"})


def _jobs(_: World, call: Call, place: Place) -> Said:
    rows = [{"cursor": f"c-{job['id']}", "job": job} for job in reversed(place.jobs)]
    after = [row["cursor"] for row in rows].index(call.arguments["cursor"]) + 1 if "cursor" in call.arguments else 0
    return Said(200, rows[after : after + int(call.arguments.get("limit", "20"))])


def _job_shown(_: World, call: Call, place: Place) -> Said:
    for job in place.jobs:
        if job["id"] == call.ids["job"]:
            job["looks"] += 1
            return Said(200, job | {"status": "running"} if job["looks"] == 1 else job)
    return missing("job")


def _logs(world: World, call: Call, manners: Manners) -> Said:
    place = world.place("render", call.arguments.get("resource", ""))
    if place is None or call.arguments.get("ownerId") != "tea-standin":
        return Said(400, {"message": "ownerId and resource are needed"})
    first, last = (datetime.fromisoformat(call.arguments[name]) for name in ("startTime", "endTime"))
    now = world.now()
    # What a version says, it says all the time: so it stands in any window.
    lines = [*place.lines, *((last, text) for text in manners.of(place)["lines"])]
    found = [{"id": str(no), "timestamp": at.isoformat(), "message": text, "labels": []} for no, (at, text) in enumerate(lines)]
    shown = [line for line, (at, _) in zip(found, lines, strict=True) if first <= at <= last]
    return Said(200, {"hasMore": False, "nextStartTime": now.isoformat(), "nextEndTime": now.isoformat(), "logs": shown})


def _metric(world: World, call: Call, manners: Manners) -> Said:
    place = world.place("render", call.arguments.get("resource", ""))
    if place is None:
        return Said(400, {"message": "resource is needed"})
    world.settle(place)
    manner = manners.of(place)
    at = world.now().isoformat()

    def series(value: float, unit: str, **labels: str) -> dict[str, Any]:
        told = [{"field": name, "value": text} for name, text in labels.items()]
        return {"labels": told, "unit": unit, "values": [{"timestamp": at, "value": value}]}

    name = call.ids["metric"]
    if name == "http-requests":
        bad = round(manner["requests"] * manner["error_rate"])
        found = [series(manner["requests"] - bad, "unitless", statusCode="200"), series(bad, "unitless", statusCode="500")]
        return Said(200, found if manner["requests"] else [])
    if name == "http-latency":
        return Said(200, [series(manner["latency_p95_ms"], "ms", quantile="0.95")] if manner["requests"] else [])
    return Said(200, [series(manner[name], name)]) if name in METRICS else missing("metric")


def _shown(deploy: Deploy) -> dict[str, Any]:
    image = deploy.artifact if deploy.artifact and "/" in deploy.artifact else None
    return {
        "id": deploy.id,
        "status": deploy.word,
        "trigger": deploy.trigger,
        "commit": {"id": deploy.commit, "message": "", "createdAt": deploy.created_at.isoformat()} if deploy.commit else None,
        "image": {"ref": image, "sha": ""} if image else None,
        "artifactId": None if image else deploy.artifact,
        "createdAt": deploy.created_at.isoformat(),
        "startedAt": deploy.created_at.isoformat(),
        "finishedAt": deploy.finished_at.isoformat() if deploy.finished_at else None,
        "updatedAt": (deploy.finished_at or deploy.created_at).isoformat(),
    }
