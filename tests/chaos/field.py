"""Where a campaign is fought: a durable Postgres, a proxy before it, the task queue, a source, and gateways that are born again.

All of them are real processes on loopback; this one watches them, ticks, and keeps count.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import db, settings
from common.flows import migrate
from deploy.local import source
from deploy.local.postgres import Cluster
from tests.chaos import recorder
from tests.chaos.gateway import Gateway, is_served, request
from tests.chaos.nursery import ROOT, Nursery
from tests.chaos.processes import HOST, Program, environment, eventually, free_port
from tests.chaos.proxy import Remote
from tests.conftest import OWNER, VARIABLES, forget
from tests.make import a_ring

TEMPLATE = "template_campaign"
ATTEMPTS = 5
# What operators could set, made quick: a campaign has no half hours. The source's own limits are another test's.
QUICK = f"""
    update public.tds_configuration set config_value = to_jsonb(v.value)
      from (values ('max_retry_attempts', '{ATTEMPTS}'), ('retry_backoff_base_ms', '100'), ('retry_backoff_max_ms', '1000'),
                   ('lock_timeout_seconds', '3'), ('batch_size', '25')) v (key, value)
     where config_key = v.key;
    update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day');
    update tidemark.settings set value = '100000' where key in ('zoho.burst', 'operator.calls_per_minute', 'operator.calls_per_hour');
    update tidemark.settings set value = '1' where key in ('sync.lookback_seconds', 'breaker.open_seconds');
    update tidemark.schedules set enabled = false;
    insert into tidemark.schedules (name, cron, function, enabled, catch_up, catch_up_limit, overlap, created_by, updated_by, next_slot)
    select 'own-' || n, '* * * * *', case n % 3 when 0 then 'heal' else 'process' end, true, 'all', 20,
           case n % 2 when 0 then 'queue' else 'allow' end, 'campaign', 'campaign', date_trunc('minute', now()) - interval '5 minutes'
      from generate_series(1, 6) n;
"""
SOURCE = {"customer": 150, "bill": 60}  # what the source has, and the sync reads


class Grounds:
    """What several campaigns share: the server with a migrated template, and the nursery."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tidemark-campaign-"))
        self.directory.chmod(0o711)
        self.cluster = Cluster(self.directory / "pg", settings={"max_connections": "80"})
        self.cluster.start()
        self.nursery = Nursery(self.directory / "nursery.log")
        self._names = itertools.count(1)
        url = self.cluster.url(TEMPLATE)
        sql(self.cluster.url(), f"create database {TEMPLATE}")
        self._believe(url)
        with (self.directory / "migrate.log").open("w") as log, contextlib.redirect_stdout(log):
            migrate.run()
        db.pool().discard()
        recorder.install(url)
        sql(url, QUICK)

    def database(self) -> str:
        """The URL of a new database, with this process's own settings pointing at it."""
        name = f"campaign_{next(self._names)}"
        sql(self.cluster.url(), f"create database {name} template {TEMPLATE}")
        return name

    def _believe(self, url: str, **more: str) -> None:
        for variable in settings.Settings.__dataclass_fields__:
            os.environ.pop(variable.upper(), None)
        os.environ.update(VARIABLES | {"DATABASE_URL": url} | more)
        forget()

    believe = _believe

    def close(self) -> None:
        """Stop everything."""
        self.nursery.close()
        self.cluster.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)


def sql(url: str, text: str, seconds: float = 30) -> list[list[Any]]:
    """Run SQL as the owner, past the proxy.

    Raises: AppError, by the database's own error class.
    """
    connection = db.Connection(db.Address(url))
    try:
        connection.raw.settimeout(seconds)
        with db._ours():
            return connection.script(text)
    finally:
        connection.close()


