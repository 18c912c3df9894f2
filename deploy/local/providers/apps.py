"""How the versions that are deployed run: well, unless a commit was told to behave otherwise; and their sites."""

from __future__ import annotations

from typing import Any

from deploy.local.providers.wire import Call, Row, Said, missing
from deploy.local.providers.world import Place, World

# What a version does that nobody said anything of.
WELL: dict[str, Any] = {
    "health": 200,  # the status at /health/live
    "error_rate": 0.001,  # the share of requests that are answered 5xx
    "latency_p95_ms": 40.0,
    "requests": 1000,  # in any window that is asked for
    "cpu": 0.2,
    "memory": 0.3,
    "lines": (),  # of its log, in any window that is asked for
    "slow": 0.0,  # seconds until any page comes
}


class Manners:
    """How commits behave, everywhere or in one place."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], dict[str, Any]] = {}

    def tell(self, commit: str, *, place: str = "", **manners: Any) -> None:
        """From now on it behaves like this.

        Raises: ValueError, for what is not in WELL.
        """
        if unknown := set(manners) - set(WELL):
            message = f"nothing behaves by {unknown.pop()!r}; there are: {', '.join(WELL)}"
            raise ValueError(message)
        self._told.setdefault((commit, place), {}).update(manners)

    def of(self, place: Place) -> dict[str, Any]:
        """How what runs there behaves."""
        commit = place.running or ""
        return WELL | self._told.get((commit, ""), {}) | self._told.get((commit, place.name), {})


def rows(manners: Manners) -> list[Row]:
    """The pages of the sites."""

    def page(world: World, call: Call) -> Said:
        place = world.places.get(call.ids["name"])
        if place is None:
            return missing("site")
        world.settle(place)
        manner = manners.of(place)
        if call.ids["rest"] == "health/live":
            return Said(manner["health"], {"status": "ok" if manner["health"] == 200 else "sick"})  # noqa: PLR2004
        if call.ids["rest"] == "version":
            return Said(200, {"version": place.running, "name": place.name})
        return Said(200, {"page": call.ids["rest"], "version": place.running})

    return [Row("GET", "/sites/{name}/{rest:path}", page), Row("POST", "/sites/{name}/{rest:path}", page)]
