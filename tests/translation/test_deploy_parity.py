"""deploy parity: what was wanted against what is served, on each target, by field; computed, never assumed."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from common import targets
from common.errors import Unavailable
from common.flows import lease
from common.rules.deploys import Ability, Serving, fingerprint
from common.rules.http import Request
from tests.conftest import OWNER, VARIABLES
from tests.deploys import a_deployment, a_target
from tests.functions.shells import Reply, wsgi

Sql = Callable[..., list[list[Any]]]
NEW, OLD = "c0ffee1c0ffee1", "0ddba110ddba11"
ENVIRONMENT = {"COLOUR": "green"}


def parity(query: str = "") -> dict[str, Any]:
    reply = answered(query)
    assert reply.status == 200, reply.body
    return reply.json


def answered(query: str = "") -> Reply:
    return wsgi(Request("GET", "/api/diagnostics/deploy-parity", query, (("authorization", f"Bearer {OWNER}"),)), "status")


def a_deploy(sql: Sql, *, serving: dict[str, Any] | None, config: dict[str, Any] | None = None, **rest: Any) -> Any:
    a_target(sql, "api", "trial", **(config or {}))
    part = {"config_hash": fingerprint(ENVIRONMENT, VARIABLES["SECRET_KEY"])} | ({"serving": serving} if serving else {})
    return a_deployment(sql, commit=NEW, status="live", background=True, targets={"api": part}, **rest)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A provider whose answers a test may change."""
    found = SimpleNamespace(
        CAN=frozenset({Ability.FREEZE, Ability.ENVIRONMENT}),
        serving=lambda _: Serving("dep-1", NEW),
        environment=lambda _: ENVIRONMENT,
        is_frozen=lambda _: False,
    )
    monkeypatch.setattr(targets.lookup, "find", lambda *_: found)
    return found


@pytest.fixture
def service() -> Iterator[Callable[[str], str]]:
    """A running service that says which commit it is; its address."""
    said = {"version": ""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def serves(commit: str) -> str:
        said["version"] = commit
        return f"127.0.0.1:{server.server_address[1]}"

    yield serves
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_parity_tells_what_the_seed_names_and_what_is_wanted_is_served(sql: Sql):
    made = a_deploy(sql, serving={"id": "dep-1", "commit": NEW[:8], "artifact": None}, waiting=7)
    found = parity()
    assert found.keys() == {"status", "version", "deployment_id", "shards", "queue", "tickets", "targets"}
    assert (found["status"], found["deployment_id"]) == ("ok", made.id)
    assert found["shards"] == {"bootstrap": True, "runtime": True, "diagnostics": False}
    assert found["tickets"] == {"count": 0, "has_issues": False}
    (target,) = found["targets"]
    assert (target["name"], target["wanted"]["commit"], target["serving"]["commit"]) == ("api", NEW, NEW[:8])
    assert (target["differs"], target["unknown"]) == ([], [])


def test_an_old_build_that_is_served_makes_parity_false_and_names_the_field(sql: Sql):
    a_deploy(sql, serving={"id": "dep-0", "commit": OLD, "artifact": None})
    found = parity()
    assert (found["status"], found["targets"][0]["differs"]) == ("differs", ["commit"])


def test_the_service_itself_is_believed_before_its_provider(sql: Sql, provider, service, configured):
    address = service(OLD)
    configured(EGRESS_ALLOW=address)
    a_deploy(
        sql, serving={"id": "dep-1", "commit": NEW, "artifact": None}, config={"url": f"http://{address}", "version_path": "/"}
    )
    assert parity()["status"] == "ok"  # as it was last read back
    fresh = parity("fresh=1")
    assert (fresh["status"], fresh["targets"][0]["differs"], fresh["targets"][0]["serving"]["commit"]) == (
        "differs",
        ["commit"],
        OLD,
    )
    service(NEW)
    assert parity("fresh=1")["status"] == "ok"


@pytest.mark.parametrize(
    ("field", "answers"),
    [
        ("commit", {"serving": lambda _: Serving("dep-0", OLD)}),
        ("config_hash", {"environment": lambda _: {"COLOUR": "red"}}),
        ("frozen", {"is_frozen": lambda _: True}),
    ],
)
def test_each_field_that_differs_when_it_is_read_anew_is_named(field, answers, sql: Sql, provider):
    a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None})
    assert parity("fresh=1")["status"] == "ok"
    vars(provider).update(answers)
    found = parity("fresh=1")
    assert (found["status"], found["targets"][0]["differs"]) == ("differs", [field])


def test_an_artifact_and_a_schema_that_differ_are_named(sql: Sql):
    a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": "image-1"})
    sql("update tidemark.deployments set commit = null, artifact = 'image-2'")
    sql("delete from tds_schema_versions where version = (select max(version) from tds_schema_versions)")
    assert parity()["targets"][0]["differs"] == ["artifact", "schema"]


