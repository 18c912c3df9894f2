"""Wait for a slot of a source's limited rate, which everybody shares, and be gone when there is none to be had soon."""

from __future__ import annotations

import math
import random
import time
from datetime import timedelta

from common import db, log
from common.errors import Throttled
from common.rules.urgency import Urgency
from common.stores import limits
from common.stores.limits import Slot

LATE = 0.5  # seconds after which a slot is thrown away: used later, it would be one too many for a later window
STAY = 10.0  # seconds that are waited here at most before a slot can be reserved; beyond them somebody else may use the time
SHORT = timedelta(seconds=2)


def wait_for_one(source: str, organization: str, urgency: Urgency, until: float) -> Slot:
    """Return at the moment of a slot that is ours; `until` is of time.monotonic().

    Raises: Throttled, with the seconds after which a slot may be had, when there is none by then.
    """
    stay = min(until, time.monotonic() + STAY)
    while True:
        slot, now = _taken(source, organization, urgency, until)
        if slot.is_granted:
            at = now + max(0.0, slot.wait)
            time.sleep(max(0.0, at - time.monotonic()))
            if _is_usable(source, organization, slot, late=time.monotonic() - at):
                return slot
            continue
        again = slot.resets_in if slot.is_spent else max(0.0, slot.wait - urgency.ahead)
        if slot.is_spent or now + again >= stay or now + slot.wait >= until:
            message = (
                f"The day's calls to {source} are used up for {urgency} work."
                if slot.is_spent
                else f"No slot for a call to {source} is free in time."
            )
            raise Throttled(message, retry_after_seconds=max(1, math.ceil(again)))
        # Not all at the same moment: whoever comes first reserves more than a second ahead, so none is lost by it.
        time.sleep(again + random.uniform(0.005, 0.05))  # noqa: S311


def _taken(source: str, organization: str, urgency: Urgency, until: float) -> tuple[Slot, float]:
    """The next slot, and when by our clock its wait began."""
    while True:
        with db.transaction("worker", timeout=SHORT) as tx:
            patience = max(0.0, min(urgency.ahead, until - time.monotonic()))
            slot = limits.take(tx, source, organization, urgency, patience=patience)
            now = time.monotonic()
            if slot is None:
                limits.introduce(tx, source, organization)
        if slot is not None:
            return slot, now


def _is_usable(source: str, organization: str, slot: Slot, *, late: float) -> bool:
    """Not when it was slept through, or everybody was told to stop meanwhile."""
    if late > LATE:
        log.warning("slot.thrown_away", source=source, late_seconds=round(late, 3))
        return False
    if slot.wait <= 0:
        return True
    with db.transaction("worker", timeout=SHORT) as tx:
        return not limits.is_blocked(tx, source, organization)
