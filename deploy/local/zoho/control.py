"""The stand-in's own routes, for people and for tests in other processes: what its methods do, over HTTP.

GET /_/ says how to log in, GET /_/calls what was asked, GET /_/records/<label> and GET /_/rows/<label> what stands,
GET /_/faults what goes wrong; DELETE /_/calls and DELETE /_/faults forget. POST /_/<method> calls a method with a JSON object:

    change {"count": 5, "labels": ["product"]}    create {"label": "product", "count": 2, "rate": 5}    edit, edit_quietly, delete
    turn {"seconds": 60}    late {"seconds": 3}    skew {"seconds": 120}    move {"offset": "+0530"}    revoke {}
    limits {"minute": 100, "daily": null} or {"off": true}    faults {"name": "unavailable", "calls": 2, "path": "/items"}
    churn {"every": 3, "edit": 2}    webhooks {"url": "http://127.0.0.1:8080", "secret": "...", "loss": 0.1}
    round {"seed": 7, "count": 2000, "secret": "...", "loss": 0.03}: changes, and the webhooks that tell of them, to be sent
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from deploy.local.zoho.faults import NAMES
from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.rounds import written
from deploy.local.zoho.wire import Answer, Request, shown

if TYPE_CHECKING:
    from deploy.local.zoho.standin import StandIn

_LIMITS = {"minute", "daily", "in_flight"}


def answer(zoho: StandIn, request: Request) -> Answer:
    """The answer to a request under /_/; 400 says what was wrong with it."""
    name = request.path.removeprefix("/_/").rstrip("/")
    try:
        if request.method == "GET":
            found = _looked(zoho, name)
        elif request.method == "DELETE":
            found = _forgotten(zoho, name)
        else:
            given = orjson.loads(request.body or b"{}")
            found = _ACTS[name](zoho, **given) if name in _ACTS else None
    except (TypeError, ValueError, KeyError) as error:
        return shown({"error": str(error)}, 400)
    return shown({"error": f"there is no {request.method} {request.path}"}, 404) if found is None else shown(found)


def _looked(zoho: StandIn, name: str) -> Any:
    what, _, label = name.partition("/")
    if what in {"records", "rows"} and label in KINDS:
        return getattr(zoho, what)(label)
    looks: dict[str, Callable[[], Any]] = {"": lambda: _about(zoho), "calls": lambda: _calls(zoho), "faults": zoho.faults.told}
    return looks[name]() if name in looks else None


def _forgotten(zoho: StandIn, name: str) -> Any:
    forgets: dict[str, Callable[[], None]] = {"calls": zoho.forget, "faults": zoho.faults.clear}
    if name not in forgets:
        return None
    forgets[name]()
    return {}


def _about(zoho: StandIn) -> dict[str, Any]:
    return {
        "accounts_url": zoho.accounts_url, "api_url": zoho.url, "client_id": zoho.client_id, "client_secret": zoho.client_secret,
        "refresh_token": zoho.refresh_token, "organization_id": zoho.organization, "now": zoho.now().isoformat(),
        "limits": {name: getattr(zoho.limits, name) for name in sorted(_LIMITS)}, "faults": NAMES,
    }  # fmt: skip


def _calls(zoho: StandIn) -> dict[str, Any]:
    calls = zoho.calls
    return {
        "calls": len(calls), "busiest_minute": zoho.busiest_minute(), "throttled": {str(k): v for k, v in zoho.throttled().items()},
        "tokens": sum(call.path.startswith("/oauth") for call in calls), "log": [vars(call) for call in calls[-1000:]],
    }  # fmt: skip


def _set_limits(zoho: StandIn, *, off: bool = False, **given: int | None) -> dict[str, Any]:
    if unknown := set(given) - _LIMITS:
        message = f"there is no limit {unknown.pop()}; there are: {', '.join(sorted(_LIMITS))}"
        raise ValueError(message)
    if off:
        zoho.limits.off()
    for name, value in given.items():
        setattr(zoho.limits, name, value)
    return {name: getattr(zoho.limits, name) for name in sorted(_LIMITS)}


def _changed(zoho: StandIn, **given: Any) -> list[dict[str, str]]:
    return [{"label": each.kind.label, "id": each.id, "operation": each.operation} for each in zoho.change(**given)]


def _round(zoho: StandIn, **given: Any) -> dict[str, Any]:
    done = zoho.round(**given)
    return {"sent": [written(each) for each in done.sent], "lost": [written(each) for each in done.lost]}


def _skew(zoho: StandIn, seconds: float) -> dict[str, Any]:
    zoho.skew = timedelta(seconds=seconds)
    return {}


def _late(zoho: StandIn, seconds: float) -> dict[str, Any]:
    zoho.late = seconds
    return {}


def _then_nothing(name: str) -> Callable[..., dict[str, Any]]:
    def act(zoho: StandIn, **given: Any) -> dict[str, Any]:
        getattr(zoho, name)(**given)
        return {}

    return act


def _ids(name: str) -> Callable[..., list[str]]:
    def act(zoho: StandIn, **given: Any) -> list[str]:
        ids: list[str] = getattr(zoho, name)(**given)
        return ids

    return act


def _add_fault(zoho: StandIn, **given: Any) -> list[dict[str, Any]]:
    zoho.faults.add(**given)
    return zoho.faults.told()


_ACTS: dict[str, Callable[..., Any]] = {
    "change": _changed,
    "limits": _set_limits,
    "round": _round,
    "faults": _add_fault,
    "skew": _skew,
    "late": _late,
    **{name: _ids(name) for name in ("create", "edit", "edit_in_bulk", "edit_quietly", "delete")},
    **{name: _then_nothing(name) for name in ("turn", "move", "churn", "revoke", "webhooks")},
}
