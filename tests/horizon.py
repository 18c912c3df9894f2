"""The horizon of the bus: readers see what is below every transaction that still runs, and other tests run on the same cluster."""

from __future__ import annotations

import time

from common import db, settings
from common.flows import publish

SECONDS = 30
# Whether nothing of another database holds back what was told in this one. What this one holds back is the test's own doing.
IS_PASSED = """
    select pg_snapshot_xmin(pg_current_snapshot()) > (select coalesce(max(xid), '0'::xid8) from tidemark.notices)
        or exists (select from pg_stat_activity where datname = current_database() and backend_xid is not null and pid <> pg_backend_pid())
"""


def passed() -> None:
    """Wait until the transactions of other tests have let go of what was told here."""
    connection = db.Connection(db.Address(settings.load().database_url))
    until = time.monotonic() + SECONDS
    try:
        while not connection.script(IS_PASSED)[0][0]:
            assert time.monotonic() < until, "another test keeps a transaction open for long"
    finally:
        connection.close()


def pushed() -> int:
    """How many notices are delivered to subscribers."""
    passed()
    return publish.publish()


def trimmed() -> int:
    """How many notices go, because there are too many or they are too old."""
    passed()
    return publish.trim()
