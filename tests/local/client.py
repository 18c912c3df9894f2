"""The calling side of the look-alike's tests: Google's own client over real HTTP, and tasks with sane defaults."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pg8000.native
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport
from google.protobuf import duration_pb2, timestamp_pb2  # type: ignore[import-untyped]

from deploy.local.tasks import LocalTasks

LOCATION = "projects/p/locations/l"
QUEUE = f"{LOCATION}/queues/q"


def client_of(port: int) -> tasks_v2.CloudTasksClient:
    """The real client, pointed at a local port."""
    transport = CloudTasksRestTransport(
        host=f"127.0.0.1:{port}", url_scheme="http", credentials=AnonymousCredentials()  # type: ignore[no-untyped-call]
    )  # fmt: skip
    return tasks_v2.CloudTasksClient(transport=transport)


@contextmanager
def running(database_url: str, **options: Any) -> Iterator[tuple[LocalTasks, tasks_v2.CloudTasksClient]]:
    """The look-alike in this process, with its client."""
    served = LocalTasks(database_url, **options)
    served.start()
    try:
        yield served, client_of(served.port)
    finally:
        served.stop(timedelta(0))


def eventually(is_so: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return as soon as it is so; fail at the deadline."""
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.005)


def rows(database_url: str, sql: str) -> list[list[Any]]:
    """The rows of a statement, to see what the API does not show."""
    url = urlsplit(database_url)
    connection = pg8000.native.Connection(
        "postgres",
        unix_sock=f"{url.query.removeprefix('host=')}/.s.PGSQL.5432",
        database=url.path[1:],
        ssl_context=False,
    )
    try:
        found: list[list[Any]] = connection.run(sql)
        return found
    finally:
        connection.close()


def a_task(url: str, *, name: str = "", later: float | None = None, deadline: float | None = None, **http: Any) -> Any:
    """A POST task with sane defaults."""
    request = {"url": url, "http_method": tasks_v2.HttpMethod.POST, "body": b"hello", **http}
    task = tasks_v2.Task(http_request=tasks_v2.HttpRequest(request))
    if name:
        task.name = f"{QUEUE}/tasks/{name}"
    if later is not None:
        when = timestamp_pb2.Timestamp()
        when.FromDatetime(datetime.now(UTC) + timedelta(seconds=later))
        task.schedule_time = when
    if deadline is not None:
        task.dispatch_deadline = duration_pb2.Duration(seconds=int(deadline), nanos=int(deadline % 1 * 1e9))
    return task


def create(client: tasks_v2.CloudTasksClient, url: str, **given: Any) -> tasks_v2.Task:
    """The created task."""
    return client.create_task(parent=QUEUE, task=a_task(url, **given))


def a_queue(client: tasks_v2.CloudTasksClient, *, rates: Any = None, retry: Any = None) -> tasks_v2.Queue:
    """The queue all tests use, with limits of its own."""
    queue = tasks_v2.Queue(name=QUEUE, rate_limits=rates or {}, retry_config=retry or {})
    return client.create_queue(parent=LOCATION, queue=queue)


def duration(seconds: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(nanos=int(seconds * 1e9))