def test_a_provider_that_is_down_is_unknown_and_never_ok(sql: Sql, provider):
    def down(_: Any) -> Any:
        raise Unavailable

    a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None})
    vars(provider).update(serving=down, environment=down, is_frozen=down)
    found = parity("fresh=1")
    assert (found["status"], found["targets"][0]["differs"]) == ("unknown", [])
    assert found["targets"][0]["unknown"] == ["commit", "config_hash", "frozen"]


def test_a_provider_that_hangs_costs_no_more_than_the_time_limit(sql: Sql, provider, configured):
    configured(HXO_FEDERATION_TIMEOUT="50")
    let_go = threading.Event()
    vars(provider).update(serving=lambda _: let_go.wait(30) and Serving(None))
    a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None})
    found = parity("fresh=1")  # would take 30 seconds
    let_go.set()
    assert (found["status"], found["targets"][0]["serving"]["commit"]) == ("unknown", None)


def test_nothing_recorded_is_unknown_not_ok(database_url):
    found = parity()
    assert (found["status"], found["targets"]) == ("unknown", [])
    assert set(found["shards"].values()) | set(found["queue"].values()) == {None}


def test_what_was_never_read_back_is_unknown_not_ok(sql: Sql):
    a_deploy(sql, serving=None)
    found = parity()
    assert (found["status"], found["targets"][0]["serving"], found["targets"][0]["unknown"]) == ("unknown", None, ["commit"])


@pytest.mark.parametrize(("stage", "state"), [("bootstrap", "failed"), ("runtime", "open")])
def test_tde_x_fault_a_shards_are_computed_and_not_hard_coded(stage, state, sql: Sql):
    stages = {"bootstrap": "succeeded", "runtime": "succeeded"} | {stage: state}
    a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None}, stages=stages)
    found = parity()
    assert (found["status"], found["shards"][stage]) == ("incomplete", False)


def test_tde_x_fault_a_diagnostics_is_not_the_emptiness_of_the_queue(sql: Sql):
    made = a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None}, waiting=7)
    sql("update tidemark.stages set status = 'waiting' where plan = :plan", plan=made.background)
    assert parity()["queue"] == {"depth": 7, "active": True}
    sql("update tidemark.stages set status = 'failed' where plan = :plan", plan=made.background)
    sql("update tidemark.plans set status = 'failed', finished_at = app_now() where id = :plan", plan=made.background)
    found = parity()
    assert (found["shards"]["diagnostics"], found["queue"], found["status"]) == (False, {"depth": 0, "active": False}, "ok")
    sql("update tidemark.stages set status = 'succeeded' where plan = :plan", plan=made.background)
    assert parity()["shards"]["diagnostics"] is True


def test_the_queue_counts_what_is_left_of_lanes_and_of_failed_shards(sql: Sql):
    made = a_deploy(sql, serving={"id": "dep-1", "commit": NEW, "artifact": None}, waiting=10)
    sql("update tidemark.stages set status = 'open', released = 8 where plan = :plan", plan=made.background)
    sql("insert into tidemark.lanes (plan, stage, no, lo, done, busy, hi) values (:plan, 0, 0, 0, 5, 6, 8)", plan=made.background)
    sql(
        """insert into tidemark.shard_failures (plan, stage, shard, status, code, message, ready_at)
           values (:plan, 0, 1, 'retry', 'c', 'm', app_now()), (:plan, 0, 2, 'dead', 'c', 'm', app_now())""",
        plan=made.background,
    )
    assert parity()["queue"]["depth"] == 2 + 3 + 1
    sql("update tidemark.stages set shards = null where plan = :plan", plan=made.background)
    assert parity()["queue"]["depth"] is None


def test_after_a_rollback_what_stood_there_before_is_what_is_wanted(sql: Sql, turn_clock):
    a_target(sql, "api")
    before = {"id": "dep-0", "commit": OLD, "artifact": None}
    failed = a_deployment(sql, commit=NEW, status="rolled_back", targets={"api": {"previous": before, "serving": before}})
    assert parity()["targets"][0]["wanted"]["commit"] == OLD
    turn_clock(timedelta(seconds=1))
    a_deployment(
        sql,
        kind="rollback",
        rolls_back=failed.id,
        commit=None,
        status="live",
        targets={"api": {"previous": before, "serving": before}},
    )
    (target,) = parity()["targets"]
    assert (target["wanted"]["commit"], target["differs"], target["unknown"]) == (OLD, [], [])


def test_tickets_are_counted(sql: Sql):
    sql("insert into tidemark.tickets (fingerprint, kind, title, message) values ('f', 'k', 't', 'm')")
    assert parity()["tickets"] == {"count": 1, "has_issues": True}


def test_whoever_is_passive_asks_nobody(sql: Sql, provider):
    lease.held(holder="other")
    assert answered("fresh=1").status == 503
    assert answered("").status == 200


def test_an_odd_question_is_refused(database_url):
    assert answered("fresh=maybe").status == 422
