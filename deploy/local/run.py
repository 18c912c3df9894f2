"""`make run`: everything on this machine, from nothing: Postgres, the task queue, a source, every function, and a clock.

It keeps all it needs in .tidemark/, starts nothing that outlives it, and touches no server but its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from common import db, settings
from common.errors import AppError
from common.flows import migrate
from deploy import environment
from deploy.client import Problem
from deploy.local import hosting, source
from deploy.local.postgres import Cluster
from deploy.local.processes import Failed, Interrupts, Processes, Stopped

ORGANIZATION = "748369814"
NAME = "tidemark"  # of the database and of its owner, who is no superuser: as in production
PORTS = 100  # how many are tried from the wanted one on
TASKS_PORT = 9023
READY_SECONDS = 60.0
LOOK_SECONDS = 0.5
TICK_SECONDS = 60
WORKERS = 2
# What is made once and stays; the rest is worked out anew at each start.
KEPT: Mapping[str, Callable[[], str]] = {
    "ADMIRAL_TOKEN": lambda: secrets.token_hex(24),
    "SECRET_KEY": lambda: secrets.token_hex(32),
    "ZOHO_WEBHOOK_SECRETS": lambda: secrets.token_hex(20),  # Zoho takes 12 to 50 letters and digits
    "ZOHO_ORGANIZATION_ID": lambda: ORGANIZATION,
}


def main() -> int:
    """Serve until somebody says stop; the exit status."""
    interrupts = Interrupts()
    processes = Processes(environment.state(), interrupts)
    try:
        _prepare(environment.state())
        with _alone(environment.state()):
            try:
                _serve(processes)
            finally:
                interrupts.ignore()
                processes.stop()
                Cluster(environment.state() / "postgres").stop()  # in case its keeper was killed
    except Stopped:
        _say("Stopped.")
    except (Failed, AppError, settings.Misconfigured) as error:
        _say(f"Tidemark cannot go on: {error}", to=sys.stderr)
        return 1
    return 0


def _serve(processes: Processes) -> None:
    started = time.monotonic()
    state = environment.state()
    if left := processes.end_former():
        _say(f"Ended {left} processes that an earlier run had left behind.")
    listener = _listen(os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8080")
    queue = _listen("127.0.0.1", str(TASKS_PORT), is_said=False)
    zoho = _listen("127.0.0.1", str(source.PORT), is_said=False)
    hosts = _listen("127.0.0.1", str(hosting.PORT), is_said=False)
    cluster = Cluster(state / "postgres")
    former = environment.load(state / "env")
    stand_in = source.chosen(os.environ, former, zoho.getsockname()[1])
    is_hosted = not hosting.is_brought(os.environ, former)
    hosted = _hosted(processes, hosts) if is_hosted else {}
    hosts.close()
    variables = _variables(former, listener, queue, cluster) | stand_in | hosted
    environment.save(state / "env", variables)
    os.environ.update(variables)
    if stand_in:
        source.start(processes, state, zoho, variables["ZOHO_ORGANIZATION_ID"])
    zoho.close()
    if variables["DATABASE_URL"] == cluster.url(NAME, NAME):
        _start_postgres(processes, cluster)
    _migrate(state)
    if former.get("FUNCTIONS_URL") != variables["FUNCTIONS_URL"]:
        _forget_rings()
    _start_functions(processes, listener, queue)
    _wait_until_ready(processes, variables["FUNCTIONS_URL"], "/health/ready")
    if stand_in:
        _wait_until_ready(processes, variables["ZOHO_API_URL"], "/_/")
    threading.Thread(target=_tick_each_minute, name="ticker", daemon=True).start()
    _say(f"Ready after {time.monotonic() - started:.1f} s. {_where(variables)}")
    if os.environ.get("DEMO", "1").strip().lower() not in {"0", "false", "no", "off"}:
        _demonstrate(processes) if stand_in else _say(source.NO_DEMONSTRATION)
        _demonstrate_deploys(processes) if is_hosted else _say(hosting.NO_DEMONSTRATION)
        _say(f"Still serving. {_where(environment.load(environment.file()))}")
    while True:
        processes.check()
        time.sleep(LOOK_SECONDS)


# Before anything is started -----------------------------------------------------------------------------------------


def _prepare(state: Path) -> None:
    try:
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
        state.chmod(0o711)  # the account that Postgres runs as must get through, but may list nothing
        (state / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        message = f"{state} cannot be used: {error.strerror}. TIDEMARK_STATE names another directory."
        raise Failed(message) from error


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Be the only run of this directory. The lock ends with us, however we end."""
    with (state / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            url = environment.load(state / "env").get("FUNCTIONS_URL", "an unknown address")
            message = f"it already runs here, at {url}. Stop that one, or set TIDEMARK_STATE to another directory."
            raise Failed(message) from error
        yield


def _listen(host: str, wanted: str, *, is_said: bool = True) -> socket.socket:
    """A listening socket on `wanted`, or on the next port that is free. Held from here on: nobody can take it meanwhile."""
    if not wanted.isascii() or not wanted.isdigit() or int(wanted) > 65535:  # noqa: PLR2004
        message = f"PORT must be a number from 0 to 65535, not {wanted!r}."
        raise Failed(message)
    first = int(wanted)
    for port in range(first, min(first + PORTS, 65536)):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                message = f"HOST {host!r} cannot be listened on: {error.strerror}."
                raise Failed(message) from error
            continue
        if port != first and is_said:
            _say(f"Port {first} is taken, so it is port {port} now.")
        return listener
    message = f"none of the ports {first} to {first + PORTS - 1} is free: set PORT to one that is."
    raise Failed(message)


def _variables(former: Mapping[str, str], listener: socket.socket, queue: socket.socket, cluster: Cluster) -> dict[str, str]:
    """What the functions are told, and the user after them."""
    host, port = listener.getsockname()
    reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - only compared
    given = {name: os.environ[name] for name in map(str.upper, settings.Settings.__dataclass_fields__) if os.environ.get(name)}
    return {
        "PORT": str(port),
        "DATABASE_URL": cluster.url(NAME, NAME),
        **{name: former.get(name) or make() for name, make in KEPT.items()},
        "RELEASE": "local",  # what is deployed to the stand-ins is something else than this
        **given,
        "QUEUE": "cloud_tasks",
        "TASKS_ENDPOINT": f"127.0.0.1:{queue.getsockname()[1]}",
        "TASKS_SERVICE_ACCOUNT": "",
        "FUNCTIONS_URL": f"http://{reached}:{port}",
    }


# Starting -----------------------------------------------------------------------------------------------------------


def _start_postgres(processes: Processes, cluster: Cluster) -> None:
    processes.start("postgres", "deploy.local.keeper", [str(cluster.directory)], os.environ)
    address = db.Address(cluster.url())
    until = time.monotonic() + READY_SECONDS
    while True:
        processes.check()
        try:
            connection = db.Connection(address)
            break
        except AppError as error:
            if time.monotonic() > until:
                message = f"Postgres did not answer within {READY_SECONDS:.0f} s; its log is {cluster.directory / 'server.log'}."
                raise Failed(message) from error
            time.sleep(0.02)
    try:
        if not connection.script(f"select from pg_roles where rolname = '{NAME}'"):
            connection.script(f"create role {NAME} login createrole")
        if not connection.script(f"select from pg_database where datname = '{NAME}'"):
            connection.script(f"create database {NAME} owner {NAME}")
    finally:
        connection.close()


def _migrate(state: Path) -> None:
    settings.load.cache_clear()
    with (state / "logs" / "migrate.log").open("w") as log, contextlib.redirect_stdout(log):
        ran = migrate.run()
    db.pool().discard()
    if ran:
        _say(f"Ran {len(ran)} migrations.")


def _forget_rings() -> None:
    """Drop the tasks that would still call the former address: whoever listens there now must not see their key."""
    with db.transaction() as tx:
        tx.script(
            "do $$ begin if to_regclass('local_tasks.tasks') is not null then"
            " delete from local_tasks.tasks where finished_at is null; end if; end $$"
        )


def _start_functions(processes: Processes, listener: socket.socket, queue: socket.socket) -> None:
    port = queue.getsockname()[1]
    queue.close()  # it binds the port itself
    processes.start("tasks", "deploy.local.tasks", ["--port", str(port)], os.environ)
    words = [
        "--config", "python:deploy.local.child", "--bind", f"fd://{listener.fileno()}", "--no-control-socket",
        "--worker-class", "uvicorn_worker.UvicornWorker", "--workers", os.environ.get("WEB_CONCURRENCY") or str(WORKERS),
        "--keep-alive", "65", "--timeout", "120", "--graceful-timeout", "5", "deploy.local.gateway:app",
    ]  # fmt: skip
    processes.start("gateway", "gunicorn", words, os.environ, pass_fds=[listener.fileno()])
    listener.close()


def _hosted(processes: Processes, listener: socket.socket) -> dict[str, str]:
    """Start the stand-in of those who are deployed to; the variables that lead there."""
    leading = hosting.start(processes, listener)
    _wait_until_ready(processes, leading[hosting.URL], "/_/")
    return hosting.environment(leading[hosting.URL])


def _wait_until_ready(processes: Processes, url: str, path: str) -> None:
    until = time.monotonic() + READY_SECONDS
    said = "nothing"
    while time.monotonic() < until:
        processes.check()
        try:
            status, said = _ask(url, "GET", path, seconds=5)
        except (OSError, http.client.HTTPException) as error:
            status, said = 0, str(error) or type(error).__name__
        if status == http.client.OK:
            return
        time.sleep(0.05)
    message = f"{url}{path} did not say ready within {READY_SECONDS:.0f} s, but: {said}"
    raise Failed(message)


# While it serves ----------------------------------------------------------------------------------------------------


def _tick_each_minute() -> None:
    """Call tick now and at every minute. One that fails is made up for by the next."""
    current = settings.load()
    headers = {"Authorization": f"Bearer {current.task_key}"}
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            _ask(current.functions_url, "POST", "/tasks/tick", headers, seconds=TICK_SECONDS)
        time.sleep(TICK_SECONDS - time.time() % TICK_SECONDS)


def _ask(url: str, method: str, path: str, headers: Mapping[str, str] = {}, *, seconds: float) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=seconds)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def _demonstrate(processes: Processes) -> None:
    from deploy.local import demo  # noqa: PLC0415 - rich; serving alone does not need it

    _shown(processes, demo.run)


