"""ARIE audit: a static scan with reversible fixes. Each analyzer has a failing and a passing fixture; what was applied and taken
back is the tree that was, byte for byte; and our own tree has nothing grave in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import log, lookup
from common.flows import arie
from common.rules import integrity
from common.rules.integrity import GRAVE, Tree
from tests.house.tree import ROOT

FAILING: dict[str, dict[str, str]] = {
    "deprecated_datetime": {"a.py": "import datetime\nx = datetime.datetime.utcnow()\n"},
    "stub_marker": {"a.py": "def f():\n    raise NotImplementedError\n"},
    "route_registry": {"serverless.yml": "functions:\n  a:\n    events:\n      - httpApi: GET /a\n"},
    "import_health": {"p/__init__.py": "", "p/a.py": "from p import gone\n"},
    "config_smell": {"a.py": "import os\nx = os.environ['A']\n"},
    "duplicate_file": {"a.py": "x = 1\n" * 20, "b.py": "x = 1\n" * 20},
    "dead_file": {"p/dead.py": "x = 1\n"},
    "unused_import": {"a.py": "import os\n"},
}
PASSING: dict[str, dict[str, str]] = {
    "deprecated_datetime": {"a.py": "import datetime\nx = datetime.datetime.now(datetime.UTC)\n"},
    "stub_marker": {"a.py": "def f():\n    return 1\n"},
    "route_registry": {
        "serverless.yml": "functions:\n  a:\n    events:\n      - httpApi: GET /a\n",
        "functions/a.py": 'Route("GET", "/a", "open", f)\n',
    },
    "import_health": {"p/__init__.py": "", "p/a.py": "from p import b\n", "p/b.py": ""},
    "config_smell": {"a.py": "import os\nx = os.environ.get('A', '')\n"},
    "duplicate_file": {"a.py": "x = 1\n" * 20, "b.py": "x = 2\n" * 20},
    "dead_file": {"p/used.py": "x = 1\n", "main.py": "import p.used\n"},
    "unused_import": {"a.py": "import os\nos.getcwd()\n"},
}


def findings(analyzer: str, files: dict[str, str]) -> list[Any]:
    return list(lookup.find("rules.arie", analyzer).find(Tree({path: text.encode() for path, text in files.items()})))


@pytest.mark.parametrize("analyzer", lookup.names("rules.arie"))
def test_an_analyzer_finds_what_is_wrong_and_nothing_in_what_is_right(analyzer):
    assert findings(analyzer, FAILING[analyzer])
    assert findings(analyzer, PASSING[analyzer]) == []


@pytest.mark.parametrize("policy", ["SAFE_EDIT", "REFACTOR", "ARCHIVE"])
def test_applied_and_rolled_back_is_a_byte_equal_tree(policy, database_url, configured: Callable[..., None], tmp_path: Path):
    """Over a copy of our own code, with something planted in every other file."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "common" / "rules", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for no, path in enumerate(sorted((folder / "common").rglob("*.py"))):
        if no % 2:
            path.write_text(path.read_text() + "\nimport sys\nimport third_party\n")
    (folder / "common" / "nobodys.py").write_bytes("x = 'ö'\n".encode() * 9)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    configured(HXO_SOURCE_DIR=str(folder))
    with log.bound(operator="ann"):
        plan = arie.run({"policy": policy})["plan"]
        (patch,) = arie.run({"policy": policy, "apply": True, "confirm": plan["id"]})["patches"]
        changed = {path for path in before if not path.exists() or path.read_bytes() != before[path]}
        assert len(changed) == len(patch["files_modified"]) > (0 if policy == "ARCHIVE" else 20)
        arie.rollback({"patch_id": patch["id"]})
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_our_own_tree_has_nothing_grave_in_it():
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for folder in ("common", "functions", "deploy", "tests", "sql")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {name: (ROOT / name).read_bytes() for name in ("serverless.yml", "pyproject.toml", "Makefile")}
    analyzers = {name: lookup.find("rules.arie", name) for name in lookup.names("rules.arie")}
    grave = [each for each in integrity.analyzed(Tree(files), analyzers) if each.severity in GRAVE]
    assert [f"{each.file_path}:{each.line_number}: {each.description}" for each in grave] == []
