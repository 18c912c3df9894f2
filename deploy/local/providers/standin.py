"""The stand-in as one thing: the places, the server, and everything that can be done to it."""

from __future__ import annotations

import hmac
import threading
from types import TracebackType
from typing import Any, NamedTuple, Self

from starlette.requests import Request

from deploy.local.providers import apps, control, github, netlify, render
from deploy.local.providers.apps import Manners
from deploy.local.providers.faults import Faults
from deploy.local.providers.server import Server, application
from deploy.local.providers.wire import Call, Row, Said
from deploy.local.providers.world import Place, World

KEYS = {"/v1/": "rnd_key_of_the_standin", "/api/v1/": "nfp_key_of_the_standin", "/repos/": "ghp_key_of_the_standin"}
HTML = "<html><body>Something went wrong.</body></html>"
BEFORE = {
    "conflict": Said(409, {"message": "another deploy is in progress"}),
    "error": Said(500, HTML),
    "unavailable": Said(503, HTML),
    "refused": Said(403, {"message": "forbidden"}),
    "garbled": Said(200, HTML),
}


class Called(NamedTuple):
    """One call of an API or a hook."""

    method: str
    path: str
    query: dict[str, str]
    document: Any
    status: int


class StandIn:
    """Render, Netlify and GitHub on a port of this machine; what it can do is told in the docstring of the package.

    `step` is how many seconds a deploy stays in each state; 0: each look at it moves it on by one.
    """

    def __init__(self, *, step: float = 0.0, port: int = 0) -> None:
        self.faults = Faults()
        self.journal: list[Called] = []
        self._world = World(self.faults, step)
        self._manners = Manners()
        self._lock = threading.RLock()
        variables = {"SECRET_KEY": "a-secret-of-the-site", "DATABASE_URL": "postgresql://db.example.com/site", "LOG_LEVEL": "info"}
        for name, provider, identifier in (
            ("web", "render", "srv-web0000000000000001"),
            ("green", "render", "srv-green00000000000002"),
            ("page", "netlify", "0a1b2c3d-page"),
            ("api", "github", "team/api"),
        ):
            workflow = "deploy.yml" if provider == "github" else None
            self._world.open(Place(name, provider, identifier, dict(variables), workflow))
        rows: list[Row] = [
            *render.rows(self._manners, lambda: self.url),
            *netlify.rows(lambda: self.url),
            *github.rows(lambda: self.url),
            *apps.rows(self._manners),
            *control.rows(self),
        ]
        self._server = Server(application(rows, self._answered), port)

    def start(self) -> Self:
        """Listen."""
        self._server.start()
        return self

    def stop(self) -> None:
        """End every connection."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # Looking

    @property
    def url(self) -> str:
        """The origin of all three APIs, and of the sites."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def places(self) -> dict[str, Place]:
        """Everything that is deployed to, by name."""
        with self._lock:
            for place in self._world.places.values():
                self._world.settle(place)
            return self._world.places

    def site(self, name: str) -> str:
        """Where the service of a place runs."""
        return f"{self.url}/sites/{name}"

    def hook(self, name: str) -> str:
        """The deploy hook of a Render service, or the build hook of a Netlify site."""
        place = self._world.places[name]
        if place.provider == "render":
            return f"{self.url}/deploy/{place.id}?key={render.hook_key(place)}"
        return f"{self.url}/build_hooks/{netlify.hook_id(place)}"

    def environment(self) -> dict[str, str]:
        """The variables that make the targets `render`, `render-green`, `netlify` and `github` lead here."""
        places = self._world.places
        return {
            "RENDER_API_URL": self.url,
            "RENDER_API_KEY": KEYS["/v1/"],
            "RENDER_SERVICE_ID": places["web"].id,
            "RENDER_DEPLOY_HOOK": self.hook("web"),
            "RENDER_DEPLOY_HOOK_GREEN": self.hook("green"),
            "NETLIFY_API_URL": self.url,
            "NETLIFY_AUTH_TOKEN": KEYS["/api/v1/"],
            "NETLIFY_SITE_ID": places["page"].id,
            "NETLIFY_DEPLOY_HOOK": self.hook("page"),
            "GITHUB_API_URL": self.url,
            "GITHUB_TOKEN": KEYS["/repos/"],
            "GITHUB_REPOSITORY": places["api"].id,
            "EGRESS_ALLOW": f"127.0.0.1:{self._server.port}",
        }

    def target(self, name: str) -> dict[str, Any]:
        """A place as PUT /api/hxo/targets/<name> takes it."""
        place = self._world.places[name]
        own: dict[str, dict[str, Any]] = {
            "render": {"service_id": place.id},
            "netlify": {"site_id": place.id},
            "github": {"repository": place.id, "environment": "production", "workflow": place.workflow, "branch": "main"},
        }
        shared = {"url": self.site(name), "health_path": "/health/live", "version_path": "/version", "version_field": "version"}
        return {"provider": place.provider, "config": own[place.provider] | shared}

    def triggers(self, name: str) -> int:
        """How many deploys were begun there by whoever calls the API or a hook, put back ones included."""
        return sum(deploy.trigger in {"api", "deploy_hook", "rollback"} for deploy in self._world.places[name].deploys)

    def forget(self) -> None:
        """Begin a new journal."""
        with self._lock:
            self.journal.clear()

    # Changing

    def commit(self, commit: str) -> None:
        """A new newest commit of every branch; nobody does anything with it."""
        with self._lock:
            for place in self._world.places.values():
                place.head = commit

    def push(self, commit: str) -> None:
        """A new newest commit, which is deployed wherever that happens by itself."""
        with self._lock:
            self._world.push(commit)

    def behave(self, commit: str, *, place: str = "", **manners: Any) -> None:
        """From now on this commit runs like this, everywhere or in one place; see apps.WELL.

        Raises: ValueError, for what nothing behaves by.
        """
        with self._lock:
            self._manners.tell(commit, place=place, **manners)

    def say(self, name: str, text: str) -> None:
        """Write a line into the log of a place."""
        with self._lock:
            self._world.places[name].lines.append((self._world.now(), text))

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._world.turned += seconds

    # Answering

    def _answered(self, row: Row, call: Call, request: Request) -> tuple[Said, float]:
        with self._lock:
            if call.path.startswith("/_/"):
                return row.answer(self._world, call), 0.0
            if call.path.startswith("/sites/"):
                place = self._world.places.get(call.ids["name"])
                slow = self.faults.called("slow", call.method, call.path)
                seconds = float(self._manners.of(place)["slow"]) if place else 0.0
                return row.answer(self._world, call), float(slow.value or 1) if slow else seconds
            slow = self.faults.called("slow", call.method, call.path)
            said = self._refused(call, request) or self._done(row, call)
            self.journal.append(Called(call.method, call.path, dict(call.arguments), call.document, said.status))
            return said, float(slow.value or 1) if slow else 0.0

    def _refused(self, call: Call, request: Request) -> Said | None:
        for beginning, key in KEYS.items():
            if call.path.startswith(beginning):
                offered = request.headers.get("authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(offered, key):
                    return Said(401, {"message": "Unauthorized"})
        if fault := self.faults.called("throttled", call.method, call.path):
            return Said(429, {"message": "rate limit exceeded"}, {"Retry-After": str(fault.value or 7)})
        for name, said in BEFORE.items():
            if self.faults.called(name, call.method, call.path):
                return said
        return None

    def _done(self, row: Row, call: Call) -> Said:
        said = row.answer(self._world, call)
        if self.faults.called("empty", call.method, call.path):
            return Said(202)
        if self.faults.called("lost", call.method, call.path):
            return Said(502, HTML)
        return said