def _demonstrate_deploys(processes: Processes) -> None:
    from deploy.local import deploys  # noqa: PLC0415 - as above

    _shown(processes, deploys.run)


def _shown(processes: Processes, demonstration: Callable[[], list[str]]) -> None:
    """Raises: Failed, when it does not add up, or is cut off."""
    try:
        faults = demonstration()
    except (OSError, Problem) as error:
        processes.check()  # it says more than a lost connection does
        message = f"the demonstration was cut off: {error}"
        raise Failed(message) from error
    if faults:
        message = "the demonstration does not add up:\n" + "\n".join(f"  - {fault}" for fault in faults)
        raise Failed(message)


def _where(variables: Mapping[str, str]) -> str:
    url, file = variables["FUNCTIONS_URL"], environment.file()
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return (
        f"Stop it with Ctrl-C.\n"
        f"  health   {url}/health\n"
        f"  hooks    {url}/webhooks/<entity>\n"
        f'  queue    source {shown}; curl -H "Authorization: Bearer $ADMIRAL_TOKEN" {url}/queue/stats\n'
        f'  tables   source {shown}; psql "$DATABASE_URL" -c "table erp.products limit 5"\n'
        f"  source   {variables.get('ZOHO_API_URL') or 'your own'}; {Path(sys.executable).parent / 'tidemark'} sync start --watch\n"
        f"  more     {Path(sys.executable).parent / 'tidemark'} --help"
    )


def _say(text: str, to: TextIO | None = None) -> None:
    print(text, file=to or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
