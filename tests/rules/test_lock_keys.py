"""Keys of advisory locks: two signed 32-bit integers, as Postgres reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import db
from common.rules import lock_keys
from common.stores import locks

LEAST, MOST = -(2**31), 2**31 - 1


def test_the_known_number_splits_as_postgres_showed():
    assert lock_keys.split(2797505866569588743) == (651345091, -1980522489)


@pytest.mark.parametrize(
    ("number", "halves"),
    [(0, (0, 0)), (MOST, (0, MOST)), (2**31, (0, LEAST)), (2**32 - 1, (0, -1)), (2**32, (1, 0)), (2**63 - 1, (MOST, -1))],
)
def test_the_borders_split_into_what_fits(number, halves):
    assert lock_keys.split(number) == halves


@given(st.integers(0, 2**63 - 1))
def test_both_halves_fit_and_make_the_number_again(number):
    first, second = lock_keys.split(number)
    assert 0 <= first <= MOST
    assert LEAST <= second <= MOST
    assert (first << 32) | (second & 0xFFFFFFFF) == number


@pytest.mark.parametrize("number", [-1, 2**63])
def test_a_number_of_other_than_63_bits_has_no_key(number):
    with pytest.raises(ValueError, match="63 bits"):
        lock_keys.split(number)


def test_a_name_has_one_key_and_another_name_or_namespace_another():
    assert lock_keys.key("migrate") == (0x6C7B6C24, 0x2B187169)  # as sha256sum says of "tidemark:migrate"
    assert lock_keys.key("counters") == (0xB700E6CC - 2**31, 0x85412707 - 2**32)  # its highest bit is left out
    keys = {lock_keys.key(name) for name in ("migrate", "lanes", "syncs", "counters", "watch")}
    assert len(keys | {lock_keys.key("migrate", "other")}) == 6


def test_postgres_holds_it_under_these_two_numbers_until_the_transaction_ends(sql):
    name = next(name for name in map(str, range(100)) if lock_keys.key(name).second < 0)  # shown unsigned
    key = lock_keys.key(name)
    mine = "select classid::bigint, objid::bigint, objsubid from pg_locks where locktype = 'advisory' and granted"
    with db.transaction("worker") as tx:
        locks.wait(tx, name)
        assert sql(mine) == [[key.first, key.second + 2**32, 2]]
        with db.transaction("worker") as other:
            assert locks.taken(other, "another name")
            assert not locks.taken(other, name)
    assert sql(mine) == []
