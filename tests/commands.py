"""The command line against the functions, both in this process: `tidemark("events", "list")`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import pytest

from common.edge import hook
from common.flows import receive
from common.rules.http import Answer, Request
from deploy import cli
from deploy.local.gateway import target_of
from tests.conftest import OWNER


def edge(request: Request) -> Answer:
    """What the functions answer, as the gateway would call them."""
    if request.path.startswith("/webhooks/") and request.method != "GET":
        return hook(lambda asked: (202, receive.receive(asked)))(request)
    return import_module(f"functions.{target_of(request.method, request.path)}").handle(request)


class Handler(BaseHTTPRequestHandler):
    """A gateway of few words."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Hand the request to the function it is for."""
        path, _, query = self.path.partition("?")
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = edge(Request(self.command, path, query, headers, body, "127.0.0.1"))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the standard library looks for these names

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def commanded(
    configured: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command line in this process against functions in this process: exit status, stdout, stderr."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TIDEMARK_STATE", state)
        configured(FUNCTIONS_URL=f"http://127.0.0.1:{server.server_address[1]}", TIDEMARK_TOKEN=OWNER)

        def run(*words: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["tidemark", *words])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main()
            out, err = capsys.readouterr()
            # In one process with the functions, their log lines come along.
            data = "".join(f"{line}\n" for line in out.splitlines() if not line.startswith('{"severity"'))
            return int(ended.value.code or 0), data, err

        yield run
        server.shutdown()
