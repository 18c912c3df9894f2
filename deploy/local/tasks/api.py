"""What each method of the service does; a request is one document of path, query and body, as protobuf has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from common.errors import Conflict, Unknown
from deploy.local.tasks import wire
from deploy.local.tasks.faults import Faults
from deploy.local.tasks.store import Batch, Store
from deploy.local.tasks.wire import PARENT, QUEUE, TASK, Document

Method = Callable[["Api", Document], Document]
_PAGE = 1000


def _about_one(statement: str, shown: Callable[[Document, object], Document]) -> Method:
    """The method that runs a statement about one task or queue and shows the row it answers."""

    def method(api: Api, asked: Document) -> Document:
        found = api.one(statement, asked["name"])
        api.look()
        return shown(found, asked.get("responseView"))

    return method


class Api:
    """The methods, over one store; `look` is called when something may have become ready."""

    def __init__(self, store: Store, faults: Faults, look: Callable[[], None], concurrency: int, shortest_seconds: float) -> None:
        self.look = look
        self._store, self._faults, self._shortest = store, faults, shortest_seconds
        self._rates = {"maxConcurrentDispatches": concurrency}
        self._defaults = wire.queue_from("", self._rates, None)
        self._create = Batch(self._write_tasks)

    def answer(self, verb: str, path: str, given: Document) -> Document:
        """The answer to one request.

        Raises: Refused, Unknown, Conflict, Unavailable.
        """
        for expected, pattern, method in self._METHODS:
            if verb == expected and (found := re.fullmatch(pattern, path)):
                return method(self, given | found.groupdict())
        message = f"no such method here: {verb} {path[:200]}"
        raise Unknown(message)

    def one(self, statement: str, name: str) -> Document:
        """The one row of a statement about `name`."""
        rows: list[Document] = self._store.run(statement, {"name": name})
        if not rows:
            message = f"Requested entity was not found: {name}"
            raise Unknown(message)
        return rows[0]

    def _create_task(self, asked: Document) -> Document:
        task = wire.task_from(wire.mapping(asked.get("task"), "task"), asked["parent"], self._shortest)
        task |= self._faults.draw() | {"queue_defaults": self._defaults}
        if not (made := self._create(task)):
            message = f"Requested entity already exists: {task['name']}"
            raise Conflict(message)
        self.look()
        return wire.task_to(task | made, asked.get("responseView"))

    def _write_tasks(self, tasks: list[Document]) -> list[Document | None]:
        """The row of each task that was made, None for a name that was taken."""
        first = {task["name"]: task for task in reversed(tasks)}
        made = {row["name"]: row for row in self._store.run("create_tasks", list(first.values()))}
        return [made.get(task["name"]) if first[task["name"]] is task else None for task in tasks]

    def _list_tasks(self, asked: Document) -> Document:
        self.one("get_queue", asked["parent"])
        return self._page("tasks", asked, wire.task_to)

    def _list_queues(self, asked: Document) -> Document:
        return self._page("queues", asked, wire.queue_to)

    def _page(self, what: str, asked: Document, shown: Callable[[Document, object], Document]) -> Document:
        wanted = str(asked.get("pageSize"))
        size = min(int(wanted) or _PAGE, _PAGE) if wanted.isdigit() else _PAGE
        where = {"parent": asked["parent"], "after": asked.get("pageToken", ""), "size": size}
        found = [shown(row, asked.get("responseView")) for row in self._store.run(f"list_{what}", where)]
        return {what: found, "nextPageToken": found[-1]["name"] if len(found) == size else ""}

    def _create_queue(self, asked: Document) -> Document:
        name = wire.text(asked.get("name"), QUEUE, "queue.name")
        wire.require(name.startswith(f"{asked['parent']}/queues/"), "queue.name does not belong to the location")
        rates = self._rates | wire.mapping(asked.get("rateLimits"), "rateLimits")
        if not (made := self._store.run("create_queue", wire.queue_from(name, rates, asked.get("retryConfig")))):
            message = "Queue already exists"
            raise Conflict(message)
        return wire.queue_to(made[0])

    def _update_queue(self, asked: Document) -> Document:
        found = self._store.run("get_queue", {"name": asked["name"]})
        queue = wire.queue_to(found[0]) if found else {"rateLimits": {**self._rates}, "retryConfig": {}}
        for path in (asked.get("updateMask") or "rateLimits,retryConfig").split(","):
            group, _, key = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), path).partition(".")
            wire.require(group in {"rateLimits", "retryConfig"}, f"cannot update {path[:100]}")
            queue[group] |= {name: value for name, value in wire.mapping(asked.get(group), group).items() if key in {"", name}}
        [changed] = self._store.run("change_queue", wire.queue_from(asked["name"], queue["rateLimits"], queue["retryConfig"]))
        self.look()
        return wire.queue_to(changed)

    def _set_faults(self, asked: Document) -> Document:
        lose, double = (wire.number(asked.get(key, 0.0), 0, 1, key) for key in ("lose", "double"))
        seed = asked.get("seed")
        self._faults.set(lose, double, None if seed is None else int(wire.number(seed, 0, 2**63, "seed")))
        return {"lose": lose, "double": double, "seed": self._faults.seed}

    def _check_health(self, _asked: Document) -> Document:
        return {"ok": self._store.run("get_queue", {"name": ""}) == []}

    _METHODS: ClassVar[tuple[tuple[str, str, Method], ...]] = (
        ("POST", rf"v2/(?P<parent>{QUEUE})/tasks", _create_task),
        ("GET", rf"v2/(?P<parent>{QUEUE})/tasks", _list_tasks),
        ("GET", rf"v2/(?P<name>{TASK})", _about_one("get_task", wire.task_to)),
        ("DELETE", rf"v2/(?P<name>{TASK})", _about_one("delete_task", lambda *_: {})),
        ("POST", rf"v2/(?P<name>{TASK}):run", _about_one("run_task", wire.task_to)),
        ("POST", rf"v2/(?P<parent>{PARENT})/queues", _create_queue),
        ("GET", rf"v2/(?P<parent>{PARENT})/queues", _list_queues),
        ("GET", rf"v2/(?P<name>{QUEUE})", _about_one("get_queue", wire.queue_to)),
        ("PATCH", rf"v2/(?P<name>{QUEUE})", _update_queue),
        ("POST", rf"v2/(?P<name>{QUEUE}):pause", _about_one("pause_queue", wire.queue_to)),
        ("POST", rf"v2/(?P<name>{QUEUE}):resume", _about_one("resume_queue", wire.queue_to)),
        ("POST", rf"v2/(?P<name>{QUEUE}):purge", _about_one("purge_queue", wire.queue_to)),
        ("POST", "faults", _set_faults),
        ("GET", "healthz", _check_health),
    )
