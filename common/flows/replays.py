"""Replays: letters tried again in steps of 1, 10 and the rest. A step begins when all of the one before ended well; as soon as
one has failed again, the replay stops by itself.
"""

from __future__ import annotations

import functools
from typing import Any
from uuid import UUID

from common import db, log
from common.db import Transaction
from common.errors import Unknown
from common.flows import ring
from common.flows.status import id_of
from common.rules import letters
from common.stores import replays

SHOWN = 50  # letters that failed again


def advance() -> int:
    """Take every replay that is not over as far as it can be taken now; how many events were put back to work.

    Anybody may do this at any time: each replay is one's at a time.
    """
    with db.transaction("worker") as tx:
        running = replays.running(tx)
    return sum(_advanced(replay) for replay in running)


def advance_and_ring() -> int:
    """As `advance`; whoever applies events is rung for what was put back."""
    count = advance()
    if count:
        ring.ring("process")
    return count


def _advanced(replay: UUID) -> int:
    return db.replayed(functools.partial(_step, replay), "worker")


def _step(replay: UUID, tx: Transaction) -> int:
    """Begin the next step of a replay if the one before is over and went well."""
    locked = replays.lock(tx, replay)
    if locked is None:
        return 0
    step = locked.step
    standing = replays.judge(tx, replay)
    while not standing.under_way:
        if standing.again:
            cause = "for the same cause" if standing.is_same else "for another cause"
            said = f"{standing.again} of step {step} failed again, the first {cause}: {standing.said}"
            _finish(tx, replay, "stopped", said)
            return 0
        if not standing.waiting:
            _finish(tx, replay, "done", f"All went well, in {step} steps.")
            return 0
        count = _begin(tx, replay, step, locked.requested_by)
        if count:
            return count
        # Nobody was left in it: what was wrong is known, or somebody else has dealt with all of them.
        step += 1
        standing = replays.judge(tx, replay)
    return 0


def _begin(tx: Transaction, replay: UUID, step: int, actor: str) -> int:
    items = replays.begin_step(tx, replay, letters.step_size(step))
    revived = replays.revive(tx, replay, step + 1, actor=actor)
    events = {item.event_id: item.letter for item in items if item.kind == "quarantine"}
    if events:
        from common.flows import quarantine  # noqa: PLC0415 - who has none need not load what reads them

        reread = quarantine.read_again(tx, list(events), actor)
        well = {each.id for each in reread if each.is_well}
        said = {each.id: each.said for each in reread if not each.is_well}
        for event, letter in events.items():
            if event in said:
                replays.end_again(tx, replay, letter, str(said[event]))
            elif event not in well:
                replays.end_gone(tx, replay, letter)
        if well:
            replays.count_replayed(tx, len(well))
        revived += len(well)
    log.info("replay.stepped", replay=str(replay), step=step + 1, letters=len(items), revived=revived)
    return revived


def _finish(tx: Transaction, replay: UUID, state: str, message: str) -> None:
    replays.finish(tx, replay, state, message)
    log.info("replay.ended", replay=str(replay), state=state, reason=message)


# For people --------------------------------------------------------------------------------------------------------


def listed() -> dict[str, Any]:
    """The latest replays."""
    with db.transaction("status", read_only=True) as tx:
        found = replays.listed(tx)
    return {"replays": [each._asdict() for each in found], "count": len(found)}


def one(identifier: str) -> dict[str, Any]:
    """One replay with its steps, and the letters that failed again.

    Raises: Unknown.
    """
    wanted = id_of(identifier)
    with db.transaction("status", read_only=True) as tx:
        found = replays.listed(tx, wanted)
        if not found:
            message = f"There is no replay {identifier}."
            raise Unknown(message)
        steps, failed = replays.steps(tx, wanted), replays.failed(tx, wanted, limit=SHOWN)
    begun = [each._asdict() for each in steps if each.step is not None]
    return {
        **found[0]._asdict(),
        "waiting": sum(each.letters for each in steps if each.step is None and found[0].state == "running"),
        "left": sum(each.letters for each in steps if each.step is None and found[0].state != "running"),
        "steps": begun,
        "failed_again": [each._asdict() for each in failed],
    }
