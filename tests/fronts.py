"""What stands before two services and sends people to one of them, and a Tidemark that can be drained; for tests."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from common import settings
from common.errors import TokenRefused
from common.rules import capability
from deploy.local.providers import StandIn

SECRET = "whsec_" + base64.b64encode(b"what directs the traffic, 32 long").decode()
DRAIN = "/blue/api/hxo/graceful-shutdown"


class Front(ThreadingHTTPServer):
    """Answers people as the place that is `active` does, and switches when a signed hook asks for it.

    It is a Tidemark at /blue as well, as far as others drain it: `drained` holds what counted, `refused` what did not.
    """

    daemon_threads = True

    def __init__(self, providers: StandIn, active: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.providers = providers
        self.active = active
        self.obeys = True  # False: it says yes, and does nothing
        self.status = 204  # of the hook
        self.before: Callable[[], Any] = lambda: None  # it switches
        self.switched: list[tuple[str, dict[str, Any]]] = []  # webhook-id and body
        self.drained: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.is_draining = False
        self._spent: set[str] = set()
        self.place = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.place}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def switch(self, headers: dict[str, str], body: bytes) -> int:
        """What a traffic director does with a hook."""
        try:
            Webhook(SECRET).verify(body, headers)
        except WebhookVerificationError as error:
            self.refused.append(str(error))
            return 401
        self.before()
        document = json.loads(body)
        self.switched.append((headers["webhook-id"], document))
        if self.obeys and self.status < 300:
            self.active = document["to"]
        return self.status

    def drain(self, headers: dict[str, str], body: bytes) -> int:
        """What our own edge does with a token: it counts here, now, for this, and once."""
        try:
            claims = capability.opened(
                headers["tidemark-token"], settings.load().signing_keys, f"{self.url}/blue", datetime.now(UTC), action="drain"
            )
        except TokenRefused as error:
            self.refused.append(error.reason)
            return 401
        if claims["nonce"] in self._spent:
            self.refused.append("replayed")
            return 401
        self._spent.add(claims["nonce"])
        document = json.loads(body)
        if document.get("resume") and not self.is_draining:
            return 409
        self.is_draining = not document.get("resume")
        self.drained.append(document)
        return 202


class _Handler(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        place = self.server.providers.places[self.server.active]
        body = json.dumps({"version": place.running}).encode()
        self._answer(200 if self.path == "/version" else 404, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        act = {"/switch": self.server.switch, DRAIN: self.server.drain}.get(self.path)
        self._answer(act(headers, body) if act else 404, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(0 if status == 204 else len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
