"""How stages are cut: partitioners see real work, the scheduler that was chosen is called, and plans keep to themselves."""

from __future__ import annotations

import pytest

from common import db
from common.flows import plan_status, plans, work
from common.rules import schedulers, shard
from common.rules.http import Request
from common.stores import parts
from tests.packs import outputs, ran, submitted
from tests.served import served  # noqa: F401 - the fixture

SIZES = {"a/1": 1, "a/2": 1, "a/3": 900_000, "a/4": 900_000, "b/1": 1, "b/2": 1, "b/3": 1, "b/4": 1}


@pytest.fixture
def sized(site):
    """Eight files in two folders, two of them large; each is a part of its own."""
    for path, size in SIZES.items():
        (site / "sized" / path).parent.mkdir(parents=True, exist_ok=True)
        (site / "sized" / path).write_bytes(b"x" * size)
    return {"directory": "sized", "buckets": {path: [path] for path in SIZES}}


def lanes(plan, sql):
    """What each lane of a plan works through, in order."""
    rows = sql(
        "select l.no, p.part ->> 'bucket' from tidemark.lanes l join tidemark.parts p on p.plan = l.plan and p.stage = l.stage"
        f" and p.shard >= l.lo and p.shard < l.hi where l.plan = '{plan}' order by l.no, p.shard"
    )
    return [[name for no, name in rows if no == lane] for lane in sorted({no for no, _ in rows})]


def cut(sized, sql, scheduler):
    more = {"concurrency": 2} | ({"scheduler": scheduler} if scheduler else {})
    plan = submitted("assets.index", more=more, **sized)
    return plan, lanes(plan, sql)


def test_hxo_fault_1_the_chosen_scheduler_is_called_and_each_cuts_in_its_own_way(sized, sql, monkeypatch):
    called = []
    for name, real in list(schedulers.SCHEDULERS.items()):
        monkeypatch.setitem(
            schedulers.SCHEDULERS,
            name,
            lambda units, count, pressure, name=name, real=real: called.append(name) or real(units, count, pressure),
        )
    found = {name: cut(sized, sql, name) for name in (None, *schedulers.SCHEDULERS)}
    assert called == list(schedulers.SCHEDULERS)
    shown = [dealt for _, dealt in found.values()]
    assert all(one != other for number, one in enumerate(shown) for other in shown[:number])
    hot = found["hot_shard_splitter"][1]
    assert sorted(lane[0] for lane in hot) == ["a/3", "a/4"]  # one large file a lane, and first
    assert found[None][1] == [sorted(SIZES)[:4], sorted(SIZES)[4:]]
    work.work()
    for plan, dealt in found.values():
        said = outputs(ran(plan))
        assert [each["bucket"] for each in said] == [name for lane in dealt for name in lane]
        assert sorted(each["bucket"] for each in said) == sorted(SIZES)


def test_backpressure_takes_fewer_lanes_while_others_are_at_work(sized, sql, configured):
    idle = cut(sized, sql, "backpressure_aware")[1]
    configured(HXO_MAX_CONCURRENCY="2")
    sql("update tidemark.lanes set leased_until = app_now() + interval '1 minute', token = 1")
    busy = cut(sized, sql, "backpressure_aware")[1]
    assert (len(idle), len(busy)) == (2, 1)
    assert busy[0][-2:] == ["a/3", "a/4"]  # the heaviest at last


@pytest.mark.parametrize("scheduler", [None, *schedulers.SCHEDULERS])
def test_shards_without_parts_are_cut_as_ever(scheduler, database_url, sql):
    stage = {"id": "one", "kind": "noop", "concurrency": 4, "config": {"shards": 1000}} | (
        {"scheduler": scheduler} if scheduler else {}
    )
    plan = plans.submit(Request("POST", "/"), {"name": "x", "stages": [stage]})[1]["plan_id"]
    assert [tuple(row) for row in sql("select lo, hi from tidemark.lanes order by no")] == shard.lanes(1000, 4)
    ran(plan)


def test_hxo_fault_1_partitions_come_from_real_work_not_from_numbers_in_the_config(site, sql):
    first = submitted("deploy.pack", chunk_size_mb=1)
    (site / "large.bin").write_bytes(b"x" * 1_500_000)
    second = submitted("deploy.pack", chunk_size_mb=1)
    assert [plan_status.status(plan)["total_shards"] for plan in (first, second)] == [1, 3]
    with db.transaction("status") as tx:
        assert [unit.weight for unit in parts.units(tx, second, 0)][1:2] == [1_500_000]


def test_hxo_fault_1_executors_do_real_work(site, served, sql, configured):  # noqa: F811 - the fixture
    """None of them can answer right without having read the file, run the statement or called the address."""
    configured(EGRESS_ALLOW=served.place, HXO_SOURCE_DIR=str(site))
    sql("create table erp.done (id integer primary key, is_seen boolean)")
    sql("insert into erp.done values (0), (1)")
    said = {
        "deploy.pack": outputs(ran(submitted("deploy.pack")))[0]["files_processed"],
        "assets.index": sum(each["assets_indexed"] for each in outputs(ran(submitted("assets.index")))),
        "assets.stage": outputs(ran(submitted("assets.stage")))[0]["assets_staged"],
        "docs.index": sum(each["docs_indexed"] for each in outputs(ran(submitted("docs.index")))),
        "deploy.prime": outputs(ran(submitted("deploy.prime", urls=[f"{served.url}/x"])))[0]["urls"],
        "deploy.migrate": outputs(
            ran(
                submitted(
                    "deploy.migrate", statement="update erp.done set is_seen = true where id >= :lo and id < :hi", total_rows=2
                )
            )
        )[0]["rows_affected"],
    }
    assert said == {"deploy.pack": 5, "assets.index": 5, "assets.stage": 5, "docs.index": 2, "deploy.prime": 1, "deploy.migrate": 2}
    assert served.asked == ["GET /x"]


def test_hxo_fault_4_two_plans_with_a_stage_of_the_same_id_do_not_run_each_others_shards(site, sql):
    docs = submitted("assets.index", directory="guide")
    images = submitted("assets.index", directory="img")
    assert sql("select count(distinct id) from tidemark.stages") == [[1]]
    work.work()
    found = sql("select plan::text, array_agg(path order by path) from tidemark.indexed_files group by 1")
    assert dict(found) == {docs: ["index.html"], images: ["logo.png", "same.png"]}
    for plan in (docs, images):
        status = plan_status.status(plan)
        assert (status["status"], status["done_shards"], status["total_shards"]) == ("succeeded", 1, 1)


def test_hxo_fault_4_equal_shards_of_two_plans_share_a_result_and_are_still_done_in_both(site, sql):
    one, other = submitted("deploy.pack"), submitted("deploy.pack")
    work.work()
    assert outputs(one) == outputs(other) != []
    assert sql("select count(distinct plan), count(*) from tidemark.leaves") == [[2, 2]]  # each has a leaf of its own


def test_more_parts_than_a_plan_may_have_are_refused(sized, site, sql, configured):
    configured(HXO_MAX_SHARDS="7", HXO_SOURCE_DIR=str(site))
    with pytest.raises(Exception, match="cannot be carried out"):
        submitted("assets.index", **sized)
