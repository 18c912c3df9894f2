"""Replays: many letters tried again in steps, each of which begins when the one before ended well."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction
from common.stores.dead_letters import Filter, Matched


class Running(NamedTuple):
    """A replay that is not over."""

    id: UUID


class Locked(NamedTuple):
    """A replay that nobody else is at."""

    step: int
    requested_by: str


class Standing(NamedTuple):
    """How far a replay is."""

    under_way: int
    waiting: int
    again: int
    said: str | None  # by the first that failed again
    is_same: bool  # one failed for the very cause it had failed for before


class Item(NamedTuple):
    """A letter whose turn has come."""

    letter: UUID
    kind: str
    event_id: UUID


class Replay(NamedTuple):
    """A replay as it is shown."""

    id: UUID
    state: str
    filter: dict[str, Any]
    total: int
    step: int
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    message: str | None


class Step(NamedTuple):
    """What became of the letters of a step."""

    step: int | None
    letters: int
    done: int
    again: int
    under_way: int
    gone: int
    began_at: datetime | None
    ended_at: datetime | None


class Failed(NamedTuple):
    """A letter that failed again."""

    letter: UUID
    kind: str
    event_id: UUID
    step: int | None
    said: str | None
    is_same: bool


def add(tx: Transaction, asked: Filter, *, shown: dict[str, Any], total: int, actor: str) -> tuple[UUID, Matched]:
    """A new replay of the letters that a filter means and no other replay is at; its id, and which they are."""
    replay: UUID = tx.value("replays.add", filter=encoding.rows(shown), total=total, actor=actor)
    matched = tx.one(
        Matched,
        "replays.fill",
        replay=replay,
        fingerprint=asked.fingerprint,
        entity=asked.entity,
        kind=asked.kind,
        code=asked.code,
        before=asked.before,
        ids=None if asked.ids is None else encoding.rows(asked.ids),
    )
    assert matched is not None  # noqa: S101 - an aggregate has a row
    return replay, matched


def running(tx: Transaction) -> list[UUID]:
    """Replays that are not over, the oldest first."""
    return [each.id for each in tx.all(Running, "replays.running")]


def lock(tx: Transaction, replay: UUID) -> Locked | None:
    """A replay, locked; None when it is over, or somebody else is at it."""
    return tx.one(Locked, "replays.lock", id=replay)


def judge(tx: Transaction, replay: UUID) -> Standing:
    """Write down how those ended that were tried again; how far that is."""
    tx.run("replays.judge", id=replay)
    return tx.one(Standing, "replays.standing", id=replay)  # type: ignore[return-value]  # an aggregate has a row


def begin_step(tx: Transaction, replay: UUID, limit: int) -> list[Item]:
    """The next letters, at most `limit`, which are to be tried again now."""
    return tx.all(Item, "replays.begin_step", id=replay, limit=limit)


def revive(tx: Transaction, replay: UUID, step: int, *, actor: str) -> int:
    """One more attempt for the dead letters of a step; how many."""
    return int(tx.value("replays.revive", id=replay, step=step, actor=actor))


def end_again(tx: Transaction, replay: UUID, letter: UUID, said: str) -> None:
    """A quarantined event was read again and is still wrong."""
    tx.run("replays.end_again", replay=replay, letter=letter, said=said)


def end_gone(tx: Transaction, replay: UUID, letter: UUID) -> None:
    """Somebody else has dealt with this one."""
    tx.run("replays.end_gone", replay=replay, letter=letter)


def count_replayed(tx: Transaction, amount: int) -> None:
    """So many quarantined events went back into the inbox."""
    tx.run("replays.count_replayed", amount=amount)


def finish(tx: Transaction, replay: UUID, state: str, message: str) -> None:
    """It is over: done or stopped."""
    tx.run("replays.finish", id=replay, state=state, message=message)


def listed(tx: Transaction, replay: UUID | None = None, *, limit: int = 50) -> list[Replay]:
    """Replays, the latest first; or one."""
    return tx.all(Replay, "replays.listed", id=replay, limit=limit)


def steps(tx: Transaction, replay: UUID) -> list[Step]:
    """Its steps; the last one has what no step has come to."""
    return tx.all(Step, "replays.steps", id=replay)


def failed(tx: Transaction, replay: UUID, *, limit: int) -> list[Failed]:
    """Its letters that failed again."""
    return tx.all(Failed, "replays.failed", id=replay, limit=limit)
