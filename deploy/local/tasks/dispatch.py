"""Claims what is ready, has it delivered, and decides what comes next; what is ready, and may run, Postgres says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from common import log
from deploy.local.tasks.delivery import Token, deliver
from deploy.local.tasks.store import Batch, Store
from deploy.local.tasks.wire import Document

_SUCCESS: Final = range(200, 300)


def pause_before_retry(failures: int, retry: Mapping[str, float]) -> float:
    """Seconds to wait after so many failed attempts: doubled `maxDoublings` times, then linear, then level."""
    doublings = min(failures - 1, int(retry["maxDoublings"]))
    steps = max(1, failures - int(retry["maxDoublings"]))
    return float(min(retry["maxBackoff"], retry["minBackoff"] * 2**doublings * steps))


def is_spent(attempts: int, age_seconds: float, retry: Mapping[str, float]) -> bool:
    """Whether no further attempt is made: the attempts and, where one is set, the time are both used up."""
    by_count, by_age = retry["maxAttempts"], retry["maxRetryDuration"]
    if by_count == -1 and by_age == 0:
        return False
    return (by_count == -1 or attempts >= by_count) and age_seconds >= by_age


class Dispatcher:
    """Dispatches from the store until it is stopped, `workers` tasks at once at most."""

    def __init__(self, store: Store, token: Token | None, workers: int, lease: timedelta, tombstone: timedelta) -> None:
        self._store, self._token, self._workers = store, token, workers
        self._lease, self._tombstone = lease.total_seconds(), tombstone.total_seconds()
        self._finish = Batch(self._write_outcomes)
        self._running: dict[str, int] = {}  # the lease's token by the task's name
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Dispatch what is due from here on."""
        self._threads = [_in_thread(self._dispatch), _in_thread(self._keep)]

    def look(self) -> None:
        """Something may have become ready."""
        self._wake.set()

    def stop(self, patience: timedelta) -> None:
        """Claim no more, and give back for redelivery what is still being dispatched when patience ends."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(0.5)
        give_up = time.monotonic() + patience.total_seconds()
        while self._running and time.monotonic() < give_up:
            time.sleep(0.005)
        left, self._running = self._running, {}
        if left:
            with suppress(Exception):  # without Postgres the leases end by themselves
                self._store.run("release", [{"name": name, "token": token} for name, token in left.items()])
            log.warning("tasks.given_back", count=len(left))

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                tasks, wait = self._claim()
            except Exception as error:  # noqa: BLE001 - a dispatcher that ends would be noticed by nobody
                log.warning("dispatch.waiting", reason=str(error))
                tasks, wait = [], 0.2
            for task in tasks:
                self._running[task["name"]] = task["token"]
                _in_thread(self._attempt, task)
                if task["is_doubled"] and task["dispatches"] == 1:
                    # At the same moment, not after: only then do two handlers meet.
                    _in_thread(deliver, task, self._token)
            if not tasks:
                self._wake.wait(max(0.001, min(1.0, wait)))

    def _claim(self) -> tuple[list[Document], float]:
        """What to dispatch now, and for how many seconds there will be nothing more by the clock alone."""
        if (room := self._workers - len(self._running)) <= 0:
            return [], 1.0
        [found] = self._store.run("claim", {"room": room, "lease_seconds": self._lease})
        wait = found["wait_seconds"]
        return found["tasks"], 1.0 if wait is None else wait

    def _attempt(self, task: Document) -> None:
        name, attempts = task["name"], task["dispatches"]
        try:
            began = time.monotonic()
            got = deliver(task, self._token)
            outcome, pause = None, 0.0
            if got.is_refused:
                outcome = "refused"
            elif got.status in _SUCCESS:
                outcome = "done"
            elif is_spent(attempts, task["age_seconds"] + time.monotonic() - began, task["retry"]):
                outcome = "exhausted"
            else:
                pause = max(pause_before_retry(attempts, task["retry"]), got.retry_after)
                log.info("task.failed", name=name, attempt=attempts, reason=got.reason, retry_seconds=pause)
            if outcome in {"refused", "exhausted"}:
                log.error(f"task.{outcome}", name=name, attempts=attempts, reason=got.reason)
            if name in self._running:
                self._finish({
                    "name": name, "token": task["token"], "status": got.status, "outcome": outcome, "reason": got.reason,
                    "delay_seconds": pause,
                })  # fmt: skip
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread; the lease ends by itself
            log.error("attempt.broken", name=name, reason=repr(error))
        finally:
            if self._running.get(name) == task["token"]:
                self._running.pop(name, None)
            self._wake.set()

    def _write_outcomes(self, outcomes: list[Document]) -> list[None]:
        self._store.run("finish", outcomes)
        return [None] * len(outcomes)

    def _keep(self) -> None:
        """Keep the leases of what is being dispatched, and let old names go."""
        while not self._stopping.wait(min(1.0, self._lease / 4)):
            try:
                if mine := list(self._running.items()):
                    renewed = [{"name": name, "token": token, "lease_seconds": self._lease} for name, token in mine]
                    self._store.run("renew", renewed)
                self._store.run("forget", {"tombstone_seconds": self._tombstone})
            except Exception as error:  # noqa: BLE001 - the next round may do better
                log.warning("lease.not_kept", reason=str(error))


def _in_thread(duty: Callable[..., Any], *given: object) -> threading.Thread:
    thread = threading.Thread(target=duty, args=given, daemon=True)
    thread.start()
    return thread
