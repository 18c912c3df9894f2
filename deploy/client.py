"""How the command line speaks: to Tidemark over HTTP, and to people: data on stdout, words on stderr, one exit code each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from deploy import environment

if TYPE_CHECKING:
    import http.client

SECONDS = 30.0


class Exit(IntEnum):
    """What the exit status of a command means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTH = 4
    CONFLICT = 5
    TIMEOUT = 7
    DEGRADED = 8


BY_STATUS = {
    400: Exit.USAGE, 401: Exit.AUTH, 403: Exit.AUTH, 404: Exit.NOT_FOUND, 408: Exit.TIMEOUT, 409: Exit.CONFLICT, 412: Exit.CONFLICT,
    422: Exit.USAGE, 429: Exit.DEGRADED, 502: Exit.DEGRADED, 503: Exit.DEGRADED, 504: Exit.TIMEOUT,
}  # fmt: skip
NEXT = {
    Exit.AUTH: "set TIDEMARK_TOKEN, or give --token; an owner makes one with `tidemark token create`",
    Exit.NOT_FOUND: "tidemark events list",
    Exit.CONFLICT: "look at how it stands now: what is asked for does not go with that",
    Exit.TIMEOUT: "tidemark health",
    Exit.DEGRADED: "tidemark doctor",
    Exit.USAGE: "add --help to see what this command takes",
}


class Problem(Exception):
    """Why a command could not do what it was asked: the cause, what to run next, and the trace id for the log."""

    def __init__(self, cause: str, code: Exit = Exit.FAILED, *, then: str | None = None, trace_id: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.code = code
        self.then = then or NEXT.get(code, "tidemark doctor")
        self.trace_id = trace_id


def variable(name: str, given: str | None = None) -> str:
    """A variable: as given by a flag, else as the environment has it, else as `make run` wrote it down; "" for none."""
    return given or os.environ.get(name) or environment.load(environment.file()).get(name, "")


@dataclass(frozen=True)
class Answer:
    """What came back: its status, its body, read as JSON where it is, and the headers by lower-case name."""

    status: int
    body: Any
    headers: Mapping[str, str]
    trace_id: str
    text: str = ""


class Api:
    """Tidemark's HTTP API at one address, as one operator."""

    def __init__(self, url: str | None = None, token: str | None = None, *, seconds: float = SECONDS) -> None:
        self.url = variable("FUNCTIONS_URL", url).rstrip("/") or "http://127.0.0.1:8080"
        self._token = token or variable("TIDEMARK_TOKEN") or variable("ADMIRAL_TOKEN")
        self._seconds = seconds

    def get(self, path: str, **query: Any) -> Any:
        """The body of what stands at a path. Raises: Problem."""
        asked = {key: value for key, value in query.items() if value is not None}
        return self.call("GET", path + (f"?{urlencode(asked)}" if asked else ""))

    def call(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """The body of the answer. Raises: Problem, for everything that is not a success."""
        return self.accepted(self.ask(method, path, body, headers=headers), f"{method} {path}")

    def accepted(self, answer: Answer, what: str) -> Any:
        """The body of an answer to `what`. Raises: Problem, when it is not a success, or not of ours."""
        if answer.status >= 400:  # noqa: PLR2004
            raise problem(answer, what)
        if not isinstance(answer.body, dict):
            cause = f"{self.url} does not speak as Tidemark does."
            raise Problem(cause, then="name it with --url", trace_id=answer.trace_id)
        return answer.body

    def ask(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer, whatever it says. Raises: Problem, when there is none."""
        from http.client import HTTPException  # noqa: PLC0415 - 20 ms that --help need not pay
        from secrets import token_hex  # noqa: PLC0415

        trace_id = token_hex(16)
        sent = {"traceparent": f"00-{trace_id}-{token_hex(8)}-01", "Accept": "application/json", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        payload = None if body is None else json.dumps(body).encode()
        connection = self._connection()
        try:
            connection.request(method, urlsplit(self.url).path + path, payload, sent)
            answer = connection.getresponse()
            text = answer.read()
        except TimeoutError as error:
            cause = f"{self.url} did not answer within {self._seconds:.0f} s."
            raise Problem(cause, Exit.TIMEOUT, trace_id=trace_id) from error
        except (OSError, HTTPException, UnicodeError) as error:
            cause = f"{self.url} cannot be reached: {error}."
            raise Problem(cause, then="start it with `make run`, or name it with --url", trace_id=trace_id) from error
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, _parsed(text), found, trace_id, text.decode(errors="replace"))

    def _connection(self) -> http.client.HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415

        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"{self.url!r} is not an address such as http://127.0.0.1:8080."
            raise Problem(message, Exit.USAGE)
        made = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return made(parts.hostname, parts.port, timeout=self._seconds)


def problem(answer: Answer, what: str) -> Problem:
    """The problem that an answer tells of."""
    told = answer.body if isinstance(answer.body, dict) else {}
    cause = told.get("detail") or told.get("error") or f"{what} was answered with status {answer.status}."
    for fault in told.get("errors") or []:
        cause += f"\n  {_place(fault)}"
    code = BY_STATUS.get(answer.status, Exit.FAILED)
    return Problem(str(cause), code, trace_id=told.get("trace_id") or answer.trace_id)


def _place(fault: Mapping[str, Any]) -> str:
    """Where a fault is, and what is wrong there."""
    return f"{fault.get('pointer') or '(the whole)'} {fault.get('message', '')}"


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


# To people ----------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Words, for whoever is watching."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """Data."""
    sys.stdout.write(f"{text}\n")


def write_json(value: Any) -> None:
    """Data, on one line where a program reads it and on several where a person does."""
    write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str))


def write_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Data as a table on a terminal; elsewhere as lines with tabs between."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            write("\t".join(_cell(value) for value in row))
        return
    from rich.console import Console  # noqa: PLC0415 - 60 ms that only a terminal pays
    from rich.table import Table  # noqa: PLC0415

    table = Table(*columns)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console(markup=False, highlight=False).print(table)


def write_facts(facts: Mapping[str, Any]) -> None:
    """Data as one line per fact."""
    width = max((len(name) for name in facts), default=0) if sys.stdout.isatty() else 0
    for name, value in facts.items():
        write(f"{name:<{width}}\t{_cell(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    # What senders wrote must not move the cursor of whoever reads it.
    shown = (" " if letter.isspace() else letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return "".join(shown)


def report(fault: Problem, *, as_json: bool) -> None:
    """Tell of a problem."""
    if as_json:
        facts = {"error": fault.cause, "code": int(fault.code), "next": fault.then, "trace_id": fault.trace_id}
        say(json.dumps(facts, ensure_ascii=False))
        return
    say(f"{_red('error:')} {fault.cause}\n next: {fault.then}")
    if fault.trace_id:
        say(f"trace: {fault.trace_id}")


def _red(text: str) -> str:
    return f"\x1b[31m{text}\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text
