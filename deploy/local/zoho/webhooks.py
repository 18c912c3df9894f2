"""The webhooks of the stand-in's own changes: made by the emitter, sent by the sender, some lost and some sent twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from deploy.local.zoho import shapes
from deploy.local.zoho.emitter import Delivery, Emitter
from deploy.local.zoho.kinds import Change

CONNECTIONS = 2


class Webhooks:
    """Sends to one receiver. Every change has its own delivery, in the order of the changes as far as two connections can."""

    def __init__(
        self, seed: int, organization: str, url: str, secret: str, *, scheme: str, loss: float, duplicates: float, form: str | None
    ) -> None:
        # The sender knows deliveries, so this package must be there before it is.
        from deploy.local.sender import Sender  # noqa: PLC0415

        self.lost: list[Delivery] = []
        self.sent: list[Delivery] = []
        self._senders: list[Sender] = []
        self._new: Callable[[], Sender] = lambda: Sender(url, CONNECTIONS)
        self._emitter = Emitter(seed, organization, secret, scheme=scheme, form=form)
        self._chance = random.Random(f"webhooks {seed}")  # noqa: S311 - repeatable is the point
        self._loss, self._duplicates = loss, duplicates

    def tell(self, changes: Iterable[Change]) -> None:
        """Send what became of each record; returns at once."""
        deliveries: list[Delivery] = []
        for change in changes:
            whole = replace(change, record=shapes.detail(change.kind, change.record))
            delivery = self._emitter.tell(whole)
            if self._chance.random() < self._loss:
                self.lost.append(delivery)
                continue
            deliveries += [delivery] * (2 if self._chance.random() < self._duplicates else 1)
        if deliveries:
            self.sent += deliveries
            sender = self._new()
            self._senders.append(sender)
            sender.start(deliveries)

    def wait(self, seconds: float = 30.0) -> list[int]:
        """Wait until all is answered; the statuses.

        Raises: OSError, when nobody answers; TimeoutError, when somebody takes longer than that.
        """
        until = time.monotonic() + seconds
        while not all(sender.is_done for sender in self._senders):
            if time.monotonic() > until:
                message = "the receiver has not answered all webhooks"
                raise TimeoutError(message)
            time.sleep(0.005)
        return [reply.status for sender in self._senders for reply in sender.replies]

    def stop(self) -> None:
        """Send no more."""
        for sender in self._senders:
            sender.stop()
