"""GitHub: deployments of a repository to an environment, each carrying our key, carried out by a workflow or by whoever listens.

A workflow is dispatched with the inputs `key`, `deployment` and `commit`; it has to set the statuses of the deployment, and
is found again, so that it can be cancelled, when its run-name has the key in it. Older deployments of a production environment
stay `success`: the newest that succeeded is what is live.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from common import settings
from common.errors import Conflict, SourceRefused
from common.outgoing import providers
from common.outgoing.providers import Api, Heard
from common.rules import targets
from common.rules.deploys import OVER, Ability, Deploy, Line, Point, Serving, State, Target, Wanted
from common.rules.plan import Reader

ORIGIN = "https://api.github.com"
OWN = frozenset({"repository", "environment", "workflow", "required_contexts"})
REPOSITORY = re.compile(r"\w[\w.-]{0,63}/\w[\w.-]{0,99}", re.ASCII)
ENVIRONMENT = re.compile(r"[\w][\w ./-]{0,99}", re.ASCII)
WORKFLOW = re.compile(r"[\w.-]{1,100}\.ya?ml|[0-9]{1,20}", re.ASCII)
STATES = {
    "queued": State.QUEUED,
    "pending": State.QUEUED,
    "in_progress": State.BUILDING,
    "success": State.LIVE,
    "inactive": State.SUPERSEDED,  # canceled, when it never succeeded
    "failure": State.FAILED,
    "error": State.FAILED,
}
NOT_BEGUN = "created"  # our word for a deployment that has no status yet
HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE, PAGES = 100, 3
LATEST = 30  # deployments that are looked at for the one that is live
CAN = frozenset({Ability.RESTORE, Ability.FREEZE, Ability.CANCEL, Ability.ENVIRONMENT})


def check(config: Mapping[str, Any], reader: Reader) -> None:
    """Note what is wrong with a config: it names a repository, and perhaps an environment and a workflow."""
    targets.check(config, reader, OWN)
    if "repository" not in config:
        reader.fault("/config/repository", "is missing: it says what is deployed, as owner/name")
    targets.matched(config, "repository", REPOSITORY, reader, "must be owner/name")
    targets.matched(config, "environment", ENVIRONMENT, reader, "must be the name of an environment, such as production")
    targets.matched(config, "workflow", WORKFLOW, reader, "must be the file name of a workflow, such as deploy.yml, or its id")
    contexts = config.get("required_contexts", [])
    if not isinstance(contexts, list) or not all(isinstance(each, str) for each in contexts):
        reader.fault("/config/required_contexts", "must be a list of names of checks; empty: none has to pass")


# Deploys ---------------------------------------------------------------------------------------------------------


def trigger(target: Target, wanted: Wanted, key: str) -> Deploy | None:
    """Make a deployment, and dispatch the workflow where there is one.

    A deployment of this key that was made and not dispatched, because somebody was stopped in between, is used.
    Raises: SourceRefused, while the workflow is switched off.
    """
    if is_frozen(target):
        message = f"{target.name} is frozen: the workflow {target.config['workflow']} is switched off. Unfreeze it first."
        raise SourceRefused(message)
    return _begun(target, str(wanted.commit or wanted.artifact), key)


def restore(target: Target, point: Point, key: str) -> Deploy | None:
    """Deploy a former commit again: GitHub has nothing else. A workflow that was switched off is so again afterwards.

    Raises: SourceRefused, when nobody knows which commit that was.
    """
    if not point.commit:
        message = f"{target.name} cannot be put back: nobody knows the commit of the deployment {point.id}."
        raise SourceRefused(message)
    was_frozen = is_frozen(target)
    if was_frozen:
        unfreeze(target)
    try:
        return _begun(target, point.commit, key)
    finally:
        if was_frozen:
            freeze(target)


def _begun(target: Target, ref: str, key: str) -> Deploy | None:
    row = next((row for row in _rows(target, 1) if _key(row) == key), None)
    if row is None:
        asked: dict[str, Any] = {
            "ref": ref,
            "task": "deploy",
            "auto_merge": False,  # it would merge the default branch into what was asked for, and deploy nothing
            "payload": {"key": key},
            "environment": _environment(target),
            "description": "Tidemark",
        }
        if "required_contexts" in target.config:
            asked["required_contexts"] = target.config["required_contexts"]
        row = _asked("POST", f"{_repository(target)}/deployments", document=asked).document
    if not row or "id" not in row:
        return None
    if "workflow" in target.config and not _statuses(target, row["id"]):
        _dispatch(target, row, key)
    return _read(row, _statuses(target, row["id"]))


def _dispatch(target: Target, row: Mapping[str, Any], key: str) -> None:
    inputs = {"key": key, "deployment": str(row["id"]), "commit": str(row.get("sha"))}
    branch = target.config.get("branch", "main")
    _asked("POST", f"{_workflow(target)}/dispatches", document={"ref": branch, "inputs": inputs})
    # Says that this is done: a deployment without a status is dispatched again.
    if not _statuses(target, row["id"]):
        _say(target, str(row["id"]), "queued", "The workflow is dispatched.")


def found(target: Target, wanted: Wanted, key: str, since: datetime) -> list[Deploy]:  # noqa: ARG001 - the key says it all
    """Deployments that carry the key, and were dispatched where there is a workflow."""
    read = [_read(row, _statuses(target, row["id"])) for row in reversed(_rows(target, PAGES)) if _key(row) == key]
    begun = [deploy for deploy in read if "workflow" not in target.config or deploy.said != NOT_BEGUN]
    return sorted((_settled(target, deploy) for deploy in begun), key=lambda deploy: deploy.created_at or since)


def get(target: Target, identifier: str) -> Deploy:
    """One deployment."""
    row = _asked("GET", f"{_repository(target)}/deployments/{_quoted(identifier)}").document
    return _settled(target, _read(row, _statuses(target, identifier)))


def listed(target: Target, limit: int) -> list[Deploy]:
    """The latest deployments; of those that succeeded, only the newest is live."""
    read = []
    has_live = False
    for deploy in _latest(target, limit):
        if deploy.state is not State.LIVE:
            read.append(deploy)
            continue
        read.append(deploy._replace(state=State.SUPERSEDED) if has_live else deploy)
        has_live = True
    return read


def cancel(target: Target, identifier: str) -> None:
    """Stop the workflow's run, if it can be found, and call the deployment inactive; nothing, when it is over."""
    deploy = get(target, identifier)
    if deploy.state in OVER:
        return
    if "workflow" in target.config and deploy.key:
        _cancel_runs(target, deploy.key)
    _say(target, identifier, "inactive", "Cancelled.")


