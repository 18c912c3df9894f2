"""Presence: this code says that it is at work, and finds out whether the schema is one that it may work on.

Once a minute for each process, whoever asks: between that it costs nothing. What it may rely on for that minute holds, because
a migration that takes something away waits until all older code has not been heard of for longer.
"""

from __future__ import annotations

import enum
import time

from common import db, settings
from common.errors import Unavailable
from common.stores import drains, migrations, releases, schema_versions

EVERY_SECONDS = 60.0
_until: dict[tuple[str, str], float] = {}


class Fit(enum.Enum):
    """How the schema goes with this code."""

    READY = "ready"
    BEHIND = "behind"  # it lacks what this code needs
    CONTRACTED = "contracted"  # it lacks what this code used, and newer code does without


def fit() -> Fit:
    """How the schema goes with this code, which says that it is at work if it may be."""
    current = settings.load()
    key = (current.database_url, releases.holder())
    if time.monotonic() < _until.get(key, 0.0):
        return Fit.READY
    with db.transaction("worker") as tx:
        version = schema_versions.newest(tx)
        if version is None or version < migrations.wanted_version():
            return Fit.BEHIND
        drain = drains.find(tx, current.deployment, current.running_release)
        if drain is not None and drain.idle_at is not None:
            return Fit.READY  # it does nothing any more: nobody has to wait for it
        # First told, then read: a migration that contracts holds the table, and is seen here once it is over.
        releases.tell(tx, migrations.known_version())
        if schema_versions.contracted_since(tx, migrations.known_version()):
            return Fit.CONTRACTED
    _until[key] = time.monotonic() + EVERY_SECONDS
    return Fit.READY


def check() -> Fit:
    """How the schema goes with this code: ready, or behind, which the next tick mends.

    Raises: Unavailable, when newer code has taken away what this uses.
    """
    found = fit()
    if found is Fit.CONTRACTED:
        with db.transaction("worker", read_only=True) as tx:
            gone = schema_versions.contracted_since(tx, migrations.known_version())
        message = f"This code ({releases.holder()}) is too old: {', '.join(gone)} took away what it uses. Deploy newer code."
        raise Unavailable(message, retry_after_seconds=60, contracted=gone)
    return found


def forget() -> None:
    """Ask and tell anew at the next call."""
    _until.clear()
