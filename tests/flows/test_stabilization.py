"""The stabilization domain: what is held back, what passes through, and the tickets that the engine makes of failed shards."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from common import db, lookup, shards
from common.errors import Conflict, Passive, Unavailable, Waiting
from common.flows import heal, stabilization, work
from common.rules.shard import Lost
from tests import kinds
from tests.kinds import a_stage, submit

Sql = Callable[..., list[list[Any]]]
REFUSED_AT_THE_END = """
    create function public.refuse() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = 'check_violation'; end $$;
    create constraint trigger refuse after insert on tidemark.shard_failures deferrable initially deferred
       for each row execute function public.refuse()
"""
TOLD = "select kind, title, message, count, plan::text, target from tidemark.tickets order by id"


@pytest.fixture
def deploying(trial: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The trial kind, as a part of a deploy and of the system."""
    real = shards.lookup.find
    names = {"deploy_trial", "system_trial"}
    monkeypatch.setattr(shards.lookup, "find", lambda package, name: kinds.module() if name in names else real(package, name))
    return trial


def fail(*, error: BaseException, **rest: Any) -> stabilization.Outcome:
    with stabilization.boundary("deploy.diagnostics", "A part failed", **rest) as outcome:
        raise error
    return outcome


def test_an_error_is_held_back_stands_in_the_outcome_and_makes_a_ticket(sql: Sql):
    outcome = fail(error=ValueError("part 7 is broken"), target="site")
    assert (outcome.is_ok, str(outcome.error)) == (False, "part 7 is broken")
    assert sql(TOLD) == [["deploy.diagnostics", "A part failed", "ValueError: part 7 is broken", 1, None, "site"]]
    assert outcome.ticket == sql("select id from tidemark.tickets")[0][0]


def test_the_same_fault_in_other_words_for_its_numbers_is_the_same_ticket(sql: Sql):
    for number in range(3):
        fail(error=ValueError(f"part {number} of 5f1c2e9a-0000-4000-8000-00000000000{number} is broken"))
    fail(error=TypeError("part 1 is broken"))
    assert sql("select count from tidemark.tickets order by id") == [[3], [1]]


def test_what_goes_well_makes_no_ticket(sql: Sql):
    with stabilization.boundary("deploy.diagnostics", "A part failed") as outcome:
        pass
    assert (outcome.is_ok, outcome.ticket) == (True, None)
    assert sql(TOLD) == []


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        Lost(),
        Waiting(),
        Passive(),
    ],
    ids=lambda error: type(error).__module__ + "." + type(error).__name__,
)
def test_what_is_no_fault_passes_through_without_a_ticket(error, sql: Sql):
    with pytest.raises(type(error)):
        fail(error=error)
    assert sql(TOLD) == []


def test_with_the_stabilizer_off_errors_go_on_and_there_are_no_tickets(sql: Sql, configured):
    configured(STABILIZER_ENABLED="false")
    with pytest.raises(ValueError, match="broken"):
        fail(error=ValueError("broken"))
    assert sql(TOLD) == []


def test_the_boundary_holds_even_when_no_ticket_can_be_written(database_url, configured, capsys):
    configured(DATABASE_URL=database_url + "_is_gone")
    outcome = fail(error=Unavailable("The database is gone."))
    assert (outcome.is_ok, outcome.ticket) == (False, None)
    assert "ticket.not_written" in capsys.readouterr().out
    db.pool().discard()


def test_a_shard_of_a_deploy_that_fails_makes_a_ticket_and_the_others_go_on(sql: Sql, deploying):
    plan = submit(a_stage("roll", "deploy.trial", concurrency=1, shards=6, fail={"2": 1, "4": 1}, target="site"))
    work.work()
    assert sql(TOLD) == [["deploy.trial", "deploy.trial failed in stage roll", "trial: as it was told to", 2, plan, "site"]]
    assert sql("select shard from public.trials order by shard") == [[0], [1], [3], [5]]


def test_each_attempt_that_fails_counts_and_the_ticket_outlives_the_plan(sql: Sql, deploying, turn_clock):
    submit(a_stage("roll", "system.trial", shards=1, fail={"0": 99}))
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    assert sql("select count, status from tidemark.tickets") == [[3, "open"]]
    assert sql("select status from tidemark.shard_failures") == [["dead"]]


def test_a_shard_that_waits_or_whose_provider_is_in_trouble_makes_no_ticket(sql: Sql, deploying):
    def wait(_: Any) -> None:
        raise Waiting(retry_after_seconds=1)

    kinds.hooks[1] = wait
    submit(a_stage("roll", "deploy.trial", shards=2, trouble={"0": 1}))
    work.work()
    assert sql(TOLD) == []


def test_a_shard_of_another_kind_makes_no_ticket(sql: Sql, deploying):
    submit(a_stage("one", "trial", shards=2, fail={"0": 1}))
    work.work()
    assert sql("select count(*) from tidemark.shard_failures") == [[1]]
    assert sql(TOLD) == []


def test_with_the_stabilizer_off_a_failed_shard_is_recorded_without_a_ticket(sql: Sql, deploying, configured):
    configured(STABILIZER_ENABLED="false")
    submit(a_stage("roll", "deploy.trial", shards=2, fail={"0": 1}))
    work.work()
    assert sql("select count(*) from tidemark.shard_failures") == [[1]]
    assert sql(TOLD) == []


def test_the_ticket_is_of_the_transaction_that_records_the_failure(sql: Sql, deploying):
    sql(REFUSED_AT_THE_END)
    submit(a_stage("roll", "deploy.trial", concurrency=1, shards=1, fail={"0": 1}))
    with pytest.raises(Conflict):
        work.work()
    assert sql("select count(*) from tidemark.shard_failures") == [[0]]
    assert sql(TOLD) == []


def test_the_names_that_are_watched_are_those_of_deploys_and_of_the_system():
    kinds_ = [name.replace("_", ".", 1) for name in lookup.names("shards")]
    assert {kind for kind in kinds_ if kind.startswith(stabilization.WATCHED)} == {
        kind for kind in kinds_ if kind.split(".")[0] in {"deploy", "system"}
    }


@pytest.mark.parametrize(("enabled", "count"), [("true", 1), ("false", 0)])
def test_a_healer_that_breaks_is_a_ticket_and_the_others_have_their_turn(enabled, count, sql: Sql, configured, monkeypatch):
    configured(STABILIZER_ENABLED=enabled)
    ran = []

    def broken() -> int:
        raise RuntimeError

    def down() -> int:
        raise Unavailable

    monkeypatch.setattr(heal, "HEALERS", {"one": broken, "two": down, "three": lambda: ran.append(3) or 0})
    with pytest.raises(Unavailable, match="one: RuntimeError; two"):
        heal.heal()
    assert ran == [3]
    assert sql("select count(*) from tidemark.tickets where kind = 'system.heal' and title = 'The healer one broke'") == [[count]]
