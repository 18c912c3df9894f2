"""/api/db/health: what keeps the database from cleaning up is named, though its role may not look at others itself."""

from __future__ import annotations

from common import db
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import wsgi


def test_the_oldest_transaction_is_told_with_its_process(sql, database_url):
    def told() -> tuple[float | None, int | None]:
        found = wsgi(Request("GET", "/api/db/health", "", (("authorization", f"Bearer {OWNER}"),)), "health").json
        return found["oldest_snapshot_seconds"], found["oldest_snapshot_pid"]

    assert told() == (None, None)
    holder = db.Connection(db.Address(database_url))
    try:
        holder.raw.settimeout(10)
        ((pid,),) = holder.script("begin isolation level repeatable read; select pg_backend_pid()")
        sql("select 1")
        seconds, named = told()
        assert named == pid
        assert seconds is not None
        assert seconds > 0
    finally:
        holder.close()
