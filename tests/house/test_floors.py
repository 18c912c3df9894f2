"""Each floor stands only on the floors below it, as import-linter checks; and it would see it if one did not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.house.tree import ROOT

PACKAGES = ("functions", "common", "deploy")
PLANTED = {
    "common/rules/http.py": "from common import db",
    "common/errors.py": "from common import log",
    "common/entities/bills.py": "from common.entities import users",
    "common/signatures/zoho.py": "from common.signatures import shared_secret",
    "common/sources/second.py": "from common.sources import zoho",
    "common/clients/second.py": "from common.clients import zoho",
    "common/shards/noop.py": "from common.shards import sync_pages",
    "common/rules/arie/dead_file.py": "from common.rules.arie import stub_marker",
    "common/queues/sqs.py": "from common.queues import cloud_tasks",
    "common/targets/netlify.py": "from common.targets import render",
    "functions/health.py": "from common.stores import health as stored",
    "functions/status.py": "from functions import health",
    "common/stores/bells.py": "import pg8000",
}


def linted(folder: Path) -> tuple[int, str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def test_the_floors_hold():
    status, said = linted(ROOT)
    assert status == 0, said


def test_a_beam_that_goes_the_wrong_way_breaks_every_contract(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, line in PLANTED.items():
        path = tmp_path / name
        path.touch()
        path.write_text(path.read_text() + f"\n{line}\n")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    status, said = linted(tmp_path)
    assert status == 1
    assert [contract["name"] for contract in contracts if f"{contract['name']} BROKEN" not in said] == []
