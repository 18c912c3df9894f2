"""Nonces: what makes a token one that may be used once."""

from __future__ import annotations

from datetime import datetime

from common.db import Transaction


def spend(tx: Transaction, nonce: str, until: datetime) -> bool:
    """Use a nonce up; False when it was used before. It is remembered until nobody would accept its token any more."""
    return tx.run("nonces.spend", nonce=nonce, until=until) == 1