class Field:
    """One campaign's database and processes."""

    def __init__(
        self, grounds: Grounds, *, seed: int, gateways: int, dress: Mapping[str, Any], with_source: bool, extra_sql: str = ""
    ) -> None:
        self.cluster = grounds.cluster
        self.url = grounds.cluster.url(database := grounds.database())
        self.counts: collections.Counter[str] = collections.Counter()
        self.chance = random.Random(f"field {seed}")
        self.is_busy = False  # whether work is in flight, as far as was seen lately
        if extra_sql:
            sql(self.url, extra_sql)
        self._nursery = grounds.nursery
        self._directory = Path(tempfile.mkdtemp(prefix="run-", dir=grounds.directory))
        self.notes = self._directory / "notes"
        self.log = self._directory / "gateways.log"
        self.proxy = Remote(f"{grounds.cluster.sockets}/.s.PGSQL.5432", seed)
        seen = f"postgresql://postgres@{HOST}:{self.proxy.port}/{database}?sslmode=disable"
        port = free_port()
        command = [*f"-m deploy.local.tasks --port {port} --lease-seconds 2 --seed {seed} --concurrency 12".split()]
        self.tasks = Program([sys.executable, *command], port, {"PATH": os.environ["PATH"], "DATABASE_URL": self.url})
        more = {"TASKS_ENDPOINT": f"{HOST}:{port}", "FUNCTION_TIMEOUT_SECONDS": "10", "DB_POOL": "8"}
        self.source: Program | None = None
        if with_source:
            more |= self._source(seed)
        grounds.believe(self.url, **more)
        self.tasks.start()
        self.gateways = [Gateway(number, self.bear) for number in range(gateways)]
        self._environment = {"PATH": os.environ["PATH"], **environment(seen, **more)}
        self._dress = {"notes": str(self.notes), "seed": seed, **dress}
        self._enough = threading.Event()
        for gateway in self.gateways:
            gateway.bear()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._tick, self._look)]
        for gateway in self.gateways:
            eventually(lambda each=gateway: is_served(each), 40, f"{gateway.name}: {self.said()}")
        for thread in self._threads:
            thread.start()

    def _source(self, seed: int) -> dict[str, str]:
        port = free_port()
        sizes = [word for label, size in SOURCE.items() for word in (f"--{label}s", str(size))]
        command = [
            sys.executable,
            "-m",
            "deploy.local.zoho",
            "--port",
            str(port),
            "--seed",
            str(seed),
            "--size",
            "3",
            "--no-limits",
        ]
        self.source = Program([*command, *sizes], port, {"PATH": os.environ["PATH"]}, ROOT).start()
        said = source.ask(f"http://{HOST}:{port}", "")
        return {
            "ZOHO_API_URL": said["api_url"], "ZOHO_ACCOUNTS_URL": said["accounts_url"], "ZOHO_CLIENT_ID": said["client_id"],
            "ZOHO_CLIENT_SECRET": said["client_secret"], "ZOHO_REFRESH_TOKEN": said["refresh_token"],
        }  # fmt: skip

    def calm(self) -> None:
        """From here on nobody pauses at a bad moment."""
        Path(f"{self.notes}.calm").touch()

    # For gateways

    def bear(self, gateway: Gateway) -> int:
        """A process for it: it rings its neighbour, so that tasks find others than who rang."""
        neighbour = self.gateways[(self.gateways.index(gateway) + 1) % len(self.gateways)]
        variables = {**self._environment, "FUNCTIONS_URL": f"http://{HOST}:{neighbour.port}"}
        dress = {**self._dress, "seed": self._dress["seed"] * 1000 + self.counts["births"]}
        self.counts["births"] += 1
        return self._nursery.bear({"port": gateway.port, "log": str(self.log), "environment": variables, "dress": dress})

    def _watch(self) -> None:
        """What dies is born again, as clouds do."""
        looked = 0.0
        while not self._enough.wait(0.03):
            for gateway in self.gateways:
                if not gateway.lives and not gateway.is_held:
                    gateway.bear()
            if time.monotonic() > looked + 1:
                looked = time.monotonic()
                for gateway in self.gateways:
                    gateway.weigh()

    # What comes from outside

    def any_gateway(self) -> Gateway:
        """One of them."""
        return self.chance.choice(self.gateways)

    def call(self, path: str, body: Any = None, *, task: bool = False, method: str = "POST", port: int = 0) -> tuple[int, Any]:
        """One request of an operator, or of a task's caller; status 0 when there was no answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        headers = (
            a_ring(path.rpartition("/")[2], sent, secret=VARIABLES["SECRET_KEY"]) if task else {"authorization": f"Bearer {OWNER}"}
        )
        answer = request(port or self.any_gateway().port, method, path, sent, headers, seconds=15.0)
        return answer.status, answer.body

    def _tick(self) -> None:
        while not self._enough.wait(1.0):
            status, _ = self.call("/tasks/tick", task=True)
            self.counts["ticks" if status == 200 else "ticks that failed"] += 1

    def _look(self) -> None:
        """Whether work is in flight."""
        statement = """
            select exists (select from tidemark.receipts) or exists (select from tds_sync_queue where status = 'processing')
                or exists (select from tidemark.lanes where leased_until > now()) or exists (select from tidemark.ready_events)
        """
        while not self._enough.wait(0.5):
            try:
                self.is_busy = bool(sql(self.url, statement, 3)[0][0])
            except Exception:  # noqa: BLE001 - the server is down, or has no room: what was in flight still is
                self.counts["looks that failed"] += 1

    def said(self) -> str:
        """The end of what the gateways wrote."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def close(self) -> None:
        """Stop everything that this campaign started."""
        self._enough.set()
        for thread in self._threads:
            thread.join(45)
        for gateway in self.gateways:
            gateway.is_held = True
            gateway.send(signal.SIGCONT)
            gateway.send(signal.SIGKILL)
        self.tasks.stop()
        if self.source:
            self.source.stop()
        self.proxy.close()
        db.pool().discard()
