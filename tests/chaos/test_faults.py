"""Real processes, real kills and cuts, under load. What was acknowledged is there in the end, once, and the newest stands."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from common import db
from common.errors import Unavailable
from tests.chaos.processes import Load, ask, eventually, function, webhook
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.process
RATE = 80
SHARE_OF_RATE = 0.95
RECOVERY_SECONDS = 10


def backends(stack, own="tidemark"):
    rows = stack.sql(
        f"select pid from pg_stat_activity where datname = current_database() and application_name = '{own}' and pid <> pg_backend_pid()"
    )
    return [row[0] for row in rows]


def test_a_gateway_killed_under_load_loses_nothing_and_does_nothing_twice(stack):
    stack.start()
    with Load(stack.port, RATE) as load:
        for _ in range(3):
            load.wait_for(50)
            stack.gateway.kill()
            stack.gateway.start()
        load.wait_for(60)
    stack.heal()
    assert load.statuses[0] > 0, "no request met a dead gateway"
    assert stack.faults(load) == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgres_under_load_loses_nothing_and_the_rate_comes_back(stack, capsys, mode):
    stack.start()
    with Load(stack.port, RATE) as load:
        load.wait_for(RATE)
        begin = time.monotonic()
        load.wait_for(2 * RATE)
        before = load.rate(begin, time.monotonic())
        stack.cluster.restart(mode)
        back = time.monotonic()

        def recovered():
            # One second that began after it was back.
            end = time.monotonic()
            rate = load.rate(end - 1, end)
            return end - 1 >= back and rate >= SHARE_OF_RATE * before and (end - 1, rate)

        begin, after = eventually(recovered, RECOVERY_SECONDS, f"{SHARE_OF_RATE:.0%} of {before:.0f} events/s")
    stack.heal()
    with capsys.disabled():
        said = f"{before:.0f} events/s before, {after:.0f}/s again from {begin - back:.1f} s after it was back"
        sys.stdout.write(f"\n{mode} restart of Postgres: {said}\n")
    assert load.statuses.keys() <= {0, 202, 503}
    assert stack.faults(load) == []


def test_killed_backends_lose_nothing(stack):
    stack.start()
    with Load(stack.port, RATE) as load:
        load.wait_for(30)
        killed = 0
        for _ in range(8):
            load.wait_for(15)
            for pid in backends(stack)[:3]:
                killed += stack.sql(f"select pg_terminate_backend({pid})") == [[True]]
        # One killed outright makes the server drop all of them and recover.
        load.wait_for(15)
        os.kill(eventually(lambda: backends(stack), 10, "a backend")[0], signal.SIGKILL)
        load.wait_for(30)
    stack.heal()
    assert killed > 8
    assert load.statuses.keys() <= {0, 202, 503}
    assert stack.faults(load) == []


def test_a_queue_that_loses_and_doubles_tasks_loses_no_event_and_applies_none_twice(stack):
    stack.start("--lose", "0.4", "--double", "0.4", "--seed", "7")
    with Load(stack.port, RATE) as load:
        load.wait_for(4 * RATE)
    stack.heal()
    assert stack.faults(load) == []


def test_a_connection_cut_at_commit_stores_once_and_applies_once(stack):
    with Proxy(f"{stack.cluster.sockets}/.s.PGSQL.5432", share=0.15) as proxy:
        database = stack.database_url.partition("@/")[2].partition("?")[0]
        stack.start(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}?sslmode=disable")
        with Load(stack.port, RATE) as load:
            load.wait_for(4 * RATE, seconds=40)
            proxy.share = 0.0
            load.wait_for(10)
        stack.heal()
    assert min(proxy.cuts["before"], proxy.cuts["after"]) >= 5, proxy.cuts
    assert stack.faults(load) == []


def test_an_exhausted_pool_answers_503_with_retry_after_and_recovers(stack, tmp_path):
    stack.start()
    receiver = function("webhook", stack.environment(DB_POOL="1", THREADS="6"), tmp_path).start()
    stack.programs.append(receiver)
    stack.port = receiver.port
    with Load(receiver.port, RATE) as load:
        load.wait_for(20)
        # The one connection of the instance waits for a lock; everybody else waits for the connection.
        stack.sql("begin; lock table tidemark.ready_events; select pg_sleep(5); commit")
        load.wait_for(20)
    assert load.statuses[503] > 0
    assert load.statuses.keys() <= {202, 503}
    stack.port = stack.gateway.port
    stack.heal()
    assert stack.faults(load) == []


def test_a_server_without_room_for_connections_is_a_503_and_recovers(stack, tmp_path: Path):
    stack.start()
    room = int(stack.sql("select current_setting('max_connections')")[0][0])
    hogs = []
    try:
        receiver = function("webhook", stack.environment(), tmp_path).start()
        stack.programs.append(receiver)
        while len(hogs) < room:
            try:
                hogs.append(db.Connection(db.Address(stack.database_url)))
            except Unavailable:
                break
        path, body, headers = webhook(
            "products", {"item": {"item_id": "1", "name": "Lamp", "last_modified_time": "2026-06-09T10:00:00Z"}}
        )
        status, given, answer = ask(receiver.port, "POST", path, body=body, **headers)
        assert (status, answer["title"]) == (503, "Unavailable")
        assert int(given["Retry-After"]) > 0
    finally:
        for hog in hogs:
            hog.close()
    eventually(lambda: ask(receiver.port, "POST", path, body=body, **headers)[0] == 202, 10, "a 202")
