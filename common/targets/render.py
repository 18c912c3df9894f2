"""Render: deploys of services over its API, or begun by a deploy hook and watched over the API.

Without RENDER_API_KEY a hook still begins them, and nothing can be read back. Render keeps no mark of ours: what an intent
began is found by its commit, by having been begun over the API, and by when; so of two deploys of one commit, one right after
the other, nobody can tell which was whose.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common import settings
from common.errors import Conflict, SourceRefused
from common.outgoing import providers
from common.outgoing.providers import Api, Heard
from common.rules import render_series, targets
from common.rules.deploys import Ability, Deploy, Line, Point, Serving, State, Target, Wanted, is_commit
from common.rules.plan import Reader

ORIGIN = "https://api.render.com"
OWN = frozenset({"service_id", "deploy_hook", "green", "auto_deploy"})
SERVICE = re.compile("(?:srv|crn)-[a-z0-9-]{1,64}")
AUTOMATIC = ("commit", "checksPass")
STATES = {
    "created": State.QUEUED,
    "queued": State.QUEUED,
    "build_in_progress": State.BUILDING,
    "pre_deploy_in_progress": State.MIGRATING,
    "update_in_progress": State.RELEASING,
    "live": State.LIVE,
    "deactivated": State.SUPERSEDED,
    "build_failed": State.FAILED,
    "pre_deploy_failed": State.FAILED,
    "update_failed": State.FAILED,
    "canceled": State.CANCELED,
}
JOB_STATES = {
    "pending": State.QUEUED,
    "running": State.MIGRATING,
    "succeeded": State.LIVE,
    "failed": State.FAILED,
    "canceled": State.CANCELED,
}
OURS = frozenset({"api", "deploy_hook", "rollback"})  # what a deploy of ours is triggered by
PAGE, PAGES = 100, 5
CAN = frozenset(Ability)


def check(config: Mapping[str, Any], reader: Reader) -> None:
    """Note what is wrong with a config: it names a service, or a hook that does."""
    targets.check(config, reader, OWN)
    targets.matched(config, "service_id", SERVICE, reader, "must be the id of a service, srv-...")
    targets.named(config, "deploy_hook", settings.HOOKS, reader)
    if "service_id" not in config and "deploy_hook" not in config:
        reader.fault("/config/service_id", "is missing, and so is deploy_hook: one of them says what is deployed to")
    if config.get("auto_deploy", AUTOMATIC[0]) not in AUTOMATIC:
        reader.fault("/config/auto_deploy", f"must be one of: {', '.join(AUTOMATIC)}")
    green = config.get("green")
    if green is not None and not isinstance(green, dict):
        reader.fault("/config/green", "must be an object with the config of the service that this one is switched with")
    elif green:
        inner = Reader()
        check({key: value for key, value in green.items() if key != "green"}, inner)
        for fault in inner.faults:
            reader.fault(fault["pointer"].replace("/config", "/config/green", 1), fault["message"])


# Deploys ---------------------------------------------------------------------------------------------------------


def trigger(target: Target, wanted: Wanted, key: str) -> Deploy | None:  # noqa: ARG001 - Render keeps no key
    """Begin a deploy over the API; over the hook, where that is all there is."""
    if "service_id" not in target.config:
        return _rung(target, wanted)
    asked: dict[str, str] = {}
    if wanted.commit:
        asked["commitId"] = wanted.commit
    elif wanted.artifact and "/" in wanted.artifact:
        asked["imageUrl"] = wanted.artifact
    elif wanted.artifact:
        asked |= {"artifactId": wanted.artifact, "deployMode": "deploy_only"}
    return _deploy_or_none(_asked("POST", f"{_service_path(target)}/deploys", document=asked))


def _rung(target: Target, wanted: Wanted) -> Deploy | None:
    variable = str(target.config["deploy_hook"])
    arguments = {"ref": wanted.commit} if wanted.commit else {"imgURL": wanted.artifact or ""}
    providers.rung("render", variable, settings.secret(variable), arguments)
    return None  # its answer says too little


def found(target: Target, wanted: Wanted, key: str, since: datetime) -> list[Deploy]:  # noqa: ARG001 - as in trigger
    """Deploys of what was wanted, begun over the API or a hook since then."""
    rows = _rows(target, PAGES)
    ours = [
        row
        for row in rows
        if row.get("trigger") in OURS and _is_wanted(row, wanted) and (targets.instant(row.get("createdAt")) or since) >= since
    ]
    return sorted(map(_read, reversed(ours)), key=lambda deploy: deploy.created_at or since)


def get(target: Target, identifier: str) -> Deploy:
    """One deploy."""
    return _read(_asked("GET", f"{_service_path(target)}/deploys/{_quoted(identifier)}").document)


def listed(target: Target, limit: int) -> list[Deploy]:
    """The latest deploys."""
    return [_read(row) for row in _rows(target, -(-limit // PAGE))][:limit]


def cancel(target: Target, identifier: str) -> None:
    """Stop one, unless it is over."""
    try:
        _asked("POST", f"{_service_path(target)}/deploys/{_quoted(identifier)}/cancel")
    except (SourceRefused, Conflict):
        if get(target, identifier).state not in {State.LIVE, State.SUPERSEDED, State.FAILED, State.CANCELED}:
            raise


def restore(target: Target, point: Point, key: str) -> Deploy | None:  # noqa: ARG001 - as in trigger
    """Deploy again what a former deploy made. Render refuses when it has thrown that away."""
    return _deploy_or_none(_asked("POST", f"{_service_path(target)}/rollback", document={"deployId": point.id}))


def serving(target: Target) -> Serving:
    """The deploy that is live."""
    heard = _asked("GET", f"{_service_path(target)}/deploys", {"status": "live", "limit": 1})
    rows = [row["deploy"] for row in heard.document or [] if row["deploy"].get("status") == "live"]
    if not rows:
        return Serving(None)
    deploy = _read(rows[0])
    return Serving(deploy.id, deploy.commit, deploy.artifact)


def _rows(target: Target, pages: int) -> list[dict[str, Any]]:
    """Deploys as Render shows them, the latest first."""
    return [row["deploy"] for row in _cursored(f"{_service_path(target)}/deploys", {}, pages)]


def _is_wanted(row: Mapping[str, Any], wanted: Wanted) -> bool:
    deploy = _read(row)
    return is_commit(wanted.commit, deploy.commit) if wanted.commit else deploy.artifact == wanted.artifact


def _read(row: Mapping[str, Any]) -> Deploy:
    said = str(row.get("status"))
    return Deploy(
        id=str(row["id"]),
        state=STATES.get(said, State.UNKNOWN),
        said=said,
        commit=(row.get("commit") or {}).get("id"),
        artifact=(row.get("image") or {}).get("ref") or row.get("artifactId"),
        created_at=targets.instant(row.get("createdAt")),
        finished_at=targets.instant(row.get("finishedAt")),
    )


def _deploy_or_none(heard: Heard) -> Deploy | None:
    return _read(heard.document) if isinstance(heard.document, dict) and "id" in heard.document else None


# Its service -----------------------------------------------------------------------------------------------------


def freeze(target: Target) -> None:
    """Switch off that commits are deployed by themselves. Rolling back over the API does not do that by itself."""
    _asked("PATCH", _service_path(target), document={"autoDeployTrigger": "off"})


def unfreeze(target: Target) -> None:
    """Switch it on again, as the config says it."""
    _asked("PATCH", _service_path(target), document={"autoDeployTrigger": target.config.get("auto_deploy", AUTOMATIC[0])})


def is_frozen(target: Target) -> bool:
    """Whether it is off."""
    return _service(target).get("autoDeployTrigger") == "off"


def address(target: Target) -> str | None:
    """Where the service runs."""
    url = (_service(target).get("serviceDetails") or {}).get("url")
    return url if isinstance(url, str) and url else None


def environment(target: Target) -> Mapping[str, str]:
    """The service's own variables; those of groups that it is linked to are not among them."""
    rows = _cursored(f"{_service_path(target)}/env-vars", {}, PAGES)
    return {str(row["envVar"]["key"]): str(row["envVar"].get("value") or "") for row in rows}


