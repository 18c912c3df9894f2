"""Netlify's API, as far as deploys need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.local.providers.wire import Call, Row, Said, missing
from deploy.local.providers.world import Deploy, Place, World

ACCOUNT = "team-standin"


def rows(url: Callable[[], str]) -> list[Row]:
    """Its routes."""
    api, site = "/api/v1", "/api/v1/sites/{site}"

    def shown(world: World, place: Place) -> dict[str, Any]:
        world.settle(place)
        return {
            "id": place.id,
            "name": place.name,
            "account_id": ACCOUNT,
            "ssl_url": f"{url()}/sites/{place.name}",
            "published_deploy": _shown(place.live, place) if place.live else None,
            "build_settings": {"stop_builds": not place.is_automatic},
        }

    return [
        Row("GET", site, _of(lambda world, _, place: Said(200, shown(world, place)))),
        Row("POST", f"{site}/builds", _of(_begun)),
        Row("GET", f"{site}/deploys", _of(_listed)),
        Row("POST", site + "/deploys/{deploy}/restore", _of(_restored)),
        Row("GET", api + "/deploys/{deploy}", _any(_one)),
        Row("POST", api + "/deploys/{deploy}/cancel", _any(_cancelled)),
        Row("POST", api + "/deploys/{deploy}/lock", _any(lambda _, deploy, place: _locked(deploy, place, is_locked=True))),
        Row("POST", api + "/deploys/{deploy}/unlock", _any(lambda _, deploy, place: _locked(deploy, place, is_locked=False))),
        Row("GET", api + "/accounts/{account}/env", _variables),
        Row("POST", "/build_hooks/{hook}", _hook),
    ]


def hook_id(place: Place) -> str:
    """What makes the address of its hook a secret."""
    return f"hook-of-{place.id}"


def _of(answer: Callable[[World, Call, Place], Said]) -> Callable[[World, Call], Said]:
    def answered(world: World, call: Call) -> Said:
        place = world.place("netlify", call.ids["site"])
        return answer(world, call, place) if place else missing("site")

    return answered


def _any(answer: Callable[[World, Deploy, Place], Said]) -> Callable[[World, Call], Said]:
    def answered(world: World, call: Call) -> Said:
        for place in world.places.values():
            if place.provider == "netlify" and (deploy := place.find(call.ids["deploy"])):
                return answer(world, deploy, place)
        return missing("deploy")

    return answered


def _begun(world: World, call: Call, place: Place) -> Said:
    deploy = world.begin(place, place.head, "api", key=call.arguments.get("title"))
    return Said(200, {"id": f"build-{deploy.id}", "deploy_id": deploy.id, "sha": deploy.commit, "done": False, "error": None})


def _hook(world: World, call: Call) -> Said:
    for place in world.places.values():
        if place.provider == "netlify" and hook_id(place) == call.ids["hook"]:
            world.begin(place, place.head, "deploy_hook", key=call.arguments.get("trigger_title"))
            return Said(200)
    return missing("hook")


def _listed(world: World, call: Call, place: Place) -> Said:
    world.settle(place, looked=True)
    found = []
    for deploy in reversed(place.deploys):
        if deploy.hidden:
            deploy.hidden -= 1
        else:
            found.append(_shown(deploy, place))
    size, page = int(call.arguments.get("per_page", "100")), int(call.arguments.get("page", "1"))
    return Said(200, found[(page - 1) * size : page * size])


def _one(world: World, deploy: Deploy, place: Place) -> Said:
    world.settle(place, looked=True)
    return Said(200, _shown(deploy, place))


def _restored(world: World, call: Call, place: Place) -> Said:
    deploy = place.find(call.ids["deploy"])
    if deploy is None:
        return missing("deploy")
    if deploy.word != "ready":
        return Said(422, {"code": 422, "message": "only deploys that are ready can be restored"})
    if place.is_locked:
        return Said(422, {"code": 422, "message": "the site is locked to its published deploy"})
    deploy.lies = world.faults.takes("lies", place.name, deploy.commit) is not None
    world.publish(place, deploy)
    return Said(201, _shown(deploy, place))


def _cancelled(world: World, deploy: Deploy, place: Place) -> Said:
    if deploy.is_over:
        return Said(422, {"code": 422, "message": "the deploy is finished"})
    world.end(deploy, "error", "Canceled build")
    return Said(201, _shown(deploy, place))


def _locked(deploy: Deploy, place: Place, *, is_locked: bool) -> Said:
    if deploy is not place.live:
        return Said(422, {"code": 422, "message": "only the published deploy can be locked"})
    place.is_locked = is_locked
    return Said(200, _shown(deploy, place))


def _variables(world: World, call: Call) -> Said:
    place = world.place("netlify", call.arguments.get("site_id", ""))
    if place is None or call.ids["account"] != ACCOUNT:
        return missing("site")
    return Said(
        200,
        [
            {"key": key, "scopes": ["builds"], "is_secret": key.startswith("HIDDEN_"), "values": [
                {"context": "all", "value": "****" if key.startswith("HIDDEN_") else value},
            ]}
            for key, value in sorted(place.variables.items())
        ],
    )  # fmt: skip


def _shown(deploy: Deploy, place: Place) -> dict[str, Any]:
    return {
        "id": deploy.id,
        "site_id": place.id,
        "build_id": f"build-{deploy.id}",
        "state": deploy.word,
        "branch": "main",
        "context": "production",
        "commit_ref": deploy.commit,
        "title": deploy.key,
        "locked": place.is_locked if deploy is place.live else None,
        "error_message": deploy.message,
        "created_at": deploy.created_at.isoformat(),
        "updated_at": (deploy.finished_at or deploy.created_at).isoformat(),
        "published_at": deploy.published_at.isoformat() if deploy.published_at else None,
    }
