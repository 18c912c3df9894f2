"""The calling side of the stand-in's tests: one kept connection that logs in when it must."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from deploy.local.zoho import StandIn
from deploy.local.zoho.modules import BOOKS, INVENTORY

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What came back; `json` raises ValueError when it is none."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> int:
        return int(self.json["code"])


class Caller:
    """Calls a stand-in as a client would."""

    def __init__(self, zoho: StandIn) -> None:
        self.zoho = zoho
        self.token = ""
        self.connection = http.client.HTTPConnection(urlsplit(zoho.url).netloc, timeout=10)

    def ask(self, method: str, target: str, body: str | None = None, **headers: str) -> Reply:
        """Any request."""
        self.connection.request(method, target, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = self.connection.getresponse()
        return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read().decode())

    def log_in(self, **changed: str) -> Reply:
        """Fetch an access token."""
        asked = {
            "refresh_token": self.zoho.refresh_token, "client_id": self.zoho.client_id, "client_secret": self.zoho.client_secret,
            "grant_type": "refresh_token",
        }  # fmt: skip
        reply = self.ask("POST", f"/oauth/v2/token?{urlencode(asked | changed)}")
        self.token = reply.json.get("access_token", self.token)
        return reply

    def get(self, path: str, *, base: str = BOOKS, method: str = "GET", raw: str = "", **query: Any) -> Reply:
        """A call of the API; `raw` is put behind the query as it stands."""
        if not self.token:
            self.log_in()
        asked = urlencode({"organization_id": self.zoho.organization} | query)
        return self.ask(method, f"{base}/{path}?{asked}{raw}", Authorization=f"Zoho-oauthtoken {self.token}")

    def inventory(self, path: str, **query: Any) -> Reply:
        """A call of Inventory."""
        return self.get(path, base=INVENTORY, **query)

    def walk(self, path: str, key: str, *, base: str = BOOKS, most: int = 100, **query: Any) -> list[dict[str, Any]]:
        """Every row, page after page."""
        rows: list[dict[str, Any]] = []
        for page in range(1, most + 1):
            found = self.get(path, base=base, page=page, **query).json
            rows += found[key]
            if not found.get("page_context", {}).get("has_more_page"):
                break
        return rows

    def close(self) -> None:
        self.connection.close()
