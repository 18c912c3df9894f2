"""The plan engine: lanes are taken, advanced, stolen and taken over; every shard is done once in effect, whoever dies."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from common import db
from common.errors import Conflict, Invalid
from common.flows import plan_status, plan_verbs, plans, seal, stages, work
from common.rules import merkle
from common.rules.http import Request
from common.rules.shard import Lost
from common.stores import lanes, shard_failures
from tests import kinds
from tests.kinds import a_stage, submit

LEASE = timedelta(seconds=30)


def status(plan):
    return plan_status.status(plan)


def shards_done(sql):
    return [row[0] for row in sql("select shard from trials order by stage, shard")]


def take():
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=LEASE)


def advance(lane, next_=1):
    with db.transaction("worker") as tx:
        return lanes.advance(tx, lane, next_=next_, lease=LEASE)


def test_a_plan_runs_to_its_end_and_every_shard_once(sql, trial):
    plan = submit(a_stage(shards=100))
    report = work.work()
    assert report.shards == 100
    assert shards_done(sql) == list(range(100))
    found = status(plan)
    assert (found["status"], found["done_shards"], found["failed_shards"], found["progress"]) == ("succeeded", 100, 0, 1.0)
    assert sql("select * from endings") == [["one", True]]
    assert sql("select count(*) from tidemark.lanes") == [[0]]


def test_a_stage_waits_for_those_it_needs(sql, trial):
    plan = submit(a_stage("last", needs=["left", "right"], shards=2), a_stage("left", shards=2), a_stage("right", shards=2))
    assert {each["id"]: each["status"] for each in status(plan)["stages"]} == {"last": "waiting", "left": "open", "right": "open"}
    work.work()
    assert sql("select stage from endings")[-1] == ["last"]
    assert status(plan)["status"] == "succeeded"


def test_a_stage_whose_needs_failed_never_opens_and_the_plan_fails(sql, trial):
    plan = submit(a_stage("first", shards=3, refuse=[1]), a_stage("second", needs=["first"], shards=1))
    work.work()
    found = status(plan)
    assert (found["status"], found["failed_shards"]) == ("failed", 1)
    assert [each["status"] for each in found["stages"]] == ["failed", "waiting"]
    assert shards_done(sql) == [0, 2]  # only the refused one failed, not its chunk
    assert plan_status.report(plan)["failures"][0] | {"failed_at": None} == {
        "stage": "first", "shard": 1, "piece": None, "status": "dead", "attempts": 1, "heal_depth": 0, "code": "invalid-value", "message": "The request is well formed, but its values are not acceptable.", "failed_at": None,
    }  # fmt: skip


def test_a_failed_shard_is_tried_again_alone(sql, trial, turn_clock):
    plan = submit(a_stage(shards=10, fail={"3": 1}))
    work.work()
    assert status(plan)["failed_shards"] == 1
    assert status(plan)["status"] == "running"
    turn_clock(timedelta(minutes=2))
    work.work()
    assert status(plan)["status"] == "succeeded"
    assert sorted(shards_done(sql)) == list(range(10))
    assert kinds.runs["one", 3] == 2
    assert all(kinds.runs["one", shard] == 1 for shard in range(10) if shard != 3)


def test_attempts_end_and_retry_begins_only_the_failed_part_anew(sql, trial, turn_clock):
    plan = submit(a_stage(shards=5, fail={"2": 3}))
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    found = status(plan)
    assert (found["status"], found["failed_shards"], kinds.runs["one", 2]) == ("failed", 1, 3)
    root = status(plan)["merkle_root"]
    assert plan_verbs.act("retry", plan) == {"plan_id": plan, "status": "running"}
    work.work()
    assert status(plan)["status"] == "succeeded"
    assert kinds.runs["one", 2] == 4
    assert sum(kinds.runs.values()) == 8
    assert status(plan)["merkle_root"] not in (None, root)


def test_trouble_of_the_source_gives_work_back_and_fails_nothing(sql, trial, turn_clock):
    plan = submit(a_stage(shards=6, concurrency=1, trouble={"4": 1}))
    report = work.work()
    assert (report.given_back, report.failed) == (1, 0)
    assert sql("select ready_at - app_now() > interval '20 seconds' from tidemark.lanes where leased_until is null") == [[True]]
    assert work.work().chunks == 0  # nobody may touch it before its time
    turn_clock(timedelta(seconds=31))
    work.work()
    assert shards_done(sql) == list(range(6))
    assert status(plan)["failed_shards"] == 0


def test_an_open_ended_stage_ends_where_the_shards_say_so(sql, trial):
    plan = submit(a_stage(open_ended=7))
    assert plan_status.status(plan)["total_shards"] is None
    work.work()
    found = status(plan)
    assert found["status"] == "succeeded"
    assert set(range(7)) <= set(shards_done(sql))
    assert found["total_shards"] == len(shards_done(sql))


def test_a_later_page_that_has_more_after_all_keeps_an_open_ended_stage_open(sql, trial):
    submit(a_stage(open_ended=100, concurrency=2))
    first = take()
    assert (first.done, take()) == (0, None)  # nobody tries what may not be there

    def said(lane, shard, *, more):
        with db.transaction("worker") as tx:
            lanes.advance(tx, lane, next_=0, lease=LEASE)
            return lanes.extend(tx, lane, shard, more=more, next_=1, lease=LEASE)

    assert said(first, 0, more=True).done == 1
    second = take()
    assert second.done == 2
    assert said(first, 1, more=False) is None  # the end, as far as page 1 knows
    assert said(second, 2, more=True).done == 3  # but page 2 was not empty
    assert take().done == 4


def test_the_number_of_shards_may_show_only_when_the_stage_opens(sql, trial):
    plan = submit(a_stage("first", shards=1), a_stage("late", needs=["first"], late=5), a_stage("none", needs=["late"], late=0))
    assert status(plan)["total_shards"] is None
    work.work()
    found = status(plan)
    assert (found["status"], found["total_shards"], found["done_shards"]) == ("succeeded", 6, 6)


def test_waves_begin_one_after_the_other(sql, trial):
    stage = a_stage(shards=100, concurrency=1) | {"waves": [10, 40, 50]}
    submit(stage)
    lane = take()
    assert lane.hi == 10
    with db.transaction("worker") as tx:
        lanes.give_back(tx, lane, timedelta())
    seen = []
    kinds.hooks.update({shard: lambda _: seen.append(db_released()) for shard in (0, 10, 50)})
    work.work()
    assert seen == [10, 50, 100]
    assert shards_done(sql) == list(range(100))


def db_released():
    with db.transaction("status") as tx:
        return tx.statement("select released from tidemark.stages", {})[0][0][0]


def test_a_lane_whose_worker_died_is_taken_over_from_what_was_reported(sql, trial, turn_clock):
    submit(a_stage(shards=10, concurrency=1))
    dead = take()
    advance(dead, 3)  # shard 0 is reported, 1 to 3 are begun
    assert take() is None
    turn_clock(timedelta(seconds=31))
    heir = take()
    assert (heir.no, heir.done, heir.busy, heir.lapses) == (dead.no, 1, 2, 1)
    assert advance(dead) is None  # it comes back, and is refused
    assert advance(heir) is not None


def test_a_stage_whose_kind_nobody_knows_opens_and_fails_by_itself(sql, trial):
    """It failed in the report of the stage before it, which was then done again and again."""
    submit(a_stage("a", shards=2), a_stage("b", shards=1) | {"dependencies": ["a"]})
    sql("update tidemark.stages set kind = 'of.newer.code' where id = 'b'")
    work.work()
    assert sql("select id, status from tidemark.stages order by no") == [["a", "succeeded"], ["b", "open"]]
    assert shards_done(sql) == [0, 1]


def test_who_gives_a_lane_back_has_not_died_at_it(sql, trial):
    """A shard that waits for hours is not the cause of workers that die now and then meanwhile."""
    submit(a_stage(shards=1, trouble={"0": 1}))
    sql("update tidemark.lanes set lapses = 2")
    assert work.work().given_back == 1
    assert sql("select lapses from tidemark.lanes") == [[0]]


def test_a_zombie_writes_neither_effect_nor_leaf(sql, trial, turn_clock):
    submit(a_stage(shards=1, concurrency=1))

    def sleep_past_the_lease(_):
        kinds.hooks.clear()
        turn_clock(timedelta(seconds=31))
        assert work.work().shards == 1  # somebody else does it meanwhile

    kinds.hooks[0] = sleep_past_the_lease
    assert work.work().lost == 1
    assert shards_done(sql) == [0]
    assert sql("select count(*) from tidemark.leaves") == [[1]]


def test_a_shard_that_kills_its_workers_fails_alone(sql, trial, turn_clock):
    plan = submit(a_stage(shards=3, concurrency=1))
    for _ in range(4):
        lane = take()  # and never heard of again
        assert (lane.done, lane.busy) == (0, 1)
        turn_clock(timedelta(seconds=31))
    work.work()
    assert shards_done(sql) == [1, 2]
    assert plan_status.report(plan)["failures"][0]["code"] == "crashed"


def test_an_idle_worker_steals_the_upper_half_of_the_longest_lane(sql, trial):
    submit(a_stage(shards=101, concurrency=2))
    long, short = take(), take()
    advance(short, 100)
    advance(short, 100)  # over
    thief = take()
    assert (thief.no, thief.done, thief.hi) == (short.no, 26, 50)
    place = advance(long, 100)
    assert (place.done, place.busy, place.hi) == (1, 26, 26)


def test_a_paused_plan_reports_its_chunk_and_takes_no_other(sql, trial):
    plan = submit(a_stage(shards=10, concurrency=1))
    lane = take()
    plan_verbs.act("pause", plan)
    place = advance(lane, 5)
    assert (place.done, place.busy) == (1, 1)
    assert take() is None
    assert work.work().chunks == 0
    plan_verbs.act("resume", plan)
    work.work()
    assert status(plan)["status"] == "succeeded"


@pytest.mark.parametrize(("verb", "end"), [("cancel", "cancelled"), ("abort", "aborted")])
def test_claimed_work_of_a_stopped_plan_is_refused(sql, trial, verb, end):
    plan = submit(a_stage(shards=10, concurrency=1))
    lane = take()
    assert plan_verbs.act(verb, plan)["status"] == end
    assert advance(lane) is None
    assert sql("select * from endings") == [["one", False]]
    with pytest.raises(Conflict) as refused:
        plan_verbs.act("resume", plan)
    assert refused.value.fields["allowed"] == []


def test_work_notices_at_its_heartbeat_that_the_plan_was_stopped(sql, trial):
    plan = submit(a_stage(shards=1))

    def stop(context):
        context.beat(None)
        plan_verbs.act("cancel", plan)
        with pytest.raises(Lost):
            context.beat(None)

    kinds.hooks[0] = stop
    assert work.work().lost == 1
    assert shards_done(sql) == []


def test_a_checkpoint_inside_a_chunk_is_there_for_the_next_worker(sql, trial, turn_clock):
    submit(a_stage(shards=1))
    seen = []

    def remember(context):
        seen.append(context.checkpoint)
        if len(seen) == 1:
            context.beat({"at": 7})
            turn_clock(timedelta(seconds=31))
            work.work()

    kinds.hooks[0] = remember
    work.work()
    assert seen == [None, {"at": 7}]


def test_too_many_failures_halt_the_plan_and_raise_guardian_halt(sql, trial, monkeypatch):
    monkeypatch.setattr(stages, "FEWEST_TO_HALT", 3)
    plan = submit(a_stage(shards=50, concurrency=1, fail={str(shard): 9 for shard in range(50)}))
    work.work()
    assert status(plan)["status"] == "halted"
    assert sql("select alert_type from tds_alerts") == [["guardian.halt"]]


def test_a_shard_healed_too_often_halts_the_plan(sql, trial, turn_clock, configured):
    configured(HXO_HEAL_DEPTH_LIMIT="1")
    plan = submit(a_stage(shards=2, fail={"1": 9}))
    for _ in range(3):
        work.work()
        turn_clock(timedelta(minutes=2))
    assert status(plan)["status"] == "halted"
    assert kinds.runs["one", 1] == 2


def test_a_spent_retry_budget_ends_the_attempts(sql, trial, turn_clock):
    plan = submit(a_stage(shards=6, fail={str(shard): 2 for shard in range(6)}), constraints={"retry_budget": 2})
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    found = status(plan)
    assert found["status"] == "failed"
    assert sum(kinds.runs.values()) == 6 + 6 + 2  # the first runs, one retry each, and two more within the budget


def test_a_plan_past_its_timebox_fails_and_its_work_is_refused(sql, trial, turn_clock):
    plan = submit(a_stage(shards=10), constraints={"timebox_ms": 60_000})
    lane = take()
    turn_clock(timedelta(seconds=61))
    assert take() is None
    plan_verbs.stop_overdue()
    found = status(plan)
    assert (found["status"], found["reason"]) == ("failed", "its timebox is over")
    assert advance(lane) is None


def test_no_more_lanes_are_out_than_the_plan_allows(sql, trial):
    submit(a_stage("one", shards=50), a_stage("two", shards=50), constraints={"max_concurrency": 3})
    assert len([lane for lane in (take() for _ in range(6)) if lane]) == 3


def test_no_more_lanes_of_a_kind_are_out_than_the_setting_allows(sql, trial):
    sql("""update tidemark.settings set value = '{"trial": 2}' where key = 'plans.concurrency'""")
    submit(a_stage(shards=50))
    submit(a_stage(shards=50))
    submit(a_stage(kind="noop", shards=50, concurrency=1))
    taken = [lane for lane in (take() for _ in range(6)) if lane]
    assert len(taken) == 3


def test_a_failed_shard_is_tried_again_only_within_its_kinds_limit(sql, trial, turn_clock):
    submit(a_stage("one", shards=1, fail={"0": 1}))
    work.work()
    submit(a_stage("two", shards=9))
    sql("""update tidemark.settings set value = '{"trial": 1}' where key = 'plans.concurrency'""")
    turn_clock(timedelta(minutes=2))
    assert take() is not None
    with db.transaction("worker") as tx:
        assert shard_failures.take(tx, lease=LEASE) is None


def test_the_more_urgent_plan_goes_first_and_equals_share(sql, trial):
    slow = submit(a_stage(shards=50), priority=5)
    other = submit(a_stage(shards=50), priority=5)
    urgent = submit(a_stage(shards=50, concurrency=1), priority=1)
    assert [take().plan for _ in range(5)] == [urgent, *([slow, other] * 2 if slow < other else [other, slow] * 2)]


def test_a_function_that_serves_some_kinds_leaves_the_others(sql, trial, configured):
    configured(SHARD_KINDS="noop")
    plan = submit(a_stage(shards=3), a_stage("two", kind="noop", shards=3))
    work.work()
    assert [each["status"] for each in status(plan)["stages"]] == ["open", "succeeded"]


def test_takers_at_once_never_share_a_lane(sql, trial):
    submit(a_stage(shards=160, concurrency=16))
    taken, errors = [], []

    def taker():
        try:
            while lane := take():
                taken.append(lane)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=taker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(lane.no for lane in taken) == list(range(16))


@pytest.mark.process
def test_many_workers_do_every_shard_once_whatever_is_stolen(sql, trial):
    plan = submit(a_stage(shards=3000, concurrency=8))
    threads = [threading.Thread(target=work.work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shards_done(sql) == list(range(3000))
    covered = sql("select lo, hi from tidemark.leaves order by lo")
    assert [lo for lo, _ in covered] == [0, *[hi for _, hi in covered][:-1]]
    assert status(plan)["status"] == "succeeded"


def test_the_root_is_that_of_all_leaves_in_shard_order(sql, trial, turn_clock):
    plan = submit(a_stage(shards=37, fail={"5": 1, "36": 1}, concurrency=3))
    work.work()
    turn_clock(timedelta(minutes=2))
    work.work()
    hash_ = merkle.hasher("sha3_256")
    root = merkle.root(hash_, [merkle.leaf(hash_, b"trial %d" % shard) for shard in range(37)])
    found = status(plan)
    assert found["stages"][0]["merkle_root"] == root.hex()
    seed = merkle.leaf(hash_, bytes.fromhex(found["merkle_seed"]))
    assert found["merkle_root"] == merkle.root(hash_, [seed, merkle.leaf(hash_, root)]).hex()


def test_a_dead_shard_is_a_leaf_of_its_own(sql, trial):
    plan = submit(a_stage(shards=3, refuse=[1]))
    work.work()
    hash_ = merkle.hasher("sha3_256")
    leaves = [merkle.leaf(hash_, said) for said in (b"trial 0", b"failed 1 invalid-value", b"trial 2")]
    assert status(plan)["stages"][0]["merkle_root"] == merkle.root(hash_, leaves).hex()


def test_sha256_is_used_and_recorded_when_asked_for(sql, trial, configured):
    configured(HXO_QUANTUM_HASHING="false")
    plan = submit(a_stage(shards=2))
    work.work()
    hash_ = merkle.hasher("sha256")
    root = merkle.root(hash_, [merkle.leaf(hash_, b"trial %d" % shard) for shard in range(2)])
    assert (status(plan)["hash"], status(plan)["stages"][0]["merkle_root"]) == ("sha256", root.hex())


def test_a_stage_that_its_last_worker_left_open_is_ended_by_the_sweep(sql, trial):
    plan = submit(a_stage(shards=1))
    with db.transaction("worker") as tx:
        lane = lanes.take(tx, holder="test", lease=LEASE)
        lanes.advance(tx, lane, next_=1, lease=LEASE)  # and died before it could end the stage
    assert plan_verbs.stop_overdue() == 1
    assert status(plan)["status"] == "succeeded"


def test_a_plan_that_was_not_sealed_is_sealed_by_the_next_who_comes(sql, trial):
    plan = submit(a_stage(shards=4))
    work.work()
    root = status(plan)["merkle_root"]
    sql("update tidemark.plans set root = null")
    assert seal.seal_all(time.monotonic() + 10) == 1
    assert status(plan)["merkle_root"] == root


def test_a_rollback_takes_the_stages_back_in_reverse(sql, trial):
    plan = submit(a_stage("first", shards=3), a_stage("second", needs=["first"], shards=2))
    work.work()
    undoing = plans.rollback(plan)[1]["plan_id"]
    assert [(each["id"], each["status"]) for each in status(undoing)["stages"]] == [("second", "open"), ("first", "waiting")]
    work.work()
    assert status(undoing)["status"] == "succeeded"
    assert sql("select bool_and(taken_back) from trials") == [[True]]


def test_a_superseded_plan_is_not_rolled_back(sql, trial):
    plan = submit(a_stage(shards=1))
    work.work()
    submit(a_stage(shards=1))
    work.work()
    with pytest.raises(Conflict, match="later plan"):
        plans.rollback(plan)


def test_a_repeated_key_answers_with_the_first_plan_and_refuses_another_body(sql, trial):
    request = Request("POST", "/", headers=(("idempotency-key", "abc"),))
    body = {"name": "a plan", "stages": [a_stage(shards=2)]}
    first = plans.submit(request, body)
    assert plans.submit(request, body) == first
    assert sql("select count(*) from tidemark.plans") == [[1]]
    with pytest.raises(Invalid):
        plans.submit(request, body | {"name": "another"})


def test_ten_calls_that_got_nothing_done_are_the_last_to_ring(sql, trial, monkeypatch):
    rung = []
    monkeypatch.setattr(work.ring, "ring", lambda _, **body: rung.append(body.get("empty")) or True)
    submit(a_stage(shards=5, concurrency=1))
    rung.clear()
    assert work.call_for_more(10) == 1
    assert work.call_for_more(11) == 0
    assert rung == [10]


def test_a_worker_that_runs_out_of_time_rings_for_the_rest(sql, trial, monkeypatch):
    rung = []
    monkeypatch.setattr(work.ring, "ring", lambda function, **_: rung.append(function) or True)
    submit(a_stage(shards=50, concurrency=1))
    rung.clear()
    worker = work.Worker(time.monotonic() - 1, (), "test")
    worker.take_turn()
    assert worker.report.chunks == 1  # what was taken is done, and no more
    work.call_for_more()
    assert rung == ["shards"]


def test_a_stage_over_its_slo_raises_one_alert_until_it_is_over(sql, trial, turn_clock):
    submit(a_stage(shards=2) | {"slo_ms": 60_000})
    assert plan_verbs.watch() == 0
    turn_clock(timedelta(seconds=61))
    assert plan_verbs.watch() == plan_verbs.watch() == 1
    assert sql("select alert_type, resolved from tds_alerts") == [["stage_over_slo", False]]
    work.work()
    assert plan_verbs.watch() == 0
    assert sql("select resolved from tds_alerts") == [[True]]


def test_progress_is_read_from_the_lanes(sql, trial):
    plan = submit(a_stage(shards=100, concurrency=2))
    lane = take()
    advance(lane, 9)
    found = status(plan)
    assert (found["total_shards"], found["done_shards"], found["running_shards"], found["pending_shards"]) == (100, 1, 9, 90)
