"""Netlify: builds of a site's branch, marked by their title.

A build takes the newest commit of its branch, whichever was wanted, so what came of it has to be read back. A deploy that is
ready is live only when the site has published it: a locked site goes on serving another.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from common import settings
from common.errors import SourceRefused
from common.outgoing import providers
from common.outgoing.providers import Api, Heard
from common.rules import targets
from common.rules.deploys import OVER, Ability, Deploy, Line, Point, Serving, State, Target, Wanted
from common.rules.plan import Reader

ORIGIN = "https://api.netlify.com"
BASE = "/api/v1"
OWN = frozenset({"site_id", "deploy_hook"})
SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")
STATES = {
    "new": State.QUEUED,
    "enqueued": State.QUEUED,
    "accepted": State.QUEUED,
    "pending_review": State.AWAITING_APPROVAL,
    "building": State.BUILDING,
    "retrying": State.BUILDING,
    "uploading": State.RELEASING,
    "uploaded": State.RELEASING,
    "preparing": State.RELEASING,
    "prepared": State.RELEASING,
    "processing": State.RELEASING,
    "processed": State.RELEASING,
    "ready": State.SUPERSEDED,  # unless it is what the site has published
    "error": State.FAILED,  # unless its message says that somebody cancelled it
    "rejected": State.REJECTED,
}
CANCELED = re.compile(r"\bcancell?ed\b", re.IGNORECASE)
PRODUCTION = ("production", "all")
PAGE, PAGES = 100, 3
CAN = frozenset({Ability.RESTORE, Ability.FREEZE, Ability.CANCEL, Ability.ENVIRONMENT})


def check(config: Mapping[str, Any], reader: Reader) -> None:
    """Note what is wrong with a config: it names a site, and perhaps a build hook."""
    targets.check(config, reader, OWN)
    if "site_id" not in config:
        reader.fault("/config/site_id", "is missing: it says what is deployed to")
    targets.matched(config, "site_id", SITE, reader, "must be the id of a site, or its name, such as page.netlify.app")
    targets.named(config, "deploy_hook", settings.HOOKS, reader)


# Deploys ---------------------------------------------------------------------------------------------------------


def trigger(target: Target, wanted: Wanted, key: str) -> Deploy | None:
    """Begin a build; something that was built before is published as it is.

    Raises: SourceRefused, while the site is locked: the build would become ready, and never live.
    """
    published = _site(target).get("published_deploy") or {}
    if published.get("locked"):
        message = f"{target.name} is frozen: the site is locked to the deploy {published.get('id')}. Unfreeze it first."
        raise SourceRefused(message)
    if wanted.artifact:
        return restore(target, Point(wanted.artifact), key)
    branch = {"branch": target.config["branch"]} if "branch" in target.config else {}
    if "deploy_hook" in target.config:
        _rung(target, branch, key)
        return None
    build = _asked("POST", f"{_site_path(target)}/builds", {**branch, "title": key}).document
    identifier = build.get("deploy_id") if isinstance(build, dict) else None
    return Deploy(str(identifier), State.QUEUED, "new", key=key) if identifier else None


def _rung(target: Target, branch: Mapping[str, str], key: str) -> None:
    variable = str(target.config["deploy_hook"])
    arguments = {f"trigger_{name}": value for name, value in {**branch, "title": key}.items()}
    providers.rung("netlify", variable, settings.secret(variable), arguments)


def found(target: Target, wanted: Wanted, key: str, since: datetime) -> list[Deploy]:  # noqa: ARG001 - the title says it all
    """Deploys that have the key for their title."""
    rows = [row for row in _rows(target, PAGES) if row.get("title") == key]
    return sorted(_all_read(target, rows[::-1]), key=lambda deploy: deploy.created_at or since)


def get(target: Target, identifier: str) -> Deploy:
    """One deploy."""
    row = _asked("GET", f"{BASE}/deploys/{_quoted(identifier)}").document
    return _all_read(target, [row])[0]


def listed(target: Target, limit: int) -> list[Deploy]:
    """The latest deploys."""
    return _all_read(target, _rows(target, -(-limit // PAGE))[:limit])


def cancel(target: Target, identifier: str) -> None:
    """Stop one, unless it is over."""
    try:
        _asked("POST", f"{BASE}/deploys/{_quoted(identifier)}/cancel")
    except SourceRefused:
        if get(target, identifier).state not in OVER:
            raise


def restore(target: Target, point: Point, key: str) -> Deploy | None:  # noqa: ARG001 - nothing is built, so nothing is marked
    """Publish a former deploy again, at once. A site that is locked is locked again afterwards, to that one."""
    was_frozen = is_frozen(target)
    if was_frozen:
        unfreeze(target)
    heard = _asked("POST", f"{_site_path(target)}/deploys/{_quoted(point.id)}/restore")
    if was_frozen:
        freeze(target)
    return _all_read(target, [heard.document])[0] if heard.document else None


def serving(target: Target) -> Serving:
    """The deploy that the site has published."""
    published = _site(target).get("published_deploy")
    if not published:
        return Serving(None)
    return Serving(str(published["id"]), published.get("commit_ref"), str(published["id"]))


def _rows(target: Target, pages: int) -> list[dict[str, Any]]:
    def page(number: int) -> list[dict[str, Any]]:
        rows = _asked("GET", f"{_site_path(target)}/deploys", {"per_page": PAGE, "page": number}).document
        return list(rows or [])

    return targets.paged(page, PAGE, pages)


def _all_read(target: Target, rows: list[dict[str, Any]]) -> list[Deploy]:
    # Read after the deploys: one that is ready by then has been published by then, if it ever is.
    is_ready = any(row.get("state") == "ready" for row in rows)
    live = serving(target).id if is_ready else None
    return [_read(row, live) for row in rows]


def _read(row: Mapping[str, Any], live: str | None) -> Deploy:
    said = str(row.get("state"))
    state = STATES.get(said, State.UNKNOWN)
    message = row.get("error_message")
    if said == "ready" and row["id"] == live:
        state = State.LIVE
    if said == "error" and CANCELED.search(str(message)):
        state = State.CANCELED
    return Deploy(
        id=str(row["id"]),
        state=state,
        said=said,
        commit=row.get("commit_ref"),
        artifact=str(row["id"]) if said == "ready" else None,
        key=row.get("title"),
        created_at=targets.instant(row.get("created_at")),
        finished_at=targets.instant(row.get("published_at") or row.get("updated_at")) if state in OVER else None,
        message=str(message)[: providers.WORDS] if message else None,
    )


# Its site --------------------------------------------------------------------------------------------------------


def freeze(target: Target) -> None:
    """Keep the site at what it serves: what is built from now on is not published.

    Raises: SourceRefused, when it serves nothing.
    """
    _locked(target, "lock")


def unfreeze(target: Target) -> None:
    """Publish what is built again."""
    _locked(target, "unlock")


def _locked(target: Target, verb: str) -> None:
    identifier = serving(target).id
    if identifier is None:
        message = f"{target.name} cannot be frozen: the site has published nothing yet."
        raise SourceRefused(message)
    _asked("POST", f"{BASE}/deploys/{_quoted(identifier)}/{verb}")


def is_frozen(target: Target) -> bool:
    """Whether the site is locked."""
    return bool((_site(target).get("published_deploy") or {}).get("locked"))


def address(target: Target) -> str | None:
    """Where the site is."""
    site = _site(target)
    return site.get("ssl_url") or site.get("url") or None


def environment(target: Target) -> Mapping[str, str]:
    """Variables of production builds, those of the whole team among them."""
    site = _site(target)
    account = _quoted(str(site["account_id"]))
    rows = _asked("GET", f"{BASE}/accounts/{account}/env", {"site_id": site["id"]}).document or []
    return {str(row["key"]): _value(row) for row in rows}


def _value(row: Mapping[str, Any]) -> str:
    if row.get("is_secret"):  # what the API shows instead of one is no value
        return ""
    values = {each.get("context"): each.get("value") for each in row.get("values") or []}
    return next((str(values[context] or "") for context in PRODUCTION if context in values), "")


def lines(target: Target, since: datetime, until: datetime) -> list[Line]:  # noqa: ARG001
    """Nothing: Netlify tells of logs only to who listens all the time."""
    return []


def measured(target: Target, since: datetime, until: datetime) -> Mapping[str, float]:  # noqa: ARG001
    """Nothing: its API has no metrics."""
    return {}


# Asking it -------------------------------------------------------------------------------------------------------


def _asked(method: str, path: str, arguments: Mapping[str, Any] | None = None) -> Heard:
    current = settings.load()
    api = Api("netlify", current.netlify_api_url or ORIGIN, current.netlify_auth_token, "NETLIFY_AUTH_TOKEN")
    return providers.asked(api, method, path, arguments)


def _site(target: Target) -> dict[str, Any]:
    document: dict[str, Any] = _asked("GET", _site_path(target)).document
    return document


def _site_path(target: Target) -> str:
    return f"{BASE}/sites/{_quoted(str(target.config['site_id']))}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
