from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.batch import Candidate, newest

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_candidate(hash_="a", stamp=NOON, *, observed=NOON, is_delete=False, id_="1") -> Candidate[str]:
    return Candidate(id_, stamp, is_delete, observed, hash_, carried=hash_)


def outcomes(*candidates: Candidate[str]) -> tuple[str, list[tuple[str, str]], bool, bool]:
    [choice] = newest(candidates)
    return choice.winner.hash, [(loser.hash, said) for loser, said in choice.losers], choice.tied, choice.hinted


@pytest.mark.parametrize(
    ("candidates", "winner", "losers", "tied_and_hinted"),
    [
        ([a_candidate()], "a", [], (False, False)),
        ([a_candidate("a"), a_candidate("b", NOON + HOUR)], "b", [("a", "superseded")], (False, False)),
        ([a_candidate("a"), a_candidate("a", observed=NOON + HOUR)], "a", [("a", "unchanged")], (False, False)),
        ([a_candidate("a"), a_candidate("b", observed=NOON + HOUR)], "b", [("a", "ambiguous")], (True, False)),
        ([a_candidate("a", None), a_candidate("b")], "b", [("a", "ambiguous")], (False, True)),
        ([a_candidate("a", None), a_candidate("b", None, observed=NOON + HOUR)], "b", [("a", "superseded")], (False, True)),
        ([a_candidate("a"), a_candidate("d", is_delete=True)], "d", [("a", "superseded")], (False, False)),
        ([a_candidate("d", is_delete=True), a_candidate("a", NOON + HOUR)], "a", [("d", "superseded")], (False, False)),
        (
            [a_candidate("a"), a_candidate("d", None, is_delete=True, observed=NOON + HOUR)],
            "d",
            [("a", "superseded")],
            (False, False),
        ),
    ],
    ids=[
        "alone",
        "a later stamp",
        "the same twice",
        "one stamp, two contents",
        "a hint beside a version",
        "two hints",
        "a delete at the same moment",
        "an update after a delete",
        "a delete without a stamp",
    ],
)
def test_the_newest_version_wins_and_the_others_say_why_not(candidates, winner, losers, tied_and_hinted):
    for order in permutations(candidates):
        assert outcomes(*order) == (winner, losers, *tied_and_hinted)


CANDIDATES = st.builds(
    a_candidate,
    st.sampled_from("abc"),
    st.sampled_from([NOON, NOON + HOUR, None]),
    observed=st.sampled_from([NOON, NOON + HOUR]),
    is_delete=st.booleans(),
    id_=st.sampled_from(["1", "2", "10"]),
)


@given(st.lists(CANDIDATES, max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_they_come_does_not_matter(candidates, chance):
    shuffled = chance.sample(candidates, len(candidates))
    one, other = (
        [(choice.winner.id, choice.winner.order, choice.tied, choice.hinted) for choice in newest(some)]
        for some in (candidates, shuffled)
    )
    assert one == other


@given(st.lists(CANDIDATES, max_size=8))
def test_everybody_is_either_the_winner_of_its_id_or_a_loser(candidates):
    choices = newest(candidates)
    assert [choice.winner.id for choice in choices] == sorted({candidate.id for candidate in candidates})
    assert sum(1 + len(choice.losers) for choice in choices) == len(candidates)
