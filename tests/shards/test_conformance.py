"""One suite for every shard kind: it counts its shards, a chunk is every shard of it once, twice is once, undo restores."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest

from common import db, lookup, settings, shards
from common.errors import Invalid
from common.flows import work
from common.rules import merkle
from common.rules.shard import Context, Ran, Stage
from common.stores import plans, runs
from tests import releases
from tests.conftest import ORGANIZATION
from tests.shards import deploying

HASH = merkle.hasher("sha3_256")
SHARED = {"source": "zoho", "provenance": "scheduled", "urgency": "interactive"}
TREE = "tests/shards/tree"
SAME = "update erp.products set name = name where stock_on_hand >= :lo and stock_on_hand < :hi"
# For every kind: a config that it can be run with, and how many of its shards to try. A kind without one fails here.
TRIED = {
    "noop": ({"shards": 50}, 50),
    "assets.index": ({"directory": TREE}, 2),
    "assets.stage": ({"directory": TREE, "partitioner": "by_asset_bucket"}, 2),
    "deploy.migrate": ({"statement": SAME, "total_rows": 3, "batch_size": 1}, 3),
    "deploy.pack": ({"directory": TREE, "partitioner": "by_module"}, 3),
    "deploy.prime": ({}, 1),
    **{kind: (config, 2) for kind, config in deploying.CONFIGS.items()},
    "deploy.bootstrap": (deploying.CONFIGS["deploy.bootstrap"], 3),
    "deploy.diagnostics": (deploying.CONFIGS["deploy.diagnostics"], 3),
    "deploy.finalize": (deploying.CONFIGS["deploy.finalize"], 1),
    "deploy.vote": (deploying.CONFIGS["deploy.vote"], 5),
    "docs.index": ({"directory": TREE}, 2),
    "system.migrate": ({}, 1),
    "sync.pages": ({"entity": "product", "mode": "full", "since": None, "per_page": 10, **SHARED}, 3),
    "sync.refetch": ({"calls": 5, **SHARED}, 2),
    "reconcile.compare": ({"entity": "invoice", "mode": "cheapest", **SHARED}, 1),
    "reconcile.close": (SHARED, 1),
}
TABLES = ("erp.products", "erp.invoices", "tidemark.seen_ids", "tidemark.packed_objects", "tidemark.indexed_files")
TABLES += ("tidemark.indexed_docs", "tidemark.stage_results")
TABLES += ("tidemark.deployments", "tidemark.deployment_targets", "tidemark.votes", "tidemark.notices")


@pytest.fixture
def world(request, kind):
    """Where a kind can be run: a deploy that has come to it, or a run that a sync would have begun."""
    if kind not in deploying.CONFIGS:
        yield request.getfixturevalue("synced")
        return
    sql, configured, turn_clock = (request.getfixturevalue(name) for name in ("sql", "configured", "turn_clock"))
    with releases.opened(sql, configured, turn_clock) as found:
        yield deploying.before(found, kind)


@pytest.fixture
def synced(database_url, source, served, configured, tmp_path):
    """A database and a source with something in it, and a run that a sync would have begun."""
    configured(FUNCTIONS_URL=served.url, HXO_ARTIFACTS_DIR=str(tmp_path / "artifacts"))
    run = str(uuid4())
    with db.transaction("worker") as tx:
        plan = str(
            plans.add(
                tx,
                plans.Draft(
                    name="conformance", priority=5, definition={}, stages=[], max_concurrency=1, shard_timeout=work.LEASE,
                    retry_budget=1, timebox=work.LEASE, hash="sha3_256", seed="00", submitted_by="test",
                ),
                run,
            )
        )  # fmt: skip
        runs.add(tx, plan, run_type="scheduled", mode="full", runs=[(run, "product")], snapshot={}, worker="test")
    return run


def context(kind, config, run):
    if isinstance(run, deploying.Before):
        return deploying.context(run, kind)
    has_parts = getattr(shards.find(kind), "IN_PARTS", False)
    stage = Stage(plan=run, no=0, id="one", kind=kind, config=config if has_parts else config | {"run": run}, shards=None)
    return Context(stage, HASH, time.monotonic() + 30, 0, None, lambda _=None: None, "test")


def opened(kind, config, run):
    """How many parts a kind finds when its stage opens; None: it has none."""
    module = shards.find(kind)
    if not getattr(module, "IN_PARTS", False):
        return None
    with db.transaction("worker") as tx:
        return module.open(tx, context(kind, config, run).stage)


def standing(sql):
    """What stands, without when it came to stand there."""
    kept = Path(settings.load().hxo_artifacts_dir)
    files = {str(path): path.read_bytes() for path in kept.rglob("*") if path.is_file()} if kept.is_absolute() else {}
    return {"files": files} | {
        table: sql(
            f"select (to_jsonb(t) - '{{observed_at,stock_read_at,created_at,updated_at,event_id,seen_at}}'::text[])::text from {table} t order by 1"
        )
        for table in TABLES
    }


def committed(ran):
    with db.transaction("worker") as tx:
        if ran.effect is not None:
            ran.effect(tx)


def test_every_kind_is_tried():
    assert set(TRIED) >= set(shards.kinds())


def test_a_kind_without_a_trial_would_be_seen():
    assert not set(TRIED) >= {*shards.kinds(), "another"}


@pytest.mark.parametrize("kind", shards.kinds())
def test_a_kind_is_named_after_its_file_and_counts_its_shards(kind):
    module = shards.find(kind)
    assert module.__name__.rpartition(".")[2] == kind.replace(".", "_")
    config, tried = TRIED[kind]
    assert module.plan(config) in (None, tried)


@pytest.mark.parametrize("kind", shards.kinds())
@pytest.mark.parametrize("config", [{"shards": "5", "entity": 7}, {"shards": -1, "entity": "nobody"}])
def test_a_config_that_cannot_be_is_refused_with_pointers(kind, config):
    if kind in {"sync.refetch", "reconcile.close"}:  # they take whatever there is
        return
    with pytest.raises(Invalid) as refused:
        shards.find(kind).plan(config)
    assert all(fault["pointer"].startswith("/") for fault in refused.value.fields["errors"])


@pytest.mark.parametrize("kind", shards.kinds())
def test_a_chunk_is_each_of_its_shards_once_and_twice_is_once(kind, world, sql):
    module, (config, tried) = shards.find(kind), TRIED[kind]
    assert opened(kind, config, world) in (None, tried)
    seen = []
    for shard in range(tried):
        ran = deploying.ran(module, range(shard, shard + 1), context(kind, config, world))
        assert isinstance(ran, Ran)
        assert len(ran.leaves) == 1
        assert all(len(leaf) == merkle.SIZE for leaf in ran.leaves)
        assert not ran.failures
        committed(ran)
        seen += ran.leaves
    once = standing(sql)
    again = [deploying.ran(module, range(shard, shard + 1), context(kind, config, world)) for shard in range(tried)]
    for ran in again:
        committed(ran)
    assert standing(sql) == once


@pytest.mark.parametrize(
    "kind", [kind for kind in shards.kinds() if kind in TRIED and (shards.find(kind).plan(TRIED[kind][0]) or 0) > 1]
)
def test_a_kind_with_counted_shards_takes_any_chunk(kind, world):
    module, (config, tried) = shards.find(kind), TRIED[kind]
    opened(kind, config, world)
    whole = deploying.ran(module, range(tried), context(kind, config, world)).leaves
    parts = [
        leaf
        for lo, hi in ((0, 1), (1, tried // 2), (tried // 2, tried))
        for leaf in deploying.ran(module, range(lo, hi), context(kind, config, world)).leaves
    ]
    assert parts == list(whole)
    assert len(set(whole)) == tried  # no two shards say the same


@pytest.mark.parametrize("kind", [kind for kind in shards.kinds() if hasattr(shards.find(kind), "undo")])
def test_undo_restores_what_stood(kind, world, sql):
    module, (config, tried) = shards.find(kind), TRIED[kind]
    before = standing(sql)
    opened(kind, config, world)
    committed(deploying.ran(module, range(tried), context(kind, config, world)))
    committed(module.undo(range(tried), context(kind, config, world)))
    assert standing(sql) == before


def test_the_list_of_kinds_is_the_folder():
    assert len(shards.kinds()) == len(lookup.names("shards"))
    assert ORGANIZATION
