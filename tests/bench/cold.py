"""cold: from exec to the first answer of each function, against a hello-world of functions-framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from common.settings import task_key
from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import HERE, OWNER, ROOT, Database, Result
from tests.make import a_ring

ROUNDS = 7
MAIN = ROOT / "functions" / "main.py"
SIGNED = events.item(1)
#   name: target, method, path, status that is wanted
ASKED = {
    "webhook": ("webhook", "POST", "/webhooks/products", 202),
    "webhook asgi": ("webhook", "POST", "/webhooks/products", 202),
    "process": ("process", "POST", "/tasks/process", 200),
    "tick": ("tick", "POST", "/tasks/tick", 200),
    "status": ("status", "GET", "/queue/stats", 200),
    "health": ("health", "GET", "/health", 200),
    "admin": ("admin", "GET", "/admin/tokens", 200),
}


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("cold")
    with lab.database(cluster, "bench_cold") as database:
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "hello": lambda: _first(HERE / "functions.py", "hello", {}),
            "hello asgi": lambda: _first(HERE / "functions.py", "hello_together", {"FUNCTION_USE_ASGI": "true"}),
        }
        contenders |= {name: lambda name=name: _ours(name, database) for name in ASKED}
        for run_once in contenders.values():
            run_once()  # bytecode and page cache
        found = lab.alternate(max(rounds, ROUNDS), contenders)
    result.numbers = [{"function": name, **numbers} for name, numbers in found.items()]
    for name in ASKED:
        hello = found["hello asgi" if name.endswith("asgi") else "hello"]
        result.goal(f"{name}: median, times hello's", found[name]["ms"] / hello["ms"], 1.3, at_least=False)
        result.goal(f"{name}: least, times hello's", found[name]["min"] / hello["min"], 1.3, at_least=False)
    return result


def _ours(name: str, database: Database) -> dict[str, float]:
    target, method, path, wanted = ASKED[name]
    environment = database.environment(**({"FUNCTION_USE_ASGI": "true"} if name.endswith("asgi") else {}))
    headers = {
        "webhook": {"X-Zoho-Webhook-Signature": events.signature(SIGNED), "Content-Type": "application/json"},
        "process": a_ring("process", secret=environment["SECRET_KEY"]),
        "tick": {"Authorization": f"Bearer {task_key(environment['SECRET_KEY'])}"},
    }.get(target, {"Authorization": f"Bearer {OWNER}"})
    body = SIGNED if target == "webhook" else b""
    return _first(MAIN, target, environment, method=method, path=path, body=body, headers=headers, wanted=wanted)


def _first(
    source: Path,
    target: str,
    environment: Mapping[str, str],
    *,
    method: str = "GET",
    path: str = "/",
    body: bytes = b"",
    headers: Mapping[str, str] = {},
    wanted: int = 200,
) -> dict[str, float]:
    port = lab.free_port()
    started = time.perf_counter()
    with lab.running(lab.framework(source, target, port), environment, f"cold_{target}"):
        status = lab.wait_for(port, path, method=method, body=body, headers=headers)
        took = time.perf_counter() - started
    assert status == wanted, f"{target}: {status}"
    return {"ms": took * 1000}