def _cancel_runs(target: Target, key: str) -> None:
    runs = _asked("GET", f"{_workflow(target)}/runs", {"event": "workflow_dispatch", "per_page": PAGE}).document
    for run in runs.get("workflow_runs") or []:
        if key in str(run.get("display_title")) and run.get("status") != "completed":
            try:
                _asked("POST", f"{_repository(target)}/actions/runs/{_quoted(str(run['id']))}/cancel")
            except Conflict:
                continue  # it has ended meanwhile


def serving(target: Target) -> Serving:
    """The newest deployment that succeeded."""
    live = next((deploy for deploy in _latest(target, LATEST) if deploy.state is State.LIVE), None)
    return Serving(live.id, live.commit) if live else Serving(None)


def _latest(target: Target, limit: int) -> Iterator[Deploy]:
    rows = _rows(target, -(-limit // PAGE))[:limit]
    return (_read(row, _statuses(target, row["id"])) for row in rows)


def _settled(target: Target, deploy: Deploy) -> Deploy:
    """The same, superseded when a newer one has succeeded."""
    if deploy.state is not State.LIVE:
        return deploy
    return deploy if serving(target).id == deploy.id else deploy._replace(state=State.SUPERSEDED)


def _rows(target: Target, pages: int) -> list[dict[str, Any]]:
    def page(number: int) -> list[dict[str, Any]]:
        arguments = {"environment": _environment(target), "per_page": PAGE, "page": number}
        return list(_asked("GET", f"{_repository(target)}/deployments", arguments).document or [])

    return targets.paged(page, PAGE, pages)


def _statuses(target: Target, identifier: Any) -> list[dict[str, Any]]:
    """What was said of a deployment, the latest first."""
    path = f"{_repository(target)}/deployments/{_quoted(str(identifier))}/statuses"
    return list(_asked("GET", path, {"per_page": PAGE}).document or [])


def _say(target: Target, identifier: str, state: str, description: str) -> None:
    said = {"state": state, "description": description, "auto_inactive": False}
    _asked("POST", f"{_repository(target)}/deployments/{_quoted(identifier)}/statuses", document=said)


def _read(row: Mapping[str, Any], statuses: list[dict[str, Any]]) -> Deploy:
    said = str(statuses[0]["state"]) if statuses else NOT_BEGUN
    state = STATES.get(said, State.UNKNOWN) if statuses else State.QUEUED
    if said == "inactive" and all(each["state"] != "success" for each in statuses):
        state = State.CANCELED
    return Deploy(
        id=str(row["id"]),
        state=state,
        said=said,
        commit=row.get("sha"),
        key=_key(row),
        created_at=targets.instant(row.get("created_at")),
        finished_at=targets.instant(statuses[0].get("created_at")) if statuses and state in OVER else None,
        message=(statuses[0].get("description") or None) if statuses else None,
    )


def _key(row: Mapping[str, Any]) -> str | None:
    payload = row.get("payload")
    key = payload.get("key") if isinstance(payload, dict) else None
    return str(key) if key else None


# Its repository --------------------------------------------------------------------------------------------------


def freeze(target: Target) -> None:
    """Switch the workflow off; without one there is nothing that we could switch off, and nothing is done."""
    if "workflow" in target.config:
        _asked("PUT", f"{_workflow(target)}/disable")


def unfreeze(target: Target) -> None:
    """Switch it on again."""
    if "workflow" in target.config:
        _asked("PUT", f"{_workflow(target)}/enable")


def is_frozen(target: Target) -> bool:
    """Whether there is a workflow, and it is off."""
    return "workflow" in target.config and str(_asked("GET", _workflow(target)).document.get("state")).startswith("disabled")


def address(target: Target) -> str | None:
    """Where the live deployment says that it runs."""
    live = serving(target).id
    statuses = _statuses(target, live) if live else []
    return next((str(each["environment_url"]) for each in statuses if each.get("environment_url")), None)


def environment(target: Target) -> Mapping[str, str]:
    """Variables and secrets of the environment; GitHub shows nobody the value of a secret."""
    base = f"{_repository(target)}/environments/{_quoted(_environment(target))}"
    found: dict[str, str] = {}
    for what in ("secrets", "variables"):

        def page(number: int, what: str = what) -> list[dict[str, Any]]:
            return list(_asked("GET", f"{base}/{what}", {"per_page": PAGE, "page": number}).document.get(what) or [])

        found |= {str(row["name"]): str(row.get("value") or "") for row in targets.paged(page, PAGE, PAGES)}
    return found


def lines(target: Target, since: datetime, until: datetime) -> list[Line]:  # noqa: ARG001
    """Nothing: GitHub does not run what is deployed."""
    return []


def measured(target: Target, since: datetime, until: datetime) -> Mapping[str, float]:  # noqa: ARG001
    """Nothing, as in `lines`."""
    return {}


# Asking it -------------------------------------------------------------------------------------------------------


def _asked(method: str, path: str, arguments: Mapping[str, Any] | None = None, document: Mapping[str, Any] | None = None) -> Heard:
    current = settings.load()
    api = Api("github", current.github_api_url or ORIGIN, current.github_token, "GITHUB_TOKEN", HEADERS)
    return providers.asked(api, method, path, arguments, document)


def _repository(target: Target) -> str:
    return f"/repos/{target.config['repository']}"


def _environment(target: Target) -> str:
    return str(target.config.get("environment", "production"))


def _workflow(target: Target) -> str:
    return f"{_repository(target)}/actions/workflows/{_quoted(str(target.config['workflow']))}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