def job(target: Target, command: str, key: str) -> str:  # noqa: ARG001 - as in trigger
    """Run a command once, on what the service's latest deploy made; the id to ask after it by."""
    heard = _asked("POST", f"{_service_path(target)}/jobs", document={"startCommand": command})
    return str(heard.document["id"])


def jobs(target: Target, command: str, since: datetime) -> list[str]:
    """The ids of the jobs that were begun with this command since then, the oldest first."""
    rows = [row["job"] for row in _cursored(f"{_service_path(target)}/jobs", {}, PAGES)]
    ours = [row for row in rows if row.get("startCommand") == command and (targets.instant(row.get("createdAt")) or since) >= since]
    return [str(row["id"]) for row in sorted(ours, key=lambda row: str(row.get("createdAt")))]


def job_state(target: Target, identifier: str) -> State:
    """How far a command is; LIVE: it has succeeded."""
    said = _asked("GET", f"{_service_path(target)}/jobs/{_quoted(identifier)}").document.get("status")
    return JOB_STATES.get(str(said), State.UNKNOWN)


def lines(target: Target, since: datetime, until: datetime) -> list[Line]:
    """Its log in a window, the oldest line first; 500 lines at most."""
    arguments = {
        "ownerId": _service(target).get("ownerId"),
        "resource": _service_id(target),
        "endTime": _moment(until),
        "direction": "forward",
        "limit": PAGE,
    }
    read: list[Line] = []
    start = _moment(since)
    for _ in range(PAGES):
        document = _asked("GET", "/v1/logs", arguments | {"startTime": start}).document
        read += [Line(at, str(row.get("message", ""))) for row in document["logs"] if (at := targets.instant(row.get("timestamp")))]
        if not document.get("hasMore"):
            break
        start = document["nextStartTime"]
    return read


