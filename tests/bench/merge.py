"""merge: 50,000 list rows of 1.5 KB in pages of 200 merged into records, against COPY of rows that need no parsing and naive upserts."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from common import db, lookup, settings
from common.stores import pages
from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import ORGANIZATION, Database, Result

ITEMS = 50_000
PER_PAGE = 200
NAIVE = 4_000
SIZE = 1500
SERVED = datetime(2026, 9, 1, tzinfo=UTC)
MORE: dict[str, Any] = {
    "source": "api", "is_linked_with_zohocrm": False, "zcrm_product_id": "", "tax_name": "", "purchase_account_id": "",
    "purchase_account_name": "", "can_be_sold": True, "can_be_purchased": False, "track_inventory": True, "has_attachment": False,
    "image_name": "", "image_type": "", "image_document_id": "", "product_subtype": "", "purpose_of_use": "", "vendor_name": "", "tags": [],
}  # fmt: skip
BARE = """
    create table bare (
        id bigint primary key, name text, sku text, unit text, status text, rate numeric, purchase_rate numeric, stock_on_hand numeric,
        available_stock numeric, brand text, manufacturer text, created_time timestamptz, last_modified_time timestamptz, raw jsonb, hash uuid)
"""
COLUMNS = (
    "name",
    "sku",
    "unit",
    "status",
    "rate",
    "purchase_rate",
    "stock_on_hand",
    "available_stock",
    "brand",
    "manufacturer",
    "created_time",
    "last_modified_time",
)
UPSERT = f"""
    insert into bare (id, {", ".join(COLUMNS)}, raw, hash)
    values (:id::bigint, {", ".join(f"(:{column})" for column in COLUMNS[:4])}, :rate::numeric, :purchase_rate::numeric, :stock_on_hand::numeric,
            :available_stock::numeric, :brand, :manufacturer, :created_time::timestamptz, :last_modified_time::timestamptz, :raw::jsonb, :hash::uuid)
    on conflict (id) do update set ({", ".join(COLUMNS)}, raw, hash) = row ({", ".join(f"excluded.{column}" for column in COLUMNS)}, excluded.raw, excluded.hash)
"""
_later = itertools.count()


def a_row(number: int) -> dict[str, Any]:
    """An item as a list has it, about 1.5 KB of JSON."""
    item = json.loads(events.item(number))["item"] | MORE
    item["item_name"] = item["name"]
    words = f"A lamp of brass, the {number}th of its kind, with a shade that is green or blue. "
    item["description"] = ""
    room = SIZE - len(json.dumps(item, separators=(",", ":")))
    return item | {"description": (words * 20)[:room]}


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The answer of a list."""
    context = {"page": 1, "per_page": len(rows), "has_more_page": True, "report_name": "Items"}
    return json.dumps({"code": 0, "message": "success", "items": rows, "page_context": context}, separators=(",", ":"))


