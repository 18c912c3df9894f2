"""config_smell: environment variables without a default."""

from __future__ import annotations

import pytest

from tests.rules.arie.trees import said

NAME = "config_smell"


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("import os\nx = os.environ['A']\n", "medium"),
        ("import os\nx = os.environ.get('A')\n", "low"),
        ("import os\nx = os.getenv('A')\n", "low"),
        ("from os import environ\nx = environ['A']\n", "medium"),
    ],
)
def test_a_read_without_a_default_is_found(text, severity):
    assert said(NAME, {"a.py": text}) == [("a.py", 2, severity)]


@pytest.mark.parametrize(
    "text",
    [
        "import os\nx = os.environ.get('A', '')\n",
        "import os\nx = os.getenv('A', default='')\n",
        "import os\nos.environ['A'] = '1'\n",
        "x = settings['A']\n",
    ],
)
def test_other_reads_are_let_be(text):
    assert said(NAME, {"a.py": text}) == []


def test_tests_may_read_what_they_set():
    assert said(NAME, {"tests/test_a.py": "import os\nx = os.environ['A']\n"}) == []
