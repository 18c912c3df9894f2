"""Certificates: signed statements of what came of plans."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common import encoding, settings
from common.db import Transaction
from common.rules import capability


class Certificate(NamedTuple):
    """A certificate as it was issued, and whether its plan still stands as it did then."""

    id: str
    plan: str
    root: bytes
    statement: str
    signature: str
    issued_at: datetime
    is_current: bool

    @property
    def document(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = encoding.loads(self.statement)
        return found

    @property
    def is_signed(self) -> bool:
        """Whether a key that still counts signed exactly this, about this root."""
        try:
            said = self.document
        except ValueError:
            return False
        if not capability.is_attested(said, self.signature, "certificate", settings.load().signing_keys):
            return False
        return [subject["digest"] for subject in said["subject"]] == [{said["predicate"]["hash"]: self.root.hex()}]

    @property
    def counts(self) -> bool:
        """Whether the plan is certified by it."""
        return self.is_current and self.is_signed

    def brief(self) -> dict[str, Any]:
        """In one line."""
        return {
            "certified": self.counts,
            "certificate_id": self.id,
            "timestamp": self.issued_at,
            "merkle_root": self.root.hex(),
            "key_id": self.signature.partition(".")[0],
        }

    def told(self) -> dict[str, Any]:
        """As it is shown, with what anybody needs to check its signature."""
        certificate = self.brief() | {"statement": self.document, "signature": self.signature}
        return {"plan_id": self.plan, "certified": self.counts, "certificate": certificate}


def now(tx: Transaction) -> datetime:
    """The time of this transaction."""
    found: datetime = tx.value("certificates.now")
    return found


def add(tx: Transaction, *, identifier: str, plan: str, root: bytes, finished_at: datetime, statement: dict[str, Any]) -> bool:
    """Sign a statement about a plan and keep it; False when the plan has changed since, or is certified already."""
    text = encoding.canonical(statement).decode()
    return (
        tx.run(
            "certificates.add",
            id=identifier,
            plan=plan,
            root=root,
            finished_at=finished_at,
            statement=text,
            signature=capability.attested(statement, "certificate", settings.load().signing_keys[0]),
            issued_at=now(tx),
        )
        == 1
    )


def newest(tx: Transaction, plan: str) -> Certificate | None:
    """The newest certificate of a plan."""
    return tx.one(Certificate, "certificates.newest", plan=plan)
