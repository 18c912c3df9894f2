"""What stands at the providers: places that are deployed to, their deploys, and how those move on with time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from deploy.local.providers.faults import Faults

FIRST = "1" * 40  # the commit that runs everywhere at the beginning
PATHS = {
    "render": ("created", "queued", "build_in_progress", "pre_deploy_in_progress", "update_in_progress", "live"),
    "netlify": ("new", "enqueued", "building", "uploading", "processing", "ready"),
    "github": ("queued", "in_progress", "success"),
}
BACK = {"render": ("created", "update_in_progress", "live"), "netlify": ("ready",), "github": PATHS["github"]}
GOOD = frozenset({"live", "ready", "success"})
BAD = {"render": "build_failed", "netlify": "error", "github": "failure"}
OVER = GOOD | {
    "deactivated", "build_failed", "pre_deploy_failed", "update_failed", "canceled", "error", "rejected", "failure", "inactive",
}  # fmt: skip


@dataclass
class Deploy:
    """One deploy; `path` is what becomes of it, state by state."""

    id: str
    commit: str | None
    path: Sequence[str]
    trigger: str
    created_at: datetime
    artifact: str | None = None
    key: str | None = None
    at: int = 0
    word: str = ""
    message: str | None = None
    finished_at: datetime | None = None
    published_at: datetime | None = None
    hidden: int = 0  # so many looks at the list do not show it yet
    lies: bool = False  # it says that it is live, and the old version runs on
    is_waiting: bool = False  # for somebody to begin the work
    statuses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing becomes of it any more."""
        return self.word in OVER


@dataclass
class Place:
    """Something that is deployed to."""

    name: str
    provider: str
    id: str
    variables: dict[str, str]
    workflow: str | None = None
    is_automatic: bool = False  # a push deploys
    is_locked: bool = False
    head: str = FIRST
    deploys: list[Deploy] = field(default_factory=list)  # the oldest first
    live: Deploy | None = None
    running: str | None = None  # the commit that really runs
    lines: list[tuple[datetime, str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def find(self, identifier: str) -> Deploy | None:
        """The deploy of that id."""
        return next((each for each in self.deploys if each.id == identifier), None)


class World:
    """Every place, on one clock."""

    def __init__(self, faults: Faults, step: float) -> None:
        self.faults = faults
        self.step = step
        self.turned = 0.0
        self.places: dict[str, Place] = {}
        self._numbers = itertools.count(1)

    def now(self) -> datetime:
        """The time it is here."""
        return datetime.fromtimestamp(time.time() + self.turned, UTC)

    def number(self) -> int:
        """One that nothing has yet."""
        return next(self._numbers)

    def place(self, provider: str, identifier: str) -> Place | None:
        """The place that a provider knows by this id."""
        return next((each for each in self.places.values() if each.provider == provider and each.id == identifier), None)

    def open(self, place: Place) -> Place:
        """Make a place known, in which the first commit runs."""
        self.places[place.name] = place
        first = Deploy(self.identifier(place), FIRST, PATHS[place.provider][-1:], "manual", self.now())
        place.deploys.append(first)
        self._say(place, first, first.path[-1])
        self._finish(place, first)
        return place

    def identifier(self, place: Place) -> str:
        """An id for a new deploy there."""
        number = self.number()
        return {"render": f"dep-{number:06d}", "netlify": f"{number:024x}", "github": str(1000 + number)}[place.provider]

    # What happens

    def begin(
        self, place: Place, commit: str | None, trigger: str, *, back: bool = False, artifact: str | None = None,
        key: str | None = None,
    ) -> Deploy:  # fmt: skip
        """Begin a deploy, or, by a fault, two of them; the last one."""
        path = (BACK if back else PATHS)[place.provider]
        deploy = Deploy(self.identifier(place), commit, path, trigger, self.now(), artifact=artifact, key=key)
        if self.faults.takes("doubled", place.name, commit):
            self._enter(place, replace(deploy, statuses=[]))
            deploy.id = self.identifier(place)
        self._enter(place, deploy)
        return deploy

    def _enter(self, place: Place, deploy: Deploy) -> None:
        path, name, commit = deploy.path, place.name, deploy.commit
        if fault := self.faults.takes("fails", name, commit):
            deploy.path = (*path[:-1], str(fault.value or BAD[place.provider]))
            deploy.message = "The build said no."
        if fault := self.faults.takes("stuck", name, commit):
            deploy.path = path[: path.index(str(fault.value)) + 1] if fault.value in path else path[:-1]
        if fault := self.faults.takes("strange", name, commit):
            deploy.path = (*path[:-1], str(fault.value or "reticulating_splines"))
        if fault := self.faults.takes("late", name, commit):
            deploy.hidden = int(fault.value or 2)
        deploy.lies = self.faults.takes("lies", name, commit) is not None
        deploy.is_waiting = place.workflow is not None
        place.deploys.append(deploy)
        if not deploy.is_waiting:
            self._say(place, deploy, deploy.path[0])

    def settle(self, place: Place, *, looked: bool = False) -> None:
        """Move on what has become due; with a step of 0, what was looked at."""
        for deploy in list(place.deploys):
            if deploy.is_over or deploy.is_waiting:
                continue
            elapsed = (self.now() - deploy.created_at).total_seconds()
            due = int(elapsed / self.step) if self.step else deploy.at + int(looked)
            while deploy.at < min(due, len(deploy.path) - 1):
                deploy.at += 1
                self._say(place, deploy, deploy.path[deploy.at])
            if deploy.word in OVER:
                self._finish(place, deploy)

    def end(self, deploy: Deploy, word: str, message: str | None = None) -> None:
        """End a deploy before its time."""
        deploy.word, deploy.message, deploy.finished_at = word, message or deploy.message, self.now()

    def publish(self, place: Place, deploy: Deploy) -> None:
        """Let a deploy serve."""
        if place.live and place.live is not deploy and place.provider == "render":
            place.live.word = "deactivated"
        place.live = deploy
        deploy.published_at = self.now()
        if not deploy.lies or place.running is None:
            place.running = deploy.commit or deploy.artifact

    def push(self, commit: str) -> None:
        """A new newest commit; whoever deploys by himself does so."""
        for place in self.places.values():
            place.head = commit
            if place.is_automatic:
                self.begin(place, commit, "new_commit")

    def _say(self, place: Place, deploy: Deploy, word: str) -> None:
        deploy.word = word
        if place.provider == "github":
            self.status(deploy, word)

    def status(self, deploy: Deploy, word: str, description: str = "") -> dict[str, Any]:
        """Note a status of a deployment, as GitHub does."""
        said = {"id": self.number(), "state": word, "description": description, "created_at": self.now().isoformat()}
        deploy.statuses.append(said)
        return said

    def _finish(self, place: Place, deploy: Deploy) -> None:
        deploy.finished_at = self.now()
        if deploy.word in GOOD and not (place.provider == "netlify" and place.is_locked):
            self.publish(place, deploy)
