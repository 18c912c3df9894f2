"""Backups: who makes one says so, and what takes something away can be made to wait for a recent one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from common.errors import Conflict
from common.flows import plan_status, work
from common.stores import migrations
from tests import rollouts
from tests.conftest import OWNER
from tests.functions.test_auth import ask

TAKES = "-- contract: nobody reads it any more\ndrop table if exists public.added;"
HOUR = timedelta(hours=1)


def record(**given):
    return ask("POST", "/api/system/backups", OWNER, body=json.dumps(given).encode())


def contract():
    return ask("POST", "/api/system/migrate", OWNER, body=b'{"contract": true}')


@pytest.fixture
def takes(sql, tmp_path, monkeypatch):
    """There is something to be taken away, and a backup of the last six hours is asked for."""
    (name,) = rollouts.deploy(monkeypatch, tmp_path, TAKES)
    sql("update tidemark.settings set value = '6' where key = 'migrations.backup_within_hours'")
    return name


def test_nothing_is_taken_away_without_a_recent_backup(takes, sql, turn_clock):
    reply = contract()
    assert (reply.status, reply.json["backup_within_hours"]) == (409, 6)
    assert "none was recorded" in reply.json["detail"]
    assert "POST /api/system/backups" in reply.json["detail"]
    assert record(reference="s3://backups/1").status == 201
    turn_clock(7 * HOUR)
    assert "the newest is 7.0 h old" in contract().json["detail"]
    assert sql("select count(*) from tidemark.plans") == [[0]]
    with pytest.raises(Conflict, match="wants a backup"):  # by hand as well
        migrations.run_pending(contract=True)


def test_with_a_recent_backup_it_is_taken_away(takes, sql, turn_clock):
    record(reference="s3://backups/1")
    turn_clock(5 * HOUR)
    reply = contract()
    assert reply.status == 202
    work.work()
    assert plan_status.status(reply.json["plan_id"])["status"] == "succeeded"
    assert sql("select count(*) from tds_schema_versions where name = :name", name=takes) == [[1]]


def test_what_only_adds_needs_no_backup(takes):
    assert ask("POST", "/api/system/migrate", OWNER, body=b"{}").status == 202


def test_unless_it_is_asked_for_no_backup_is_needed(takes, sql):
    sql("update tidemark.settings set value = '0' where key = 'migrations.backup_within_hours'")
    assert contract().status == 202


def test_a_backup_is_written_down_once_with_whoever_says_so(sql):
    first = record(reference="dump-1", at="2026-01-01T00:00:00Z")
    again = record(reference="dump-1", at="2026-01-01T00:00:00Z")
    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert first.json["recorded_by"] == "admiral"
    assert record(reference="dump-1").status == 200
    assert record(reference="dump-1", at="2026-01-02T00:00:00Z").status == 409
    told = sql("select payload ->> 'action', payload ->> 'reference' from tidemark.notices where topic = 'hxo.audit'")
    assert told == [["backup", "dump-1"]]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "/reference"),
        ({"reference": ""}, "/reference"),
        ({"reference": 5}, "/reference"),
        ({"reference": "a\x00b"}, "/reference"),
        ({"reference": "x" * 513}, "/reference"),
        ({"reference": "x", "at": "yesterday"}, "/at"),
        ({"reference": "x", "at": 5}, "/at"),
        ({"reference": "x", "at": "2199-01-01T00:00:00Z"}, "/at"),
        ({"reference": "x", "size": 5}, "/size"),
    ],
)
def test_what_cannot_be_a_backup_is_refused_with_a_pointer(database_url, given, pointer):
    reply = record(**given)
    assert reply.status == 422
    assert [fault["pointer"] for fault in reply.json["errors"]] == [pointer]
