"""The stand-in's own routes, for people and for tests in other processes: what its methods do, over HTTP.

GET /_/ says what there is; GET and DELETE /_/journal, /_/faults. POST /_/<method> calls a method with a JSON object:

    faults {"name": "throttled", "calls": 2, "path": "/deploys", "value": 3}    commit {"commit": "..."}    push {"commit": "..."}
    behave {"commit": "...", "place": "web", "error_rate": 0.4, "lines": ["boom"]}    turn {"seconds": 60}
    place {"name": "web", "variables": {"A": "1"}, "is_automatic": true}    target {"name": "web"}: as /api/hxo/targets takes it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploy.local.providers.faults import NAMES
from deploy.local.providers.wire import Call, Row, Said
from deploy.local.providers.world import World

if TYPE_CHECKING:
    from deploy.local.providers.standin import StandIn

SETTABLE = {"variables", "is_automatic", "is_locked", "head"}


def rows(providers: StandIn) -> list[Row]:
    """Its routes."""
    looks: dict[str, Callable[[], Any]] = {
        "": lambda: _about(providers),
        "journal": lambda: [each._asdict() for each in providers.journal],
        "faults": providers.faults.told,
    }
    acts: dict[str, Callable[..., Any]] = {
        "faults": providers.faults.add,
        "commit": providers.commit,
        "push": providers.push,
        "behave": providers.behave,
        "turn": providers.turn,
        "target": providers.target,
        "place": lambda **given: _set(providers, **given),
    }
    forgets: dict[str, Callable[[], Any]] = {"journal": providers.forget, "faults": providers.faults.clear}

    def answer(_: World, call: Call) -> Said:
        table = {"GET": looks, "POST": acts, "DELETE": forgets}[call.method]
        act = table.get(call.ids.get("name", ""))
        if act is None:
            return Said(404, {"error": f"there is no {call.method} {call.path}"})
        try:
            found = act(**(call.document or {})) if call.method == "POST" else act()
        except (TypeError, ValueError, KeyError) as error:
            return Said(400, {"error": str(error)})
        return Said(200, {} if found is None else found)

    return [Row("GET", "/_/", answer), *(Row(method, "/_/{name}", answer) for method in ("GET", "POST", "DELETE"))]


def _about(providers: StandIn) -> dict[str, Any]:
    places = {
        name: {
            "provider": place.provider,
            "id": place.id,
            "live": place.live.commit if place.live else None,
            "running": place.running,
            "url": providers.site(name),
            "automatic": place.is_automatic,
            "locked": place.is_locked,
        }
        for name, place in providers.places.items()
    }
    return {"environment": providers.environment(), "places": places, "faults": NAMES}


def _set(providers: StandIn, *, name: str, **given: Any) -> None:
    if unknown := set(given) - SETTABLE:
        message = f"{unknown.pop()} cannot be set; what can: {', '.join(sorted(SETTABLE))}"
        raise ValueError(message)
    for key, value in given.items():
        setattr(providers.places[name], key, value)
