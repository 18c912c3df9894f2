"""latency: webhook received to row applied, through real rings: the look-alike of Cloud Tasks and the process function."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import ROOT, Result

RATE = 50  # events per second
SECONDS = 20
MAIN = ROOT / "functions" / "main.py"


def run(cluster: Cluster, **_: object) -> Result:
    """Measure."""
    result = Result("latency")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(lab.database(cluster, "bench_latency"))
        tasks = stack.enter_context(lab.database(cluster, "bench_latency_tasks", empty=True))
        receiver, worker, queue = lab.free_port(), lab.free_port(), lab.free_port()
        environment = database.environment(TASKS_ENDPOINT=f"127.0.0.1:{queue}", FUNCTIONS_URL=f"http://127.0.0.1:{worker}")
        command = [sys.executable, "-m", "deploy.local.tasks", "--port", str(queue)]
        stack.enter_context(lab.running(command, {"DATABASE_URL": tasks.url, "PYTHONPATH": str(ROOT)}, "latency_tasks"))
        stack.enter_context(lab.running(lab.framework(MAIN, "process", worker), environment, "latency_process"))
        asgi = {**environment, "FUNCTION_USE_ASGI": "true"}
        stack.enter_context(lab.running(lab.framework(MAIN, "webhook", receiver), asgi, "latency_webhook"))
        for port in (queue, worker, receiver):
            lab.wait_for(port)
        answered = _sent(receiver)
        until = time.monotonic() + 60
        while database.value("select count(*) from tds_inbox_events where processed_at is not null") < RATE * SECONDS:
            assert time.monotonic() < until, "not everything was applied within a minute"
            time.sleep(0.1)
        # updated_at is when the applying transaction began: its end is what people wait for, so that is added from its log row.
        applied = sorted(
            float(row[0])
            for row in database.sql("""
                select extract(epoch from p.updated_at - i.received_at)::float8 + l.execution_time_ms / 1000.0
                  from tds_inbox_events i join erp.products p on p.event_id = i.id join tds_sync_logs l on l.id = i.id
                 where i.received_at > (select min(received_at) + interval '2 s' from tds_inbox_events)
            """)
        )
    milliseconds = {f"p{share}": lab.percentile(applied, share) * 1000 for share in (50, 95, 99)}
    result.numbers = [
        {"what": "received to applied, ms", **milliseconds, "max": applied[-1] * 1000},
        {
            "what": "request to 202, ms",
            **{f"p{share}": lab.percentile(answered, share) * 1000 for share in (50, 95, 99)},
            "max": answered[-1] * 1000,
        },
    ]
    result.goal("webhook received to row applied, p95", milliseconds["p95"], 1000, " ms", at_least=False)
    result.notes.append(
        f"{RATE} events/s for {SECONDS} s, the first two seconds left out: they start the functions; mean {statistics.mean(applied) * 1000:.0f} ms."
    )
    return result


def _sent(port: int) -> list[float]:
    """Send the events, each at its time; how long each waited for its 202, sorted."""
    kept = threading.local()

    def send(number: int) -> float:
        body = events.item(number)
        began = time.perf_counter()
        try:
            post(body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            kept.connection.close()  # the server closes what was idle for five seconds, and so must a sender expect
            post(body)
        return time.perf_counter() - began

    def post(body: bytes) -> None:
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        kept.connection.request("POST", "/webhooks/products", body, {"X-Zoho-Webhook-Signature": events.signature(body)})
        answer = kept.connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status

    with ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        waiting = []
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            waiting.append(pool.submit(send, number))
        return sorted(each.result() for each in waiting)
