"""What a notice looks like to those who are told of it, and how long after an attempt that failed the next one is made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from common.rules.cursors import Cursor
from common.rules.topics import SCHEMA

GAP = "genesis.gap"  # no topic: what a subscription is told instead of notices that are gone


class Notice(NamedTuple):
    """A notice as it is told."""

    id: str
    at: datetime
    topic: str
    source: str
    kind: str
    correlation_id: str | None
    causation_id: str | None
    payload: dict[str, Any]
    dedupe_key: str | None
    xid: int
    seq: int

    @property
    def cursor(self) -> Cursor:
        """Its place in the order."""
        return Cursor(self.xid, self.seq)


def envelope(notice: Notice) -> dict[str, Any]:
    """A notice with everything that is known of it; `seq` is the cursor that stands behind it."""
    return {
        "id": notice.id,
        "ts": notice.at,
        "topic": notice.topic,
        "source": notice.source,
        "kind": notice.kind,
        "correlation_id": notice.correlation_id,
        "causation_id": notice.causation_id,
        "schema": SCHEMA,
        "payload": notice.payload,
        "dedupe_key": notice.dedupe_key,
        "seq": str(notice.cursor),
    }


def message(told: Mapping[str, Any]) -> dict[str, Any]:
    """A notice as a webhook says it."""
    return {"type": told["topic"], "timestamp": told["ts"], "data": told}


def message_id(subscription: str, notice: str) -> str:
    """What a webhook carries at every attempt: one and the same for this notice and this subscription."""
    return str(uuid.uuid5(uuid.UUID(subscription), notice))


def gap(subscription: str, since: Cursor, upto: Cursor, lost: int, at: datetime) -> dict[str, Any]:
    """What stands for notices that were gone before they could be told. The same gap has the same id."""
    return {
        "id": message_id(subscription, f"{since} {upto}"),
        "ts": at,
        "topic": GAP,
        "source": "bus",
        "kind": "control",
        "correlation_id": subscription,
        "causation_id": None,
        "schema": SCHEMA,
        "payload": {"from": str(since), "to": str(upto), "lost": lost},
        "dedupe_key": None,
        "seq": str(upto),
    }


def secret(key: bytes, subscription: str) -> str:
    """What the webhooks of a subscription are signed with: it follows from our key, so that it need not be stored."""
    digest = hmac.new(key, b"tidemark subscription " + subscription.encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(digest).decode()