def cut(rows: Sequence[dict[str, Any]], size: int) -> list[str]:
    """Rows as pages."""
    return [page(rows[start : start + size]) for start in range(0, len(rows), size)]


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("merge")
    rows = [a_row(number) for number in range(ITEMS)]
    chance = random.Random(7)
    changed = [
        item | {"rate": 99, "last_modified_time": "2026-08-30T10:00:00+0000"} if chance.random() < 0.01 else item for item in rows
    ]
    everything = [item | {"rate": 98, "last_modified_time": "2026-08-31T10:00:00+0000"} for item in rows]
    loads = {"200": cut(rows, PER_PAGE), "1000": cut(rows, 5 * PER_PAGE)}
    with lab.database(cluster, "bench_merge") as mine, lab.database(cluster, "bench_bare", empty=True) as bare:
        bare.sql(BARE)
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "copy of parsed rows": lambda: _copied(bare, rows),
            "copy into the same table": lambda: _copied_same(mine, rows),
            "first load, 1 connection": lambda: _first(mine, loads["200"], 1),
            "unchanged, 1 connection": lambda: _merged(mine, loads["200"], 1, "unchanged"),
            "1 % changed, 1 connection": lambda: _merged(mine, cut(changed, PER_PAGE), 1, "updated", 400),
            "all changed, 1 connection": lambda: _merged(mine, cut(everything, PER_PAGE), 1, "updated"),
            "first load, 5 pages at once": lambda: _first(mine, loads["1000"], 1),
            "first load, 4 connections": lambda: _first(mine, loads["200"], 4),
            "unchanged, 4 connections": lambda: _merged(mine, loads["200"], 4, "unchanged"),
            "naive upserts, commit per page": lambda: _naive(bare, rows[:NAIVE]),
        }
        found = lab.alternate(rounds, contenders)
        try:
            found |= _dlt(cluster, rows)
        except lab.Missing as missing:
            result.notes.append(f"Without dlt: {missing}")
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    limit, naive = found["copy of parsed rows"]["per_second"], found["naive upserts, commit per page"]["per_second"]
    result.goal("first load, 1 connection, times COPY", found["first load, 1 connection"]["per_second"] / limit, 0.5)
    result.goal("first load, 4 connections, times COPY", found["first load, 4 connections"]["per_second"] / limit, 0.65)
    same = found["copy into the same table"]["per_second"]
    result.goal(
        "first load, 1 connection, times COPY into the same table", found["first load, 1 connection"]["per_second"] / same, 0.5
    )
    result.goal("first load, 4 connections, times the same", found["first load, 4 connections"]["per_second"] / same, 0.65)
    result.goal("first load, 1 connection, times naive", found["first load, 1 connection"]["per_second"] / naive, 8)
    result.goal("unchanged, 1 connection, times naive", found["unchanged, 1 connection"]["per_second"] / naive, 10)
    result.goal("WAL bytes an unchanged row", found["unchanged, 1 connection"]["wal_bytes"], 20, at_least=False)
    if "dlt, first load" in found:
        dlt, again = found["dlt, first load"]["per_second"], found["dlt, unchanged"]["per_second"]
        result.goal("first load, 1 connection, times dlt merge", found["first load, 1 connection"]["per_second"] / dlt, 8)
        result.goal("first load, 4 connections, times dlt merge", found["first load, 4 connections"]["per_second"] / dlt, 8)
        result.goal("unchanged, 1 connection, times dlt merge", found["unchanged, 1 connection"]["per_second"] / again, 10)
    return result


def _dlt(cluster: Cluster, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """One round: dlt takes a while."""
    python = lab.peers("dlt", ["dlt[postgres]==1.31.0"], "import dlt")
    file = lab.HOME / "pages.jsonl"
    file.write_text("".join(json.dumps(rows[start : start + PER_PAGE]) + "\n" for start in range(0, len(rows), PER_PAGE)))
    with lab.database(cluster, "bench_dlt", empty=True) as database:
        address = db.Address(database.url)
        where: dict[str, Any] = {"database": database.name, "username": address.user, "host": "localhost", "password": "none"}
        if address.socket:
            where["query"] = {"host": address.socket.rpartition("/")[0]}
        done = subprocess.run(
            [python, str(lab.HERE / "dlt_merge.py"), json.dumps(where), str(file)], check=False, capture_output=True, text=True
        )
    file.unlink()
    if done.returncode != 0:
        raise lab.Missing((done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:200])
    first, again = json.loads(done.stdout.splitlines()[-1])
    return {"dlt, first load": {"per_second": first}, "dlt, unchanged": {"per_second": again}}


def _first(database: Database, texts: Sequence[str], threads: int) -> dict[str, float]:
    database.sql("truncate erp.products; checkpoint")
    return _merged(database, texts, threads, "inserted")


def _merged(database: Database, texts: Sequence[str], threads: int, outcome: str, at_least: int = ITEMS) -> dict[str, float]:
    os.environ.update(database.environment())
    settings.load.cache_clear()
    entity, plan = lookup.find("entities", "products").ENTITY, uuid.uuid4()
    served = SERVED + timedelta(minutes=next(_later))

    def merge(text: str) -> int:
        def work(tx: db.Transaction, careful: bool) -> pages.Merged:  # noqa: FBT001
            return pages.merge(
                tx, entity, ORGANIZATION, text, "items", served_at=served, provenance="scheduled", run=plan, careful=careful
            )

        return int(getattr(pages.replayed(work, "worker"), outcome))

    if outcome != "inserted":
        database.sql("vacuum analyze erp.products")  # what the load before left behind is the load's
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: time.sleep(0), range(threads)))
        cpu = time.process_time()
        with database.cost() as cost:
            counts = list(pool.map(merge, texts)) if threads > 1 else [merge(text) for text in texts]
        cpu = time.process_time() - cpu
    assert sum(counts) >= at_least, (outcome, sum(counts))
    db.pool().discard()
    return _numbers(cost, ITEMS, cpu)


