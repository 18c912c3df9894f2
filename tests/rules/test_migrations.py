"""What a migration's first line says, and where its statements end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.migrations import Migration, markers, statements


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("-- contract", {"contract"}),
        ("-- contract: nobody reads it", {"contract"}),
        ("-- no transaction", {"no transaction"}),
        ("-- no transaction, contract: both", {"no transaction", "contract"}),
        ("-- contract tests are described here", set()),
        ("-- The contract of the seeds", set()),
        ("contract", set()),
        ("", set()),
    ],
)
def test_the_first_line_says_what_a_migration_is(first, said):
    migration = Migration(1, "one", f"{first}\nselect 1;")
    assert markers(migration.text) == said
    assert (migration.is_contract, migration.is_transactional) == ("contract" in said, "no transaction" not in said)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("-- only; a comment\n", []),
        (";;\n;", []),
        ("select ';'; select 'it''s;'", ["select ';'", "select 'it''s;'"]),
        ("select E'\\';'; select 2", ["select E'\\';'", "select 2"]),
        ('select 1 as "a;""b"; select 2', ['select 1 as "a;""b"', "select 2"]),
        ("do $$ begin; end $$; select 2", ["do $$ begin; end $$", "select 2"]),
        ("do $a$ $$;$$ $b$;$b$ $a$; select 2", ["do $a$ $$;$$ $b$;$b$ $a$", "select 2"]),
        ("select $1; select 2", ["select $1", "select 2"]),
        ("/* a; /* b; */ c; */ select 1; select 2", ["/* a; /* b; */ c; */ select 1", "select 2"]),
        ("/* never ends; select 1;", []),
    ],
)
def test_a_statement_ends_at_a_semicolon_that_stands_by_itself(text, found):
    assert [statement.text for statement in statements(text)] == found


def test_a_statement_says_on_which_line_it_begins_and_what_it_is_without_texts_and_comments():
    found = list(statements("select 1;\n\n-- why\nselect 'a;b'\n  as  \"C d\", $$e$$;"))
    assert [(each.line, each.bare) for each in found] == [(1, "select 1"), (4, "select '' as \"C d\", ''")]


PIECES = st.sampled_from(["select 1", "'a;''b'", '"c;d"', "$$;$$", "$t$ ; $$ $t$", "-- x;\n", "/* ; /* ; */ */", " ", "\n"])


@given(st.lists(st.lists(PIECES, max_size=5).map(" ".join), max_size=6))
def test_nothing_is_lost_and_only_what_stands_between_semicolons_is_a_statement(parts):
    told = [statement.text for statement in statements(";".join(parts))]
    assert told == [part.strip() for part in parts if any(statements(part))]
