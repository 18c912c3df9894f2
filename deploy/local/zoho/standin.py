"""The stand-in as one thing: its data, its server, and everything that can be done to it."""

from __future__ import annotations

import collections
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from deploy.local.zoho import control
from deploy.local.zoho.api import Api, Call
from deploy.local.zoho.clock import Clock
from deploy.local.zoho.faults import Faults
from deploy.local.zoho.journal import Journal
from deploy.local.zoho.kinds import KINDS, Change, Record
from deploy.local.zoho.limits import MINUTE_SECONDS, Limits
from deploy.local.zoho.rounds import Round, played
from deploy.local.zoho.server import Server
from deploy.local.zoho.store import Store
from deploy.local.zoho.tokens import Tokens
from deploy.local.zoho.webhooks import Webhooks
from deploy.local.zoho.wire import Answer, Request

ORGANIZATION = "748369814"
SIZE = 25


class StandIn:
    """Zoho on a port of this machine; what it can do is told in the docstring of the package.

    `sizes` is a number of records for every entity, or one for each label; `port` 0 takes any that is free. With `now` the
    clock stands there (after the summer of 2024, when the data ends) until it is turned. With a `journal` it goes on from
    what stands in that file, if it is there, and writes down what changes: all but an offset that is moved.
    """

    def __init__(
        self, seed: int = 1, *, sizes: int | Mapping[str, int] = SIZE, organization: str = ORGANIZATION, port: int = 0,
        offset: str = "+0300", now: datetime | None = None, journal: Path | None = None,
        listener: socket.socket | None = None,
    ) -> None:  # fmt: skip
        self.organization = organization
        self.skew = timedelta()
        self._clock = Clock(now)
        wanted = dict.fromkeys(KINDS, sizes) if isinstance(sizes, int) else sizes
        if unknown := set(wanted) - set(KINDS):
            message = f"there is no entity {unknown.pop()!r}; there are: {', '.join(KINDS)}"
            raise ValueError(message)
        kept = Journal(journal) if journal else None
        self._store = Store(seed, organization, wanted, clock=self._clock, zone=_zone(offset), journal=kept)
        self.limits = Limits(self._clock)
        self.faults = Faults(self._clock)
        self.tokens = Tokens(seed, self._clock)
        self._api = Api(organization, self._store, self.tokens, limits=self.limits, faults=self.faults, clock=self._clock)
        self._lock = self._api.lock
        self._seed = seed
        self._webhooks: Webhooks | None = None
        self._server: Server | None = None
        self._port = port
        self._listener = listener  # one that listens already, instead of a port

    # Serving

    def start(self) -> Self:
        """Listen.

        Raises: OSError, when the port is taken.
        """
        self._server = Server(self._port, self._answer, lambda: self._clock.now() + self.skew, self._listener)
        self._port = self._server.server_address[1]
        self._api.url = self.url
        self._server.start()
        return self

    def stop(self) -> None:
        """End every connection."""
        self.faults.clear()
        if self._webhooks:
            self._webhooks.stop()
        if self._server:
            self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _answer(self, request: Request) -> Answer:
        return control.answer(self, request) if request.path.startswith("/_/") else self._api.answer(request)

    @property
    def url(self) -> str:
        """Where the API is: Books under /books/v3, Inventory under /inventory/v1."""
        return f"http://127.0.0.1:{self._port}"

    accounts_url = url

    @property
    def client_id(self) -> str:
        """The one client there is."""
        return self.tokens.client_id

    @property
    def client_secret(self) -> str:
        """Its secret."""
        return self.tokens.client_secret

    @property
    def refresh_token(self) -> str:
        """Its one refresh token."""
        return self.tokens.refresh_token

    def revoke(self) -> None:
        """End every access token."""
        with self._lock:
            self.tokens.revoke()

    # Looking

    def records(self, label: str) -> dict[str, Record]:
        """Every record of an entity as GET by id shows it now, by id; parsed from the very bytes."""
        with self._lock:
            self._store.settle()
            return {identifier: orjson.loads(row.detail) for identifier, row in self._store.rows[label].items()}

    def rows(self, label: str) -> dict[str, Record]:
        """Every record of an entity as a list shows it now, by id."""
        with self._lock:
            self._store.settle()
            return {identifier: orjson.loads(row.row) for identifier, row in self._store.rows[label].items()}

    def now(self) -> datetime:
        """The time it is here; the Date header adds `skew`."""
        return self._clock.now()

    @property
    def calls(self) -> list[Call]:
        """Every call since the start or since `forget`, refused ones and those for tokens included."""
        with self._lock:
            return list(self._api.calls)

    def forget(self) -> None:
        """Begin a new log of calls."""
        with self._lock:
            self._api.calls.clear()

    def busiest_minute(self) -> int:
        """The most calls of the API, refused ones included, that began within any 60 seconds."""
        most, recent = 0, collections.deque[float]()
        for at in sorted(call.at for call in self.calls if not call.path.startswith("/oauth")):
            recent.append(at)
            while recent[0] <= at - MINUTE_SECONDS:
                recent.popleft()
            most = max(most, len(recent))
        return most

    def throttled(self) -> dict[int, int]:
        """How many calls were answered 429, by Zoho's code."""
        return dict(collections.Counter(call.code or 0 for call in self.calls if call.status == 429))  # noqa: PLR2004

    # Changing

    def change(self, count: int = 1, *, labels: Sequence[str] = (), delete: float = 0.02) -> list[Change]:
        """What people do: records are made, edited and, with probability `delete`, deleted."""
        return self._told(lambda: self._store.change(count, labels, delete))

    def create(self, label: str, count: int = 1, **fields: Any) -> list[str]:
        """Make records; the ids. `fields` overrule what is invented."""
        return _ids(self._told(lambda: self._store.create(label, count, fields)))

    def edit(self, label: str, count: int = 1, *, ids: Sequence[str] | None = None, **fields: Any) -> list[str]:
        """Edit those records, or any; the ids. All in one second.

        Raises: KeyError, for an id that no record has.
        """
        return _ids(self._told(lambda: self._store.edit(label, ids, count, fields)))

    edit_in_bulk = edit

    def edit_quietly(self, label: str, count: int = 1, *, ids: Sequence[str] | None = None, **fields: Any) -> list[str]:
        """Change records as other documents and dates do: neither last_modified_time nor a webhook tells of it; the ids.

        Raises: KeyError, for an id that no record has; ValueError, for records that need `fields` to change.
        """
        with self._lock:
            return _ids(self._store.edit_quietly(label, ids, count, fields))

    def delete(self, label: str, count: int = 1, *, ids: Sequence[str] | None = None) -> list[str]:
        """Delete those records, or any; the ids.

        Raises: KeyError, for an id that no record has.
        """
        return _ids(self._told(lambda: self._store.delete(label, ids, count)))

    def churn(self, every: int = 0, *, label: str = "product", create: int = 0, edit: int = 0, delete: int = 0) -> None:
        """Change so many records before every so-manieth list is answered; 0 ends it."""
        calls = 0

        def act() -> None:
            nonlocal calls
            calls += 1
            if every and calls % every == 0:
                self.create(label, create)
                self.edit(label, edit)
                self.delete(label, delete)

        with self._lock:
            self._api.before_list = act

    # Time

    def turn(self, seconds: float) -> None:
        """Travel in time: on, or with a negative number back."""
        with self._lock:
            self._clock.turn(seconds)

    @property
    def late(self) -> float:
        """Seconds from a change until the API shows it; the stamp says when it was made."""
        return self._store.late

    @late.setter
    def late(self, seconds: float) -> None:
        with self._lock:
            self._store.late = seconds

    def move(self, offset: str) -> None:
        """Set the organization's offset, such as +0530; every stamp is written anew.

        Raises: ValueError, for what is no offset.
        """
        zone = _zone(offset)
        with self._lock:
            self._store.move(zone)

    # Webhooks

    def webhooks(
        self,
        url: str,
        secret: str,
        *,
        scheme: str = "zoho",
        loss: float = 0.0,
        duplicates: float = 0.0,
        form: str | None = "default",
    ) -> Webhooks:
        """Send what changes from here on to a receiver, signed; of the deliveries, shares are lost and sent twice."""
        with self._lock:
            self._webhooks = Webhooks(
                self._seed, self.organization, url, secret, scheme=scheme, loss=loss, duplicates=duplicates, form=form
            )
            return self._webhooks

    def round(self, seed: int, count: int, secret: str, *, scheme: str = "zoho", loss: float = 0.0) -> Round:
        """A day or so of changes, all at once, and the `count` deliveries that tell of them with all that goes wrong.

        They are signed and put in order, and left to the caller to send; a share `loss` is told to nobody.
        """
        with self._lock:
            return played(self._store, seed, self.organization, count, self._clock.now(), secret=secret, scheme=scheme, loss=loss)

    def _told(self, act: Any) -> list[Change]:
        with self._lock:
            changes: list[Change] = act()
            if self._webhooks:
                self._webhooks.tell(changes)
            return changes


def _zone(offset: str) -> timezone:
    if not re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", offset):
        message = f"an offset is written as +0300, not as {offset!r}"
        raise ValueError(message)
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    return timezone(-ahead if offset[0] == "-" else ahead)


def _ids(changes: Sequence[Change]) -> list[str]:
    return [change.id for change in changes]
