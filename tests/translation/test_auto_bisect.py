"""auto-bisect on failed certification: faults are found by descending the tree, not by looking at every leaf."""

from __future__ import annotations

import itertools
import random

import pytest

from common.rules import merkle, proofs
from tests.kinds import a_stage
from tests.truth import alter, ask, finished

SHA3 = merkle.hasher("sha3_256")
COUNT = 100_000


@pytest.fixture(scope="module")
def tree() -> list[list[bytes]]:
    return proofs.levels(SHA3, [merkle.leaf(SHA3, b"%d" % number) for number in range(COUNT)])


@pytest.mark.parametrize("bad", [0, 1, 65_535, 65_536, COUNT - 1, *(random.Random(5).randrange(COUNT) for _ in range(5))])
def test_1_bad_leaf_of_100_000_is_found_in_17_compares_at_most(bad, tree):
    other = [list(level) for level in tree]
    at = bad
    other[0][bad] = merkle.leaf(SHA3, b"altered")
    for below, above in itertools.pairwise(other):
        at //= 2
        pair = below[2 * at : 2 * at + 2]
        above[at] = pair[0] if len(pair) == 1 else merkle.node(SHA3, *pair)
    found = proofs.differing(tree, other)
    assert found.leaves == [bad]
    assert found.compares <= 17


def test_a_certification_that_fails_names_the_shard(sql, trial):
    plan = finished(a_stage("pack", shards=100, concurrency=3))
    alter(sql, plan, 77)
    assert "shard 77 of stage pack" in ask(plan, "certify", method="POST").json["detail"]
