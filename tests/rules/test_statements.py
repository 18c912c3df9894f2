"""What a statement is: read with care, and never taken for harmless when that cannot be told."""

from __future__ import annotations

import pytest

from common.rules import statements

IDEMPOTENT = [
    "update t set a = 1 where id >= :lo and id < :hi",
    "update t set a = b || 'x', c = lower(d) where id >= :lo",
    "update t set a = 'a = a + 1' where id = 1 -- a = a + 1",
    "delete from t where id >= :lo and id < :hi;",
    "with gone as (select id from t order by id offset :offset limit :limit) delete from t using gone where t.id = gone.id",
    "insert into t (a) select b from u where id >= :lo on conflict do nothing",
    "select 1",
]
NOT = [
    "update t set a = a + 1 where id >= :lo",
    'update t set "a" = "a" + 1',
    "update t set b = 1, a = t.a * 2 where id >= :lo",
    "update t set a = random()",
    "insert into t (a) select b from u where id >= :lo",
    "insert into t (a) values (1) on conflict (a) do update set n = t.n + 1",
    "with new as (insert into t (a) values (1) returning a) delete from u using new",
    "update t set (a, b) = (select b, a from u)",
]


@pytest.mark.parametrize("text", IDEMPOTENT)
def test_what_does_the_same_twice_is_idempotent(text):
    assert statements.read(text).is_idempotent


@pytest.mark.parametrize("text", NOT)
def test_what_may_do_more_twice_is_not(text):
    assert not statements.read(text).is_idempotent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("update t set a = 1; drop table t", "one statement"),
        ("drop table t", "must begin with"),
        ("", "must begin with"),
        ("update t set a = set_config('role', 'postgres', true)", "must not use set_config"),
        ("update t set a = 1 where query_to_xml('delete from x', true, true, '') is null", "must not use query_to_xml"),
        ("update t set a = \"set_config\"('role', 'postgres', true)", "must not use set_config"),
        ("update t set a = pg_read_file('/etc/passwd')", "must not use pg_read_file"),
        ("update t set a = U&\"\\0073et_config\"('role', 'x', true)", "U& escapes"),
        ("update t set a = 1 where " + "b = 1 and " * 3000, "characters at most"),
    ],
)
def test_what_must_not_be_in_a_batch_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        statements.read(text)


def test_parameters_are_those_outside_of_text_and_casts():
    read = statements.read("update t set a = ':no', b = c::text where id >= :lo and id < :hi /* :never */")
    assert (read.verb, read.parameters) == ("update", {"lo", "hi"})
    assert statements.parameters_fault(read.parameters) is None
    assert statements.parameters_fault(frozenset({"lo"})) is not None
    assert statements.parameters_fault(frozenset()) is not None
    assert statements.parameters_fault(frozenset({"offset", "limit"})) is None
