"""The Cloud Tasks look-alike, driven by Google's own client over real HTTP: its tasks and its queues."""

import http.client
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import tasks_v2
from google.protobuf import field_mask_pb2  # type: ignore[import-untyped]

from tests.local.client import LOCATION, QUEUE, a_queue, a_task, create, duration, eventually, running
from tests.local.worker import Worker


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


def test_a_ready_task_is_dispatched_within_milliseconds(client: tasks_v2.CloudTasksClient, worker: Worker) -> None:
    late = []
    for number in range(20):
        made = create(client, worker.url)
        eventually(lambda count=number: len(worker.received) > count)  # type: ignore[misc]
        late.append(worker.received[-1].at - made.create_time.timestamp())

    # The median: on a shared machine a single one may be unlucky.
    assert sorted(late)[10] < 0.05


def test_a_body_that_cannot_be_read_is_refused(client: tasks_v2.CloudTasksClient) -> None:
    host = client.transport._host.rpartition("/")[2]
    for headers, body in (
        ({}, b"{"),
        ({}, b"[]"),
        ({"Content-Length": "9" * 9}, b""),
        ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
    ):
        connection = http.client.HTTPConnection(host, timeout=5)
        connection.request("POST", f"/v2/{QUEUE}/tasks", body, headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["status"]) == (400, "INVALID_ARGUMENT")
        connection.close()


@pytest.mark.parametrize(("asked", "method", "view"), [("", "POST", "BASIC"), ("?$alt=json;enum-encoding=int", 1, 1)])
def test_enumerations_are_numbers_for_who_asks_for_them(
    client: tasks_v2.CloudTasksClient, worker: Worker, asked: str, method: object, view: object
) -> None:
    connection = http.client.HTTPConnection(client.transport._host.rpartition("/")[2], timeout=5)
    task = {"httpRequest": {"url": worker.url, "httpMethod": "POST"}}
    connection.request("POST", f"/v2/{QUEUE}/tasks{asked}", json.dumps({"task": task}))
    made = json.loads(connection.getresponse().read())
    connection.close()

    assert (made["httpRequest"]["httpMethod"], made["view"]) == (method, view)


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
