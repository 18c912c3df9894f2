"""import_health: imports that cannot work."""

from __future__ import annotations

import pytest

from tests.rules.arie.trees import said

NAME = "import_health"
BASE = {"p/__init__.py": "", "p/b.py": "def there(): pass\nCONST = 1\n"}


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("def f(:\n", "critical"),
        ("x = '\x00'\n", "critical"),
        ("from p import gone\n", "high"),
        ("from p.gone import x\n", "high"),
        ("import p.gone\n", "high"),
        ("from p.b import gone\n", "high"),
        ("from . import gone\n", "high"),
        ("from .b import gone\n", "high"),
        ("def f():\n    from p.b import gone\n", "high"),
        ("from p.b import *\n", "medium"),
    ],
)
def test_an_import_that_cannot_work_is_found(text, severity):
    assert [each[2] for each in said(NAME, BASE | {"p/a.py": text})] == [severity]


@pytest.mark.parametrize(
    "text",
    [
        "from p import b\n",
        "from p.b import there, CONST\n",
        "import p.b\n",
        "from . import b\nfrom .b import there\n",
        "import json, not_installed.here\n",
    ],
)
def test_one_that_works_or_is_not_ours_is_let_be(text):
    assert said(NAME, BASE | {"p/a.py": text}) == []


def test_one_from_the_package_above_works():
    assert said(NAME, BASE | {"p/q/__init__.py": "", "p/q/a.py": "from ..b import there\nfrom .. import b\n"}) == []
    assert said(NAME, BASE | {"p/q/__init__.py": "", "p/q/a.py": "from ..gone import there\n"}) == [("p/q/a.py", 1, "high")]


def test_a_module_that_makes_its_names_itself_is_believed():
    assert said(NAME, BASE | {"p/c.py": "def __getattr__(name): return 1\n", "p/a.py": "from p.c import anything\n"}) == []


def test_a_circle_is_found_once_and_one_inside_functions_is_none():
    circle = {"p/__init__.py": "", "p/a.py": "from p import b\n", "p/b.py": "from p import c\n", "p/c.py": "import p.a\n"}
    assert said(NAME, circle) == [("p/a.py", 1, "medium")]
    assert said(NAME, circle | {"p/c.py": "def f():\n    import p.a\n"}) == []
