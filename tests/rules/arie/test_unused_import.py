"""unused_import: names that are imported for nothing."""

from __future__ import annotations

import pytest

from common.rules.integrity import Policy
from tests.rules.arie.trees import fixed, said

NAME = "unused_import"


@pytest.mark.parametrize(
    "text",
    [
        "import os\nx = 1\n",
        "import os.path\nx = 1\n",
        "from a import b\nx = 1\n",
        "from a import b as c\nb = 1\n",
        "def f():\n    import os\n    return 1\n",
        "import os  # noqa: E402\n",
    ],
)
def test_a_name_that_is_not_used_is_found(text):
    assert [each[2] for each in said(NAME, {"a.py": text})] == ["low"]


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.getcwd()\n",
        "import os.path\nos.path.join('a')\n",
        "from __future__ import annotations\n",
        "from a import b\n__all__ = ['b']\n",
        "from a import b\ndef f(x: 'b | None'): return x\n",
        "from a import b\ndef f(x: b): return x\n",
        "import a as a\n",
        "from a import *\n",
        "import os  # noqa: F401 - others take it from here\n",
        "import os  # noqa\n",
        "try:\n    import fast\nexcept ImportError:\n    fast = None\n",
    ],
)
def test_what_is_used_or_meant_so_is_let_be(text):
    assert said(NAME, {"a.py": text}) == []


def test_a_package_imports_for_others():
    assert said(NAME, {"a/__init__.py": "from a.b import c\n"}) == []


BOTH = "import os\nimport third\nx = 1\n"


@pytest.mark.parametrize(
    ("policy", "after"),
    [(Policy.SAFE_EDIT, "import third\nx = 1\n"), (Policy.REFACTOR, "x = 1\n"), (Policy.LINT_ONLY, None), (Policy.ARCHIVE, None)],
)
def test_pythons_own_modules_are_safe_to_take_out_and_others_are_not(policy, after):
    plan, changed = fixed(NAME, {"a.py": BOTH}, policy)
    assert changed == ({} if after is None else {"a.py": after})
    assert plan.shown()["requires_approval"] is (policy is Policy.REFACTOR)


@pytest.mark.parametrize(
    "text", ["import os; x = 1\n", "if y:\n    import os\nx = 1\n", "import os, sys\nx = 1\n", "import os  # why\nx = 1\n"]
)
def test_what_cannot_be_taken_out_alone_is_only_said(text):
    assert said(NAME, {"a.py": text})
    assert fixed(NAME, {"a.py": text}, Policy.REFACTOR)[1] == {}
