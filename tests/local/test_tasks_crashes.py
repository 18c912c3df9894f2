"""What the look-alike remembers when it, or Postgres, is killed."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from google.api_core.exceptions import ServiceUnavailable
from google.cloud import tasks_v2

from deploy.local.postgres import Cluster
from tests.local.client import QUEUE, client_of, create, eventually, rows, running
from tests.local.worker import Worker


@contextmanager
def program(database_url: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The look-alike as a process of its own, ready to answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "deploy.local.tasks", "--port", str(port), *arguments]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "DATABASE_URL": database_url}, stderr=subprocess.DEVNULL)

    def is_ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    try:
        eventually(is_ready)
        yield process, port
    finally:
        process.kill()
        process.wait(5)


def test_a_task_in_flight_when_the_process_is_killed_is_delivered_again(database_url: str, worker: Worker) -> None:
    worker.answers = [(200, 30, {})]
    with program(database_url, "--lease-seconds", "1") as (process, port):
        create(client_of(port), worker.url, name="flying")
        create(client_of(port), worker.url, name="waiting", later=0.5)
        eventually(lambda: worker.received)
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    assert worker.header("X-CloudTasks-TaskName") == ["flying"]

    with program(database_url, "--lease-seconds", "1") as (_, port):
        eventually(lambda: len(worker.received) == 3)
        eventually(lambda: not list(client_of(port).list_tasks(parent=QUEUE)))

    assert sorted(map(str, worker.header("X-CloudTasks-TaskName"))) == ["flying", "flying", "waiting"]


def test_a_lease_is_kept_for_as_long_as_the_worker_takes(database_url: str, worker: Worker) -> None:
    worker.usual = (200, 1.5, {})
    with running(database_url, lease=timedelta(seconds=0.5)) as (_, client):
        create(client, worker.url)
        eventually(lambda: worker.received and not list(client.list_tasks(parent=QUEUE)))

    assert len(worker.received) == 1


def test_sigterm_ends_it_within_two_seconds_and_gives_back_what_is_in_flight(database_url: str, worker: Worker) -> None:
    worker.answers = [(200, 30, {})]
    with program(database_url) as (process, port):
        create(client_of(port), worker.url)
        eventually(lambda: worker.received)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 2

    with program(database_url):
        # Far sooner than the ten seconds of the lease.
        eventually(lambda: len(worker.received) == 2, seconds=5)


def test_a_database_that_is_reset_meanwhile_is_set_up_again(
    client: tasks_v2.CloudTasksClient, database_url: str, worker: Worker
) -> None:
    rows(database_url, "drop schema local_tasks cascade")

    eventually(lambda: is_accepted(client, worker))

    eventually(lambda: worker.received)


def is_accepted(client: tasks_v2.CloudTasksClient, worker: Worker) -> bool:
    """Whether a task could be created now; False while the service is unavailable."""
    try:
        create(client, worker.url)
    except ServiceUnavailable:
        return False
    return True


def test_a_postgres_restart_is_survived(database_url: str, cluster: Cluster, worker: Worker) -> None:
    with running(database_url) as (_, client):
        create(client, worker.url, later=60)
        cluster.restart("immediate")

        eventually(lambda: is_accepted(client, worker))
        eventually(lambda: worker.received)
