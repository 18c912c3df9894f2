"""A local stand-in for Google Cloud Tasks: REST v2 over Postgres, for the real client and loopback targets only.

It keeps the service's promises (names that stay taken, retries, limits, deadlines) and, on request, its rare sins:
a task lost, a task delivered twice. It does not slow a queue down after errors, ramp up, or check who calls.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from common import log
from deploy.local.tasks.api import Api
from deploy.local.tasks.delivery import Token
from deploy.local.tasks.dispatch import Dispatcher, is_spent, pause_before_retry
from deploy.local.tasks.faults import Faults
from deploy.local.tasks.server import Server
from deploy.local.tasks.store import Store

__all__ = ["LocalTasks", "Token", "is_spent", "pause_before_retry"]


class LocalTasks:
    """The look-alike: a REST server and a dispatcher over one database, started and stopped as one.

    `token(audience, url)` makes the bearer token of tasks with an oidcToken; without it they get no such header.
    `concurrency` is what new queues get; `lease` is how long a killed dispatcher's tasks wait for redelivery;
    `shortest_deadline` and `tombstone` are the service's unless a test has no time for them.
    """

    def __init__(
        self,
        database_url: str,
        port: int = 0,
        *,
        token: Token | None = None,
        lose: float = 0.0,
        double: float = 0.0,
        seed: int | None = None,
        concurrency: int = 8,
        workers: int = 64,
        lease: timedelta = timedelta(seconds=10),
        tombstone: timedelta = timedelta(hours=1),
        shortest_deadline: timedelta = timedelta(seconds=15),
    ) -> None:
        self.port = port
        self.faults = Faults(lose, double, seed)
        self._store = Store(database_url)
        self._dispatcher = Dispatcher(self._store, token, workers, lease, tombstone)
        self._api = Api(self._store, self.faults, self._dispatcher.look, concurrency, shortest_deadline.total_seconds())
        self._server: Server | None = None

    def start(self) -> None:
        """Create the schema where it is missing, listen on 127.0.0.1 and dispatch what is due."""
        self._store.run("schema")
        self._server = Server(self.port, self._api)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._dispatcher.start()
        log.info("tasks.listening", port=self.port)

    def stop(self, patience: timedelta = timedelta(seconds=1)) -> None:
        """Stop within two seconds; what is still being dispatched then is given back for redelivery."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        self._dispatcher.stop(patience)
        self._store.close()
