"""OAuth as accounts.zoho.com does it for a refresh token: errors with 200, ten tokens in ten minutes, thirty alive at most."""

from __future__ import annotations

import random
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from deploy.local.zoho.clock import Clock

LIFE_SECONDS = 3600
WINDOW_SECONDS = 600.0
PER_WINDOW = 10
ALIVE = 30
_BLOCKED = {
    "error": "Access Denied",
    "error_description": "You have made too many requests continuously. Please try again after some time.",
    "status": "failure",
}


class Tokens:
    """The access tokens of one client with one refresh token. Whoever calls it holds the stand-in's lock."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._chance = random.Random(f"tokens {seed}")  # noqa: S311 - nothing here is secret
        self.client_id = f"1000.{self._word(30).upper()}"
        self.client_secret = self._word(42)
        self.refresh_token = f"1000.{self._word(32)}.{self._word(32)}"
        self.limited = True
        self._clock = clock
        self._made: list[float] = []
        self._ends: dict[str, float] = {}  # of each token alive, oldest first

    def answer(self, asked: Mapping[str, str], api_domain: str) -> tuple[int, dict[str, Any]]:
        """Status and body for a call of /oauth/v2/token."""
        if asked.get("client_id") != self.client_id or asked.get("client_secret") != self.client_secret:
            return HTTPStatus.OK, {"error": "invalid_client"}
        if asked.get("grant_type") != "refresh_token":
            return HTTPStatus.OK, {"error": "unsupported_grant_type"}
        if asked.get("refresh_token") != self.refresh_token:
            return HTTPStatus.OK, {"error": "invalid_code"}
        now = self._clock.elapsed()
        self._made = [at for at in self._made if at > now - WINDOW_SECONDS]
        if self.limited and len(self._made) >= PER_WINDOW:
            return HTTPStatus.BAD_REQUEST, _BLOCKED
        self._made.append(now)
        token = self._made_at(now)
        return HTTPStatus.OK, {
            "access_token": token, "api_domain": api_domain, "token_type": "Bearer", "expires_in": LIFE_SECONDS,
        }  # fmt: skip

    def is_alive(self, token: str) -> bool:
        """Whether it opens the door."""
        return self._ends.get(token, float("-inf")) > self._clock.elapsed()

    def revoke(self) -> None:
        """End every access token."""
        self._ends.clear()

    def _made_at(self, now: float) -> str:
        self._ends = {token: end for token, end in self._ends.items() if end > now}
        while len(self._ends) >= ALIVE:
            del self._ends[next(iter(self._ends))]
        token = f"1000.{self._word(32)}.{self._word(32)}"
        self._ends[token] = now + LIFE_SECONDS
        return token

    def _word(self, length: int) -> str:
        return f"{self._chance.getrandbits(4 * length):0{length}x}"