def _numbers(cost: lab.Cost, rows: int, cpu: float) -> dict[str, float]:
    return {
        "per_second": rows / cost.seconds,
        "py_us": cpu / rows * 1e6,
        "pg_us": cost.cpu_seconds / rows * 1e6,
        "wal_bytes": cost.wal_bytes / rows,
    }


def _values(item: dict[str, Any]) -> dict[str, str]:
    raw = json.dumps(item, separators=(",", ":"))
    named = {column: str(item[column]) for column in COLUMNS}
    return {"id": item["item_id"], **named, "raw": raw, "hash": str(uuid.uuid5(uuid.NAMESPACE_OID, raw))}


def _copied(database: Database, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    database.sql("truncate bare; checkpoint")
    return _copy(database, f"bare (id, {', '.join(COLUMNS)}, raw, hash)", [_values(item) for item in rows])


def _copied_same(database: Database, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What Postgres can do at most for the records themselves: no parsing, no comparison, no audit."""
    database.sql("truncate erp.products; checkpoint")
    entity = lookup.find("entities", "products").ENTITY
    columns = [name for name in entity.columns if name in rows[0] and rows[0][name] != "" and name != "custom_fields"]
    names = [
        "organization_id",
        "source_id",
        *columns,
        "source_modified_at",
        "observed_at",
        "list_document",
        "list_hash",
        "provenance",
    ]
    given = []
    for item in rows:
        raw = _values(item)
        values = [
            ORGANIZATION,
            item["item_id"],
            *(str(item[name]) for name in columns),
            item["last_modified_time"],
            SERVED.isoformat(),
        ]
        given.append(dict(zip(names, [*values, raw["raw"], raw["hash"], "scheduled"], strict=True)))
    return _copy(database, f"erp.products ({', '.join(names)})", given)


def _copy(database: Database, into: str, rows: Sequence[dict[str, str]]) -> dict[str, float]:
    lines = []
    for row in rows:
        fields = [value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n") for value in row.values()]
        lines.append("\t".join(fields) + "\n")
    stream = io.BytesIO("".join(lines).encode())
    connection = db.Connection(db.Address(database.url))
    connection.raw.settimeout(600)
    cpu = time.process_time()
    with database.cost() as cost:
        connection.socket.run(f"copy {into} from stdin", stream=stream)
    connection.close()
    return _numbers(cost, len(rows), time.process_time() - cpu)


def _naive(database: Database, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    database.sql("truncate bare; checkpoint")
    os.environ.update(database.environment())
    settings.load.cache_clear()
    cpu = time.process_time()
    with database.cost() as cost:
        for start in range(0, len(rows), PER_PAGE):
            with db.transaction() as tx:
                for item in rows[start : start + PER_PAGE]:
                    tx.statement(UPSERT, _values(item))
    db.pool().discard()
    return _numbers(cost, len(rows), time.process_time() - cpu)
