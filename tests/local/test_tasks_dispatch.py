"""What the look-alike sends, when it sends it again, and when it gives up; and its sins on request."""

import http.client
import json
import socket
import threading
import time
from itertools import chain, repeat
from typing import Any

import pytest
from google.api_core.exceptions import Conflict
from google.cloud import tasks_v2

from deploy.local.tasks import is_spent, pause_before_retry
from tests.local.client import QUEUE, a_queue, a_task, create, duration, eventually, rows, running
from tests.local.worker import Worker


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


# Attempts


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
    client: tasks_v2.CloudTasksClient, database_url: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create(client, url)

    eventually(lambda: not list(client.list_tasks(parent=QUEUE)))
    ((outcome, reason),) = rows(database_url, "select outcome, reason from local_tasks.tasks")
    assert outcome == "refused"
    assert "targets are dispatched locally" in reason
    assert reason in capsys.readouterr().out


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
