"""The Cloud Tasks look-alike, driven by Google's own client over real HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pg8000.native
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksRestTransport
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2  # type: ignore[import-untyped]

from deploy.local.postgres import Cluster
from deploy.local.tasks import LocalTasks, is_spent, pause_before_retry

LOCATION = "projects/p/locations/l"
QUEUE = f"{LOCATION}/queues/q"


@dataclass
class Received:
    """One request a worker got, and when."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Worker:
    """A loopback HTTP server that answers as told: each answer is a status, seconds to wait, and headers."""

    url: str = ""
    answers: list[tuple[int, float, dict[str, str]]] = field(default_factory=list)
    usual: tuple[int, float, dict[str, str]] = (200, 0.0, {})
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def header(self, name: str) -> list[str | None]:
        """The header's value in each request so far."""
        return [request.headers.get(name) for request in self.received]


@pytest.fixture
def worker() -> Iterator[Worker]:
    told = Worker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with told.lock:
                told.received.append(Received(self.path, dict(self.headers.items()), body, time.time()))
                status, seconds, headers = told.answers.pop(0) if told.answers else told.usual
                told.at_once += 1
                told.most_at_once = max(told.most_at_once, told.at_once)
            if seconds:
                threading.Event().wait(seconds)
            with told.lock:
                told.at_once -= 1
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}/work"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield told
    server.shutdown()
    server.server_close()


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


@pytest.fixture
def client(database_url: str) -> Iterator[tasks_v2.CloudTasksClient]:
    with running(database_url, shortest_deadline=timedelta(seconds=0.1)) as (_, found):
        yield found


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


# Rules


def test_backoff_doubles_then_grows_linearly_then_stays() -> None:
    retry = {"minBackoff": 10, "maxBackoff": 300, "maxDoublings": 3}

    assert [pause_before_retry(failures, retry) for failures in range(1, 9)] == [10, 20, 40, 80, 160, 240, 300, 300]


def test_backoff_without_doublings_is_linear() -> None:
    retry = {"minBackoff": 1, "maxBackoff": 3, "maxDoublings": 0}

    assert [pause_before_retry(failures, retry) for failures in range(1, 6)] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("most", "duration_seconds", "attempts", "age", "spent"),
    [
        (5, 0, 4, 999, False),
        (5, 0, 5, 0, True),
        (5, 60, 5, 59, False),
        (5, 60, 5, 60, True),
        (-1, 60, 999, 59, False),
        (-1, 60, 1, 60, True),
        (-1, 0, 999, 999, False),
    ],
)
def test_retries_end_when_attempts_and_time_are_both_used_up(
    most: int, duration_seconds: float, attempts: int, age: float, *, spent: bool
) -> None:
    assert is_spent(attempts, age, {"maxAttempts": most, "maxRetryDuration": duration_seconds}) is spent


# Tasks


