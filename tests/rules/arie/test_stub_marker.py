"""stub_marker: functions that are not written, and comments that say so."""

from __future__ import annotations

import pytest

from tests.rules.arie.trees import said

NAME = "stub_marker"
MARK = "TO" + "DO"


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("def f():\n    raise NotImplementedError\n", "high"),
        ("class A:\n    def f(self):\n        '''Words.'''\n        raise NotImplementedError('later')\n", "high"),
        ("async def f():\n    ...\n", "medium"),
        (f"x = 1  # {MARK}: the rest\n", "low"),
    ],
)
def test_what_is_not_written_is_found(text, severity):
    assert [each[2] for each in said(NAME, {"a.py": text})] == [severity]


@pytest.mark.parametrize(
    "text",
    [
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self):\n        raise NotImplementedError\n",
        "from typing import Protocol\nclass A(Protocol):\n    def f(self): ...\n",
        "from typing import Protocol, TypeVar\nT = TypeVar('T')\nclass A(Protocol[T]):\n    def f(self): ...\n",
        "def f(x):\n    if x:\n        raise NotImplementedError\n    return x\n",
        "class Nothing(Exception):\n    '''Words.'''\n",
        "def f():\n    '''Does nothing, and says so.'''\n",
        f"x = '# {MARK}'\n",
        f"# {MARK.lower()} lists are an entity\n",
    ],
)
def test_what_is_meant_so_is_let_be(text):
    assert said(NAME, {"a.py": text}) == []


def test_tests_may_have_functions_without_a_body():
    assert said(NAME, {"tests/test_a.py": "def f():\n    ...\n"}) == []
