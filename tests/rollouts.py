"""Newer code than the database knows: this process brings further migrations, while others, started apart, do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.flows import presence
from common.rules.migrations import Migration
from common.stores import migrations
from tests.house.tree import ROOT

WORKER = """
import json, sys, time
from common.flows import work
shards = 0
sys.stdin.readline()
until = time.monotonic() + 60
while time.monotonic() < until and not sys.stdin.closed:
    shards += work.work().shards
    import select
    if select.select([sys.stdin], [], [], 0.02)[0]:
        break
print("\\n" + json.dumps(shards), flush=True)
"""


def deploy(monkeypatch: pytest.MonkeyPatch, folder: Path, *scripts: str) -> list[str]:
    """Make this process the next release: it brings these migrations beside those that there are; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    known = migrations.migrations(migrations.SQL / "migrations")
    for migration in known:
        (folder / f"{migration.name}.sql").write_text(migration.text)
    names = [f"{len(known) + number:04}_next" for number in range(1, len(scripts) + 1)]
    for name, script in zip(names, scripts, strict=True):
        (folder / f"{name}.sql").write_text(script)
    monkeypatch.setattr(migrations, "FOLDER", folder)
    forget()
    return names


def go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process the release before that again."""
    monkeypatch.setattr(migrations, "FOLDER", migrations.SQL / "migrations")
    forget()


def forget() -> None:
    """As a process that has just started."""
    migrations.wanted_version.cache_clear()
    migrations.known_version.cache_clear()
    presence.forget()


def newest(folder: Path) -> Migration:
    """The last migration of a folder."""
    return migrations.migrations(folder)[-1]


class OldWorker:
    """A process of the release before: it works on plans from `go` until `stop`, which says how many shards it did."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=ROOT,
            env=os.environ.copy(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        """Begin."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def stop(self) -> Any:
        """End after the call that is under way."""
        said, _ = self._process.communicate("stop\n", timeout=60)
        return json.loads(said.splitlines()[-1])
