"""How urgent a call to a source is, and so how far ahead it may take a slot of the source's limited rate.

Whoever may reach further ahead is served before those who may not: that is all the priority there is, and it costs
nothing. What each must leave of the day's calls to the more urgent is in `tidemark.settings`.
"""

from __future__ import annotations

from enum import StrEnum


class Urgency(StrEnum):
    """From the most urgent to the least."""

    INTERACTIVE = "interactive"  # somebody waits for it
    STOCK = "stock"
    INCREMENTAL = "incremental"
    BULK = "bulk"  # a full sync
    REPAIR = "repair"

    @property
    def ahead(self) -> float:
        """The longest wait, in seconds, for which a slot may be reserved."""
        return AHEAD[self]


# At 95 calls a minute a slot comes every 0.63 s. A full sync holds two of them, and the burst makes up for a moment in
# which nobody held any: so none is lost between its lanes, and anything more urgent waits less than two seconds.
AHEAD = {
    Urgency.INTERACTIVE: 30.0,
    Urgency.STOCK: 10.0,
    Urgency.INCREMENTAL: 5.0,
    Urgency.BULK: 1.3,
    Urgency.REPAIR: 0.7,
}
