"""The deploys of the demonstration: one that goes live on three providers, and one whose numbers are bad, which is taken back.

It asks the stand-ins themselves what runs there in the end.
"""

from __future__ import annotations

import os
import time
from typing import Any

from rich.console import Console

from common.flows import deployment_status
from deploy.bars import Bars, of_deployment
from deploy.client import Api
from deploy.commands.watching import OVER
from deploy.local import hosting, source

TARGETS = {"page": "page", "web": "web", "api": "api"}  # names here, and of the stand-in's places
WAVES = [["page"], ["web", "api"]]
GATES = {"metrics": [{"name": "error_rate", "max": 0.05, "count": 2, "interval_seconds": 1}]}
LOOK_SECONDS = 0.5
MOST_SECONDS = 180.0
POLL = "/admin/config/deploy.poll_seconds"


def run() -> list[str]:
    """Show both; what does not add up, in words.

    Raises: OSError, when nobody answers; Problem, when a request is refused.
    """
    console = Console(highlight=False)
    api, url = Api(), os.environ[hosting.URL]
    usual = api.get(POLL)["value"]
    api.call("PATCH", POLL, {"value": 1})
    try:
        return Show(console, api, url).go()
    finally:
        api.call("PATCH", POLL, {"value": usual})


class Show:
    """The stand-ins, and whoever deploys to them."""

    def __init__(self, console: Console, api: Api, url: str) -> None:
        self._console = console
        self._api = api
        self._url = url

    def go(self) -> list[str]:
        """Deploy well, then badly; what does not add up."""
        for name, place in TARGETS.items():
            self._api.call("PUT", f"/api/hxo/targets/{name}", source.ask(self._url, "target", {"name": place}))
        good, bad = (f"{number:02x}{int(time.time() * 1000):038x}" for number in (1, 2))
        say = self._console.print
        say(f"\n5. A deploy of {good[:12]} to Netlify, then to Render and GitHub; the providers are stand-ins, at {self._url}.")
        faults = self._deployed(good, "live", good)
        source.ask(self._url, "behave", {"commit": bad, "place": "web", "error_rate": 0.4})
        say(f"\n6. A deploy of {bad[:12]}, which answers two of five requests with an error once it is out.")
        faults += self._deployed(bad, "rolled_back", good)
        self._unfreeze()
        if faults:
            say("[bold red]This does not add up.[/]")
        else:
            say(f"[bold green]Every target serves {good[:12]}[/].\n")
        return faults

    def _deployed(self, commit: str, wanted: str, runs: str) -> list[str]:
        """Deploy a commit and watch it to its end; what is not as it should be then."""
        source.ask(self._url, "commit", {"commit": commit})
        asked = {"targets": list(TARGETS), "commit": commit, "strategy": {"kind": "waves", "waves": WAVES}, "gates": GATES}
        began = time.monotonic()
        identifier = self._api.call("POST", "/api/hxo/deployments", asked)["deployment_id"]
        found = self._watched(identifier)
        if found["rolled_back_by"]:
            self._console.print(f"  {found['reason']}. It is taken back:")
            self._watched(found["rolled_back_by"])
            found = _found(identifier)
        places = source.ask(self._url, "")["places"]
        self._console.print(f"  {found['status'].replace('_', ' ')} after {time.monotonic() - began:.0f} s.")
        faults = [] if found["status"] == wanted else [f"the deploy of {commit[:12]} is {found['status']}: {found['reason']}"]
        running = {place: places[place]["running"] for place in TARGETS.values()}
        return faults + [f"{place} runs {commit}, not {runs}" for place, commit in running.items() if commit != runs]

    def _watched(self, identifier: str) -> dict[str, Any]:
        """How a deployment stands once nothing more is done in it; after three minutes however it stands."""
        until = time.monotonic() + MOST_SECONDS
        with Bars(self._console) as bars:
            while True:
                found = _found(identifier)
                bars.show(of_deployment(found))
                if found["status"] in (*OVER, "rolling_back") or time.monotonic() > until:
                    return found
                time.sleep(LOOK_SECONDS)

    def _unfreeze(self) -> None:
        """What a rollback switched off, so that nothing brings the bad version back, is allowed again."""
        newest = self._api.get("/api/hxo/deployments", limit=1)["deployments"][0]["deployment_id"]
        frozen = [target["name"] for target in _found(newest)["targets"] if target["frozen"]]
        self._console.print(
            f"  Deploys that nobody here asked for were switched off at {', '.join(frozen)}; they are allowed again."
        )
        self._api.call("POST", f"/api/hxo/deployments/{newest}/unfreeze")


def _found(identifier: str) -> dict[str, Any]:
    """How it stands: read where it stands, as an operator may ask sixty times a minute only."""
    return deployment_status.show(identifier)
