"""Behind a pooler in transaction mode, more clients than servers: everybody gets their own rows, and nobody's settings."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from common import db
from common.errors import Conflict
from common.flows import process
from tests.chaos import check
from tests.chaos.processes import HOST, Program, free_port
from tests.make import an_invoice, an_item, send

CLIENTS, SERVERS, ROUNDS = 6, 2, 60
PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
NAMESPACE = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed: apt-get install pgbouncer"),
]


class Pooler(Program):
    """pgbouncer, which refuses to run as root, as whoever owns the server's socket."""

    def __init__(self, directory: Path, database_url: str) -> None:
        url = urlsplit(database_url)
        sockets = parse_qs(url.query)["host"][0]
        port = free_port()
        ini = directory / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\n{url.path[1:]} = host={sockets} port=5432 user=postgres\n[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {SERVERS}\nmax_client_conn = 50\n"
        )
        owner = Path(sockets).stat().st_uid
        command = [str(PGBOUNCER), str(ini)]
        if os.geteuid() == 0:
            command = [*NAMESPACE, *command] if owner == 0 else [*command, "--user", pwd.getpwuid(owner).pw_name]
        super().__init__(command, port, {"PATH": os.environ["PATH"]}, directory)
        self.url = f"postgresql://postgres@{HOST}:{port}{url.path}?sslmode=disable"


@pytest.fixture
def pooled(database_url, configured):
    """The address of the database itself; everything else goes through a pooler."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-pooler-"))
    directory.chmod(0o755)
    pooler = Pooler(directory, database_url).start()
    try:
        configured(DATABASE_URL=pooler.url, DB_POOL=str(CLIENTS))
        check.record_effects(database_url)
        yield database_url
        db.pool().discard()
    finally:
        os.kill(pooler._process.pid, signal.SIGINT)
        pooler.stop()
        shutil.rmtree(directory)


def at_once(work):
    """What `work(client)` returns, for clients that work at the same time."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, range(CLIENTS)))


@pytest.mark.usefixtures("pooled")
def test_more_clients_than_servers_get_their_own_rows_in_their_own_role_and_limits():
    roles = [*db.ROLES, None]

    def ask(client):
        role, seen = roles[client], set()
        for number in range(ROUNDS):
            with db.transaction(role, timeout=timedelta(seconds=client + 1), read_only=client % 2 == 0) as tx:
                # Each client has a text of its own: with one unnamed statement for two, one of them gets the other's rows.
                text = f"select :mine::text, {client}, current_user::text, current_setting('statement_timeout'), pg_backend_pid()"
                for _ in range(3):
                    rows, _ = tx.statement(text, {"mine": f"{client}/{number}"})
                    *found, pid = rows[0]
                    assert found == [f"{client}/{number}", client, f"tidemark_{role}" if role else "postgres", f"{client + 1}s"]
                    seen.add(pid)
        return seen

    assert len(set().union(*at_once(ask))) == SERVERS


@pytest.mark.usefixtures("pooled")
def test_an_error_in_one_clients_transaction_does_not_leak_into_anothers():
    def ask(client):
        for number in range(ROUNDS // 2):
            if client % 2:
                with pytest.raises(Conflict), db.transaction() as tx:
                    tx.statement("insert into tidemark.bells (function) values (:name)", {"name": "process"})
            else:
                with db.transaction() as tx:
                    assert tx.statement("select :n::integer", {"n": number})[0] == [[number]]

    at_once(ask)


def test_receiving_and_applying_through_a_pooler_loses_nothing_and_does_nothing_twice(pooled):
    def work(client):
        answers = []
        for number in range(ROUNDS // 4):
            at = f"2026-06-{client + 1:02}T10:00:{number:02}Z"
            answers.append(send("products", an_item(f"{client}-{number}", at)))
            answers.append(send("invoices", an_invoice(str(number % 4), at, lines=client % 3)))
            send("products", {"events": [an_item(f"{client}-{number}-{n}", at) for n in range(5)]})
            process.process(f"client-{client}")
        return answers

    answers = [answer for some in at_once(work) for answer in some]
    process.process()
    assert check.faults(pooled, answers) == []