def measured(target: Target, since: datetime, until: datetime) -> Mapping[str, float]:
    """What Render measured in a window; what nothing was measured of, is left out."""
    window = {"resource": _service_id(target), "startTime": _moment(since), "endTime": _moment(until)}

    def series(name: str, **more: Any) -> list[dict[str, Any]]:
        return list(_asked("GET", f"/v1/metrics/{name}", window | more).document or [])

    return render_series.measured(
        requests=series("http-requests", aggregateBy="statusCode"),
        latencies=series("http-latency", quantile=0.95),
        others={name: series(name) for name in ("cpu", "memory")},
    )


# Asking it -------------------------------------------------------------------------------------------------------


def _api() -> Api:
    current = settings.load()
    return Api("render", current.render_api_url or ORIGIN, current.render_api_key, "RENDER_API_KEY")


def _asked(method: str, path: str, arguments: Mapping[str, Any] | None = None, document: Mapping[str, Any] | None = None) -> Heard:
    return providers.asked(_api(), method, path, arguments, document)


def _cursored(path: str, arguments: Mapping[str, Any], pages: int) -> list[dict[str, Any]]:
    """What stands on pages that are linked by cursors."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(pages):
        rows = _asked("GET", path, {**arguments, **cursor, "limit": PAGE}).document or []
        found += rows
        if len(rows) < PAGE:
            break
        cursor = {"cursor": str(rows[-1]["cursor"])}
    return found


def _service(target: Target) -> dict[str, Any]:
    document: dict[str, Any] = _asked("GET", _service_path(target)).document
    return document


def _service_path(target: Target) -> str:
    return f"/v1/services/{_quoted(_service_id(target))}"


def _service_id(target: Target) -> str:
    """The id in the config, or the one that the hook has in its path.

    Raises: SourceRefused, when the hook has none.
    """
    if "service_id" in target.config:
        return str(target.config["service_id"])
    variable = str(target.config.get("deploy_hook"))
    path = urllib.parse.urlsplit(settings.secret(variable)).path
    if match := SERVICE.search(path):
        return match[0]
    message = f"Nobody can tell which service {target.name} is: set service_id in its config; {variable} names none."
    raise SourceRefused(message)


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
