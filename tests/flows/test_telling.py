"""What the engine and the syncs tell on the bus: with what they do, not without it, and nothing of what went well in passing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common import db
from common.errors import Conflict
from common.flows import plan_verbs, plans, seal, work
from common.rules import topics
from common.rules.http import Request
from common.rules.links import ORIGINAL
from common.stores import alerts, runs
from tests.flows.test_bus import read
from tests.house.tree import ROOT
from tests.kinds import a_stage, submit

# Who tells what: the file in which the topic's name stands.
TELLERS = {
    "deploy.events": "common/flows/deployments.py",
    "deploy.outcome.success": "common/shards/deploy_finalize.py",
    "deploy.outcome.failure": "common/flows/rollbacks.py",
    "hxo.plan": "common/stores/plans.py",
    "hxo.shard.failed": "sql/migrations/0028_telling.sql",
    "hxo.aggregate.ready": "sql/migrations/0028_telling.sql",
    "hxo.aggregate.failed": "sql/migrations/0028_telling.sql",
    "hxo.aggregate.certify": "common/flows/certify.py",
    "hxo.aggregate.finalized": "common/flows/certify.py",
    "hxo.autotune.signal": "common/flows/pacing.py",
    "hxo.alert": "sql/migrations/0028_telling.sql",
    "hxo.heal.trigger": "sql/migrations/0028_telling.sql",
    "hxo.heal.complete": "sql/migrations/0028_telling.sql",
    "hxo.audit": "common/flows/plans.py",
    "hxo.status.summary": "common/flows/summary.py",
    "tds.sync.completed": "sql/migrations/0020_notices.sql",
    "tds.alert": "sql/migrations/0020_notices.sql",
}


def told(*patterns: str) -> list[tuple[str, dict]]:
    found = [event for pattern in patterns or ("*",) for event in read(topic=pattern, limit=200)["events"]]
    for event in found:
        assert topics.TOPICS[event["topic"]] <= event["payload"].keys(), event["topic"]
    return [(event["topic"], event["payload"]) for event in found]


def done(*stages, **rest) -> str:
    plan = submit(*stages, **rest)
    work.work()
    return plan


def test_every_topic_of_the_contract_is_told_by_something():
    assert TELLERS.keys() == topics.TOPICS.keys()
    assert [topic for topic, path in TELLERS.items() if topic not in (ROOT / path).read_text()] == []


def test_a_plan_is_told_when_it_is_submitted_and_when_it_is_sealed(sql, trial):
    plan = done(a_stage(shards=3), a_stage("two", shards=2))
    seal.seal(plan)
    found = dict(told("hxo.*"))
    assert found["hxo.plan"] == {
        "plan_id": plan,
        "plan_name": "a plan",
        "stages": 2,
        "submitted_by": found["hxo.plan"]["submitted_by"],
    }
    root = sql("select encode(root, 'hex') from tidemark.plans")[0][0]
    ready = found["hxo.aggregate.ready"]
    assert (ready["plan_id"], ready["merkle_root"], ready["total_shards"], ready["stages"]) == (plan, root, 5, 2)
    assert "hxo.aggregate.failed" not in found
    events = {event["topic"]: event for event in read()["events"]}
    assert events["hxo.aggregate.ready"]["causation_id"] == events["hxo.plan"]["id"]
    assert events["hxo.plan"]["correlation_id"] == events["hxo.aggregate.ready"]["correlation_id"] == plan


def test_a_plan_that_is_submitted_twice_under_one_key_is_told_once(sql, trial):
    request = Request("POST", "/", headers=(("idempotency-key", "one"),))
    for _ in range(2):
        plans.submit(request, {"name": "a plan", "stages": [a_stage(shards=1)]})
    assert len(told("hxo.plan")) == 1


def test_nothing_is_told_of_a_chunk_that_went_well(sql, trial):
    done(a_stage(kind="noop", shards=50_000))
    assert sql("select count(*) > 8 from tidemark.leaves") == [[True]]
    assert {topic for topic, _ in told()} == {"hxo.plan", "hxo.audit", "hxo.aggregate.ready"}
    assert len(told()) == 3


def test_a_chunk_with_failures_tells_of_them_once_and_of_what_is_done(sql, trial, turn_clock):
    plan = submit(a_stage(shards=20, concurrency=1, fail={str(shard): 1 for shard in range(15)}))
    sql("update tidemark.stages set chunk = 20")
    work.work()
    failed = [payload for topic, payload in told("hxo.shard.failed")]
    assert [(each["plan_id"], each["stage_id"], each["count"], each["shards"]) for each in failed] == [
        (plan, "one", 15, list(range(10)))
    ]
    (triggered,) = [payload for _, payload in told("hxo.heal.trigger")]
    assert (triggered["action"], triggered["count"], triggered["success"]) == ("retry", 15, True)
    for _ in range(3):
        turn_clock(timedelta(minutes=2))
        work.work()
    healed = [payload for _, payload in told("hxo.heal.complete")]
    assert (sum(each["count"] for each in healed), {each["action"] for each in healed}) == (15, {"healed"})
    assert sql("select status from tidemark.plans") == [["succeeded"]]


def test_a_shard_that_fails_for_good_ends_in_a_plan_that_failed_and_says_so(sql, trial):
    plan = done(a_stage(shards=3, refuse=[1]))
    found = told("hxo.*")
    ended = dict(found)
    assert ended["hxo.aggregate.failed"]["plan_id"] == plan
    assert ended["hxo.aggregate.failed"]["reason"]
    assert "hxo.aggregate.ready" not in ended
    seal.seal(plan)
    assert "hxo.aggregate.ready" not in dict(told("hxo.*"))
    assert {payload["action"] for topic, payload in found if topic == "hxo.heal.complete"} == {"quarantine", "escalate"}
    assert [payload["success"] for topic, payload in found if topic == "hxo.heal.complete"] == [False, False]


def test_a_plan_that_is_stopped_by_hand_failed_and_who_did_it_is_told(sql, trial):
    plan = submit(a_stage(shards=3))
    plan_verbs.act("abort", plan)
    found = dict(told("hxo.*"))
    assert found["hxo.aggregate.failed"]["status"] == "aborted"
    assert (found["hxo.audit"]["action"], found["hxo.audit"]["plan_id"]) == ("plan.abort", plan)
    assert "actor" in found["hxo.audit"]


def test_a_halt_of_the_guardian_is_told_once(sql, trial):
    from common.flows import stages

    plan = submit(a_stage(shards=3))
    for _ in range(2):
        with db.transaction("worker") as tx:
            stages.halt(tx, plan, "too much failed")
    (alert,) = [payload for _, payload in told("hxo.alert")]
    assert (alert["type"], alert["plan_id"], alert["message"]) == ("guardian.halt", plan, "too much failed")
    assert [payload["alert_type"] for _, payload in told("tds.alert")] == ["guardian.halt"]


def test_a_plan_whose_submission_fails_is_told_to_nobody(sql, trial, monkeypatch):
    class Undone(Exception):
        pass

    def fail(*_):
        raise Undone

    monkeypatch.setattr(plans.stages, "open_next", fail)
    with pytest.raises(Undone):
        submit(a_stage(shards=1))
    assert told() == []


def test_an_alert_is_told_when_it_opens_and_when_it_gets_worse_and_not_otherwise(sql):
    def raised(severity: str) -> None:
        with db.transaction("worker") as tx:
            alerts.raise_alert(tx, alert_type="backlog", severity=severity, title="About", message="It grew.")

    for severity in ("warning", "warning", "critical", "error"):
        raised(severity)
    with db.transaction("worker") as tx:
        alerts.resolve(tx, alert_type="backlog")
    raised("info")
    assert [(payload["severity"], payload["change"]) for _, payload in told("tds.alert")] == [
        ("warning", "opened"),
        ("critical", "worsened"),
        ("info", "opened"),
    ]


def test_the_end_of_a_run_is_told_once_however_it_ends(sql):
    sql(
        "insert into tds_sync_runs (id, run_type, entity_type, status, plan_id, mode) values"
        " ('00000000-0000-4000-8000-000000000001', 'scheduled', 'product', 'processing', '00000000-0000-4000-8000-000000000009', 'full'),"
        " ('00000000-0000-4000-8000-000000000002', 'scheduled', 'invoice', 'processing', '00000000-0000-4000-8000-000000000009', 'full')"
    )
    for _ in range(2):
        with db.transaction("worker") as tx:
            runs.end(tx, "00000000-0000-4000-8000-000000000001", ok=True)
            runs.finish_plan(tx, "00000000-0000-4000-8000-000000000009", ok=False, message="no")
    assert [(payload["entity_type"], payload["status"], payload["mode"]) for _, payload in told("tds.sync.completed")] == [
        ("product", "completed", "full"),
        ("invoice", "failed", "full"),
    ]


def test_a_subscriber_that_submits_a_plan_for_every_plan_is_stopped_after_ten(sql, trial):
    """Recursion depth: each names the notice that made it submit, as its webhook told it."""
    cause = None
    for number in range(topics.DEEPEST + 1):
        headers = (("causation-id", cause),) if cause else ()
        plans.submit(Request("POST", "/", headers=headers), {"name": f"plan {number}", "stages": [a_stage(shards=1)]})
        cause = read(topic="hxo.plan", limit=200)["events"][-1]["id"]
    with pytest.raises(Conflict, match="one another"):
        plans.submit(Request("POST", "/", headers=(("causation-id", cause),)), {"name": "one more", "stages": [a_stage(shards=1)]})
    assert sql("select count(*) from tidemark.plans") == [[topics.DEEPEST + 1]]


def test_who_answers_the_end_of_a_plan_with_another_is_stopped_as_well(sql, trial):
    cause = None
    for _ in range(topics.DEEPEST // 2):
        headers = (("causation-id", cause),) if cause else ()
        plan = plans.submit(Request("POST", "/", headers=headers), {"name": "again", "stages": [a_stage(shards=1)]})[1]["plan_id"]
        work.work()
        seal.seal(plan)
        cause = read(topic="hxo.aggregate.ready", limit=200)["events"][-1]["id"]
    depths = [
        row[0] for row in sql("select depth from tidemark.notices where topic in ('hxo.plan', 'hxo.aggregate.ready') order by seq")
    ]
    assert depths == list(range(topics.DEEPEST))


def test_the_summary_is_told_once_a_minute_while_plans_are_active(sql, trial, turn_clock):
    from common.flows import tick

    turn_clock(
        timedelta(seconds=(75 - sql("select extract(second from app_now())::integer")[0][0]) % 60)
    )  # far from the next minute
    tick.tick()
    assert told("hxo.status.summary") == []
    submit(a_stage(shards=7))
    tick.tick()
    tick.tick()
    turn_clock(timedelta(minutes=1))
    tick.tick()
    found = [payload for _, payload in told("hxo.status.summary")]
    assert len(found) == 2
    assert (found[0]["counts"]["active_plans"], found[0]["counts"]["pending_shards"]) == (1, 7)
    assert found[0]["engine_links"].keys() == set(ORIGINAL)
    assert found[0]["status"] in {"healthy", "degraded"}
