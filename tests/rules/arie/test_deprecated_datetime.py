"""deprecated_datetime: what it finds, what it lets be, and that its edit gives the same time."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from common.rules.integrity import Policy
from tests.rules.arie.trees import fixed, said

NAME = "deprecated_datetime"


@pytest.mark.parametrize(
    "text",
    [
        "import datetime\nx = datetime.datetime.utcnow()\n",
        "import datetime as dt\nx = dt.datetime.utcfromtimestamp(5)\n",
        "from datetime import datetime\nx = datetime.utcnow()\n",
        "from datetime import datetime as D, UTC\nx = D.utcnow()\n",
    ],
)
def test_a_time_without_a_zone_is_found(text):
    assert said(NAME, {"a.py": text}) == [("a.py", 2, "medium")]


@pytest.mark.parametrize(
    "text",
    [
        "from datetime import UTC, datetime\nx = datetime.now(UTC)\n",
        "from clock import datetime\nx = datetime.utcnow()\n",
        "x = 'datetime.utcnow()'\n",
        "x = something.utcnow()\n",
    ],
)
def test_other_times_are_let_be(text):
    assert said(NAME, {"a.py": text}) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "import datetime as dt\nx = dt.datetime.utcfromtimestamp(86_400 * 2)\n",
            "import datetime as dt\nx = dt.datetime.fromtimestamp(86_400 * 2, dt.timezone.utc).replace(tzinfo=None)\n",
        ),
        (
            "from datetime import datetime, timezone\nx = 'ä', datetime.utcfromtimestamp(\n  7\n)\n",
            "from datetime import datetime, timezone\nx = 'ä', datetime.fromtimestamp(7, timezone.utc).replace(tzinfo=None)\n",
        ),
    ],
)
def test_the_edit_gives_the_same_time(before, after):
    _, changed = fixed(NAME, {"a.py": before}, Policy.SAFE_EDIT)
    assert changed == {"a.py": after}
    scopes: list[dict[str, Any]] = [{}, {}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(before, scopes[0])  # noqa: S102 - what the edit must not change is what it does
    exec(after, scopes[1])  # noqa: S102
    assert scopes[0]["x"] == scopes[1]["x"]


def test_without_a_zone_at_hand_nothing_is_edited():
    assert fixed(NAME, {"a.py": "from datetime import datetime\nx = datetime.utcnow()\n"}, Policy.SAFE_EDIT)[1] == {}
    assert fixed(NAME, {"a.py": "import datetime\r\nx = datetime.datetime.utcnow()\r\n"}, Policy.SAFE_EDIT)[1] == {}


def test_a_policy_that_only_looks_edits_nothing():
    assert fixed(NAME, {"a.py": "import datetime\nx = datetime.datetime.utcnow()\n"}, Policy.LINT_ONLY)[1] == {}
