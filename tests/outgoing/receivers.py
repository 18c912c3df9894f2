"""Receivers of alerts for tests: one of signed webhooks, and one of mail, each of which can be down, slow, and gone."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import http.server
import json
import socketserver
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, so").decode()
OTHER = "whsec_" + base64.b64encode(b"another one of thirty-two bytes!").decode()


class Hooks:
    """Takes webhooks on a port of its own; what is not signed with its secret is answered 401 and not kept."""

    def __init__(self, secret: str = SECRET) -> None:
        self.secret = secret
        self.status = 204
        self.headers: dict[str, str] = {}
        self.before: Callable[[dict[str, Any]], None] = lambda _: None  # while the request waits for its answer
        self.got: list[tuple[str, dict[str, Any]]] = []  # id and body
        self.refused = 0
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._answer(self)

            def log_message(self, *_given: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts/of-some-team?key=in-the-address"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.requests += 1
        body = request.rfile.read(int(request.headers["Content-Length"]))
        status = self.status
        try:
            Webhook(self.secret).verify(body, dict(request.headers.items()))
        except WebhookVerificationError:
            self.refused += 1
            status = 401
        else:
            document = json.loads(body)
            self.before(document)
            if 200 <= status < 300:
                self.got.append((request.headers["webhook-id"], document))
        with contextlib.suppress(OSError):
            request.send_response(status)
            for name, value in self.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", "0")
            request.end_headers()

    @property
    def ids(self) -> list[str]:
        """Of everything it took, with repetitions."""
        return [identifier for identifier, _ in self.got]

    @property
    def said(self) -> list[tuple[str, str]]:
        """Kind of change and type of alert of everything it took."""
        return [(body["data"]["change"], body["data"]["alert_type"]) for _, body in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Mail:
    """Takes mail on a port of its own: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA; `answers` replaces what it says."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.commands: list[str] = []
        self.answers: dict[str, bytes] = {}  # by command: another answer, after which nothing is done
        self.before: Callable[[str], None] = lambda _: None
        self.tls = tls
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    outer._converse(self)
                except OSError:
                    pass
                finally:
                    self.connection.close()  # another one than before, when it was made safe

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _converse(self, line: socketserver.StreamRequestHandler) -> None:
        connection, reader, is_safe, recipients = line.connection, line.rfile, False, []

        def say(text: bytes) -> None:
            connection.sendall(text + b"\r\n")

        say(self.answers.get("connect", b"220 here"))
        while command := reader.readline().decode().strip():
            verb = command.split(" ")[0].upper()
            self.commands.append(verb if verb != "AUTH" else f"AUTH {'safe' if is_safe else 'in the clear'}")
            self.before(verb)
            if verb in self.answers:
                say(self.answers[verb])
                continue
            if verb == "EHLO":
                say(b"250-here\r\n" + (b"250-STARTTLS\r\n" if self.tls and not is_safe else b"") + b"250 AUTH PLAIN")
            elif verb == "STARTTLS" and self.tls:
                say(b"220 go on")
                connection = self.tls.wrap_socket(connection, server_side=True)
                line.connection, reader, is_safe = connection, connection.makefile("rb"), True
            elif verb == "AUTH":
                self.login = base64.b64decode(command.split(" ")[2]).decode().split("\x00")[1:]
                say(b"235 come in")
            elif verb == "RCPT":
                recipients.append(command.partition("<")[2].partition(">")[0])
                say(b"250 yes")
            elif verb == "DATA":
                say(b"354 go on")
                self._take(reader, recipients)
                say(b"250 taken")
            elif verb == "QUIT":
                say(b"221 bye")
                break
            else:
                say(b"250 yes")
        reader.close()

    def _take(self, reader: Any, recipients: list[str]) -> None:
        lines = []
        while (text := reader.readline()) != b".\r\n":
            lines.append(text.removeprefix(b".") if text.startswith(b"..") else text)
        self.got.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))  # type: ignore[arg-type]
        self.recipients.append(list(recipients))
        self.before("taken")

    def url(self, login: str = "") -> str:
        return f"smtp://{login}127.0.0.1:{self.port}"

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
