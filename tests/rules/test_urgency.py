"""Who is served before whom."""

import itertools

from common.rules.urgency import AHEAD, Urgency


def test_the_more_urgent_reach_further_ahead():
    assert list(AHEAD) == list(Urgency)
    assert all(before.ahead > after.ahead for before, after in itertools.pairwise(Urgency))


def test_behind_a_full_sync_nobody_waits_two_seconds():
    assert Urgency.BULK.ahead + 60 / 95 < 2