def test_a_task_is_delivered_once_with_the_service_headers(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    made = create(client, worker.url + "?a=b", headers={"X-Mine": "1", "User-Agent": "me", "X-CloudTasks-QueueName": "x"})

    eventually(lambda: worker.received)
    got = worker.received[0]
    assert (got.path, got.body, got.headers["X-Mine"]) == ("/work?a=b", b"hello", "1")
    assert got.headers["User-Agent"] == "Google-Cloud-Tasks"
    assert got.headers["X-CloudTasks-QueueName"] == "q"
    assert got.headers["X-CloudTasks-TaskName"] == made.name.rpartition("/")[2]
    assert got.headers["X-CloudTasks-TaskRetryCount"] == got.headers["X-CloudTasks-TaskExecutionCount"] == "0"
    assert abs(float(got.headers["X-CloudTasks-TaskETA"]) - time.time()) < 5
    assert "X-CloudTasks-TaskPreviousResponse" not in got.headers
    assert "Content-Type" not in got.headers
    assert made.dispatch_deadline == timedelta(minutes=10)
    assert made.http_request.http_method == tasks_v2.HttpMethod.POST
    eventually(lambda: not list(client.list_tasks(parent=QUEUE)))


def test_a_used_name_is_refused_while_the_task_waits_and_after_it_ran(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    create(client, worker.url, name="waits", later=60)
    with pytest.raises(Conflict, match="already exists"):
        create(client, worker.url, name="waits")

    create(client, worker.url, name="ran")
    eventually(lambda: worker.received)
    with pytest.raises(Conflict):
        create(client, worker.url, name="ran")
    assert len(worker.received) == 1


def test_a_deleted_name_stays_taken_until_its_tombstone_is_old(database_url: str, worker: Worker) -> None:
    with running(database_url, tombstone=timedelta(seconds=1.5)) as (_, client):
        create(client, worker.url, name="n", later=60)
        client.delete_task(name=f"{QUEUE}/tasks/n")
        with pytest.raises(NotFound):
            client.get_task(name=f"{QUEUE}/tasks/n")
        with pytest.raises(Conflict):
            create(client, worker.url, name="n", later=60)

        def is_free() -> bool:
            try:
                create(client, worker.url, name="n", later=60)
            except Conflict:
                return False
            return True

        eventually(is_free)


def test_only_one_of_many_callers_gets_a_name(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    outcomes: list[str] = []

    def call() -> None:
        try:
            create(client, worker.url, name="same", later=60)
            outcomes.append("made")
        except Conflict:
            outcomes.append("taken")

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["made"] + ["taken"] * 7


def test_a_scheduled_task_waits_for_its_time(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    made = create(client, worker.url, later=0.4)

    eventually(lambda: worker.received)
    late = worker.received[0].at - made.schedule_time.timestamp()
    assert 0 <= late < 0.2
    assert float(worker.received[0].headers["X-CloudTasks-TaskETA"]) == pytest.approx(made.schedule_time.timestamp())


def test_get_shows_the_body_only_in_the_full_view(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    name = create(client, worker.url, later=60).name

    assert client.get_task(name=name).http_request.body == b""
    full = client.get_task(request={"name": name, "response_view": tasks_v2.Task.View.FULL})
    assert full.http_request.body == b"hello"


def test_list_turns_pages(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    names = {create(client, worker.url, later=60).name for _ in range(5)}

    pages = client.list_tasks(request={"parent": QUEUE, "page_size": 2})

    assert {task.name for task in pages} == names


def test_run_dispatches_before_the_time_and_past_a_pause(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    name = create(client, worker.url, later=60).name
    client.pause_queue(name=QUEUE)

    client.run_task(name=name)

    eventually(lambda: worker.received)


def test_unknown_tasks_and_queues_are_not_found(client: tasks_v2.CloudTasksClient) -> None:
    for call in (
        lambda: client.get_task(name=f"{QUEUE}/tasks/x"),
        lambda: client.delete_task(name=f"{QUEUE}/tasks/x"),
        lambda: client.run_task(name=f"{QUEUE}/tasks/x"),
        lambda: client.get_queue(name=QUEUE),
        lambda: client.pause_queue(name=QUEUE),
        lambda: list(client.list_tasks(parent=QUEUE)),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_task_that_is_too_large_is_refused(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    with pytest.raises(BadRequest, match="too large"):
        create(client, worker.url, body=b"x" * 1_200_000)
    create(client, worker.url, body=b"x" * 1_000_000)

    eventually(lambda: worker.received)
    assert len(worker.received[0].body) == 1_000_000


@pytest.mark.parametrize(
    "given",
    [
        {"deadline": 1801},
        {"deadline": 14},
        {"later": 31 * 86400},
        {"http_method": tasks_v2.HttpMethod.GET},
        {"headers": {"X": "a\r\nEvil: 1"}},
        {"headers": {"X": "a" * 90_000}},
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1/a b"},
        {"name": "not/ok"},
    ],
)
def test_invalid_tasks_are_refused(database_url: str, worker: Worker, given: dict[str, Any]) -> None:
    with running(database_url) as (_, client), pytest.raises(BadRequest):
        create(client, **{"url": worker.url, **given})


def test_a_task_of_another_queue_is_refused(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    with pytest.raises(BadRequest, match="does not belong"):
        client.create_task(parent=f"{LOCATION}/queues/other", task=a_task(worker.url, name="n"))


# Retries


def test_retries_are_counted_as_the_service_counts_them(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    worker.answers = [(503, 0, {}), (404, 0, {}), (302, 0, {"Location": "/elsewhere"})]
    create(client, worker.url)

    eventually(lambda: len(worker.received) == 4)
    assert worker.header("X-CloudTasks-TaskRetryCount") == ["0", "1", "2", "3"]
    assert worker.header("X-CloudTasks-TaskExecutionCount") == ["0", "0", "1", "2"]
    assert worker.header("X-CloudTasks-TaskPreviousResponse") == [None, "503", "404", "302"]
    assert worker.header("X-CloudTasks-TaskRetryReason") == [None, "", "", ""]
    etas = [float(str(eta)) for eta in worker.header("X-CloudTasks-TaskETA")]
    assert etas == sorted(etas)
    assert etas[-1] > etas[0]


def test_the_pause_between_retries_follows_the_queue(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    a_queue(client, retry={"min_backoff": duration(0.1), "max_backoff": duration(0.35), "max_doublings": 1})
    worker.answers = [(500, 0, {})] * 4
    create(client, worker.url)

    eventually(lambda: len(worker.received) == 5)
    pauses = [after.at - before.at for before, after in zip(worker.received, worker.received[1:], strict=False)]
    for pause, least in zip(pauses, [0.1, 0.2, 0.35, 0.35], strict=True):
        assert least <= pause < least + 0.2


def test_a_task_may_carry_its_own_retry_settings(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    worker.usual = (500, 0, {})
    task = a_task(worker.url, name="brief")
    task.retry_config = tasks_v2.RetryConfig(max_attempts=2, min_backoff=duration(0.01), max_backoff=duration(0.01))
    client.create_task(parent=QUEUE, task=task)

    eventually(lambda: not list(client.list_tasks(parent=QUEUE)))
    assert len(worker.received) == 2
    with pytest.raises(Conflict):
        create(client, worker.url, name="brief")


def test_retry_after_is_honoured(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    worker.answers = [(429, 0, {"Retry-After": "1"})]
    create(client, worker.url)

    eventually(lambda: len(worker.received) == 2)
    assert 1 <= worker.received[1].at - worker.received[0].at < 1.5


def test_a_worker_that_takes_too_long_is_given_up_and_tried_again(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    worker.answers = [(200, 5, {})]
    create(client, worker.url, deadline=0.3)

    eventually(lambda: len(worker.received) == 2)
    assert 0.3 <= worker.received[1].at - worker.received[0].at < 1
    assert worker.header("X-CloudTasks-TaskExecutionCount") == ["0", "0"]
    assert worker.header("X-CloudTasks-TaskPreviousResponse") == [None, None]


def test_a_worker_that_trickles_cannot_stretch_its_deadline(client: tasks_v2.CloudTasksClient) -> None:
    calls: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                calls.append(time.monotonic())
                threading.Thread(target=drip, args=(sock,), daemon=True).start()

        def drip(sock: socket.socket) -> None:
            letters = chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"x"))
            with sock:
                try:
                    while True:
                        sock.sendall(next(letters))
                        threading.Event().wait(0.05)
                except OSError:
                    return

        threading.Thread(target=trickle, daemon=True).start()
        create(client, f"http://127.0.0.1:{server.getsockname()[1]}/", deadline=0.3)

        eventually(lambda: len(calls) >= 2)
        server.shutdown(socket.SHUT_RDWR)
    assert 0.3 <= calls[1] - calls[0] < 1


def test_a_worker_that_is_not_there_yet_is_tried_again(client: tasks_v2.CloudTasksClient, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    name = create(client, f"http://127.0.0.1:{port}/").name

    eventually(lambda: client.get_task(name=name).dispatch_count >= 2)
    assert rows(database_url, "select reason from local_tasks.tasks") == [["UNAVAILABLE: ConnectionRefusedError"]]


@pytest.mark.parametrize("url", ["http://example.com/", "https://127.0.0.1/", "http://127.0.0.1.evil.test/", "http://[::2]/"])
def test_a_target_off_this_machine_is_never_called(
    client: tasks_v2.CloudTasksClient, database_url: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    create(client, url)

    eventually(lambda: not list(client.list_tasks(parent=QUEUE)))
    ((outcome, reason),) = rows(database_url, "select outcome, reason from local_tasks.tasks")
    assert outcome == "refused"
    assert "targets are dispatched locally" in reason
    assert reason in caplog.text


def test_localhost_is_dispatched(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    create(client, worker.url.replace("127.0.0.1", "localhost"))

    eventually(lambda: worker.received)


def test_an_oidc_token_becomes_a_bearer_token(database_url: str, worker: Worker) -> None:
    with running(database_url, token=lambda audience, url: f"{audience}|{url}") as (_, client):
        create(client, worker.url, oidc_token={"service_account_email": "a@b", "audience": "me"})
        eventually(lambda: worker.received)
        create(client, worker.url, oidc_token={"service_account_email": "a@b"}, headers={"authorization": "mine"})
        eventually(lambda: len(worker.received) == 2)

    assert worker.header("Authorization") == [f"Bearer me|{worker.url}", f"Bearer {worker.url}|{worker.url}"]


# Queues


def test_a_queue_is_made_on_first_use_with_the_defaults(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    create(client, worker.url)

    queue = client.get_queue(name=QUEUE)
    assert queue.state == tasks_v2.Queue.State.RUNNING
    assert queue.rate_limits.max_dispatches_per_second == 500
    assert queue.rate_limits.max_concurrent_dispatches == 8
    assert queue.retry_config.max_attempts == 100
    assert queue.retry_config.min_backoff == timedelta(seconds=0.1)
    assert queue.retry_config.max_backoff == timedelta(hours=1)
    assert queue.retry_config.max_doublings == 16


def test_a_queue_can_be_made_once_listed_and_changed_in_part(client: tasks_v2.CloudTasksClient) -> None:
    a_queue(client, rates={"max_dispatches_per_second": 7, "max_concurrent_dispatches": 3}, retry={"max_attempts": 4})
    with pytest.raises(Conflict):
        a_queue(client)

    changed = client.update_queue(
        queue=tasks_v2.Queue(name=QUEUE, rate_limits={"max_dispatches_per_second": 9}, retry_config={"max_attempts": 99}),
        update_mask=field_mask_pb2.FieldMask(paths=["rate_limits.max_dispatches_per_second"]),
    )

    assert changed.rate_limits.max_dispatches_per_second == 9
    assert changed.rate_limits.max_concurrent_dispatches == 3
    assert changed.retry_config.max_attempts == 4
    assert [queue.name for queue in client.list_queues(parent=LOCATION)] == [QUEUE]


def test_a_queue_with_impossible_limits_is_refused(client: tasks_v2.CloudTasksClient) -> None:
    with pytest.raises(BadRequest):
        a_queue(client, rates={"max_dispatches_per_second": 501})
    with pytest.raises(BadRequest):
        a_queue(client, retry={"min_backoff": duration(0.9), "max_backoff": duration(0.1)})


def test_a_paused_queue_dispatches_again_when_resumed(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    a_queue(client)
    assert client.pause_queue(name=QUEUE).state == tasks_v2.Queue.State.PAUSED
    create(client, worker.url, later=0.05)
    client.create_task(
        parent=f"{LOCATION}/queues/other", task=a_task(worker.url, body=b"other", later=0.1)
    )  # later than the paused one, so its arrival shows that the pause held
    eventually(lambda: worker.received)
    assert [got.body for got in worker.received] == [b"other"]

    client.resume_queue(name=QUEUE)

    eventually(lambda: len(worker.received) == 2)


def test_a_purged_queue_forgets_its_tasks(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    create(client, worker.url, name="n", later=60)

    assert client.purge_queue(name=QUEUE).purge_time

    assert list(client.list_tasks(parent=QUEUE)) == []


def test_no_more_than_the_allowed_run_at_once(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    a_queue(client, rates={"max_concurrent_dispatches": 2})
    worker.usual = (200, 0.05, {})
    for _ in range(10):
        create(client, worker.url)

    eventually(lambda: len(worker.received) == 10)
    assert worker.most_at_once == 2


def test_no_more_than_the_allowed_are_dispatched_per_second(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    a_queue(client, rates={"max_dispatches_per_second": 20})
    client.pause_queue(name=QUEUE)
    for _ in range(24):
        create(client, worker.url)
    client.resume_queue(name=QUEUE)

    eventually(lambda: len(worker.received) == 24)
    # A burst of 4 at once, the other 20 at 20 a second.
    took = worker.received[-1].at - worker.received[0].at
    assert 0.9 <= took < 1.6


# Faults


def faults(port: int, **given: Any) -> dict[str, Any]:
    """Set the fault switches over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/faults", json.dumps(given))
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_lost_tasks_are_accepted_and_never_delivered(database_url: str, worker: Worker) -> None:
    with running(database_url, lose=1.0, seed=1) as (served, client):
        create(client, worker.url, name="gone")
        with pytest.raises(Conflict):
            create(client, worker.url, name="gone")
        assert faults(served.port, seed=1) == {"lose": 0.0, "double": 0.0, "seed": 1}
        create(client, worker.url, name="kept")
        eventually(lambda: worker.received)

    assert worker.header("X-CloudTasks-TaskName") == ["kept"]


def test_the_same_seed_loses_the_same_tasks(client: tasks_v2.CloudTasksClient, worker: Worker, database_url: str) -> None:
    port = int(client.transport._host.rpartition(":")[2])
    lost: list[list[str]] = []
    for turn in ("a", "b"):
        faults(port, lose=0.5, seed=7)
        for number in range(20):
            create(client, worker.url, name=f"{turn}{number}", later=60)
        found = rows(
            database_url,
            f"select substr(split_part(name, '/', 8), 2) from local_tasks.tasks where outcome = 'lost'"
            f" and split_part(name, '/', 8) like '{turn}%' order by created_at",
        )
        lost.append([name for (name,) in found])

    assert lost[0] == lost[1]
    assert 0 < len(lost[0]) < 20


def test_doubled_tasks_meet_themselves(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    port = int(client.transport._host.rpartition(":")[2])
    faults(port, double=1.0, seed=1)
    worker.usual = (200, 0.1, {})
    create(client, worker.url, name="twin")

    eventually(lambda: len(worker.received) == 2)
    assert worker.most_at_once == 2
    assert worker.header("X-CloudTasks-TaskName") == ["twin", "twin"]
    assert worker.header("X-CloudTasks-TaskRetryCount") == ["0", "0"]


def test_fault_switches_that_are_no_probabilities_are_refused(client: tasks_v2.CloudTasksClient) -> None:
    port = int(client.transport._host.rpartition(":")[2])

    assert faults(port, lose=2)["error"]["status"] == "INVALID_ARGUMENT"


# Crashes


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


# Pace


def test_a_ready_task_is_dispatched_within_milliseconds(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    late = []
    for number in range(20):
        made = create(client, worker.url)
        eventually(lambda count=number: len(worker.received) > count)  # type: ignore[misc]
        late.append(worker.received[-1].at - made.create_time.timestamp())

    # The median: on a shared machine a single one may be unlucky.
    assert sorted(late)[10] < 0.05
