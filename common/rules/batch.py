"""Newest wins, inside one batch: which version of each record goes to the database, and what the others were."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

Carried = TypeVar("Carried")
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


class Candidate(NamedTuple, Generic[Carried]):
    """One version among others of the same record."""

    id: str
    stamp: datetime | None
    is_delete: bool
    observed: datetime
    hash: str
    carried: Carried

    @property
    def order(self) -> tuple[datetime, bool, datetime, str]:
        """As sql/queries/records.sql compares: version, settled, observed, hash. A delete counts as settled."""
        version = (self.stamp or self.observed) if self.is_delete else (self.stamp or BEGINNING)
        return (version, self.is_delete, self.observed, self.hash)

    def ties_with(self, other: Candidate[Carried]) -> bool:
        """Whether both claim the same moment with different contents, so that neither can be believed."""
        return (
            self.stamp is not None
            and self.stamp == other.stamp
            and not self.is_delete
            and not other.is_delete
            and self.hash != other.hash
        )


class Choice(NamedTuple, Generic[Carried]):
    """The version of a record to apply, what the losers say about it, and their outcomes."""

    winner: Candidate[Carried]
    tied: bool  # a loser has the same stamp with another content
    hinted: bool  # a loser carried no version: only the source can tell whether it was newer
    losers: tuple[tuple[Candidate[Carried], str], ...]


def newest(candidates: Iterable[Candidate[Carried]]) -> list[Choice[Carried]]:
    """One choice per id, ordered by id: the same whatever order the candidates come in."""
    by_id: dict[str, list[Candidate[Carried]]] = {}
    for candidate in candidates:
        by_id.setdefault(candidate.id, []).append(candidate)
    return [_choice(by_id[identifier]) for identifier in sorted(by_id)]


def _choice(candidates: list[Candidate[Carried]]) -> Choice[Carried]:
    if len(candidates) == 1:
        return Choice(candidates[0], tied=False, hinted=False, losers=())
    *older, winner = sorted(candidates, key=lambda candidate: candidate.order)
    losers = tuple((loser, _outcome(loser, winner)) for loser in older)
    return Choice(
        winner,
        tied=any(loser.ties_with(winner) for loser in older),
        hinted=any(loser.stamp is None and not loser.is_delete for loser in older),
        losers=losers,
    )


def _outcome(loser: Candidate[Carried], winner: Candidate[Carried]) -> str:
    if loser.ties_with(winner) or (loser.stamp is None and winner.stamp is not None and not loser.is_delete):
        return "ambiguous"
    same = (loser.stamp, loser.is_delete, loser.hash) == (winner.stamp, winner.is_delete, winner.hash)
    return "unchanged" if same else "superseded"
