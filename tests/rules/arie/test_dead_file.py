"""dead_file: files that nothing uses."""

from __future__ import annotations

import pytest

from common.rules.integrity import Policy
from tests.rules.arie.trees import fixed, said

NAME = "dead_file"
DEAD = {"p/__init__.py": "", "p/dead.py": "x = 1\n"}


def test_a_file_that_nothing_uses_is_found():
    assert said(NAME, DEAD) == [("p/dead.py", 1, "low")]


@pytest.mark.parametrize(
    "more",
    [
        {"p/__main__.py": "from p import dead\n"},
        {"p/__main__.py": "import p.dead\n"},
        {"p/__main__.py": "from p.dead import x\n"},
        {"p/__main__.py": "from . import dead\n"},
        {"p/__init__.py": "from .dead import x\n"},
        {"Makefile": "run:\n\tpython p/dead.py\n"},
        {"pyproject.toml": "run = 'p.dead:main'\n"},
        {"p/__main__.py": "import importlib\nimportlib.import_module(f'p.{name}')\n"},
        {"p/__main__.py": "lookup.find('p', name)\n"},
        {"p/dead.py": "if __name__ == '__main__':\n    main()\n"},
    ],
)
def test_one_that_is_imported_started_named_or_loaded_by_name_is_let_be(more):
    assert said(NAME, DEAD | more) == []


def test_tests_are_let_be():
    assert said(NAME, {"tests/test_a.py": "x = 1\n", "test_b.py": "x = 1\n", "conftest.py": ""}) == []


def test_it_is_taken_out_only_by_the_policy_that_says_so():
    assert [fixed(NAME, DEAD, policy)[1] for policy in Policy] == [{}, {}, {}, {"p/dead.py": None}]
