"""Adding a record type costs one file and one migration: a twelfth is added from a folder, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from common.stores import migrations
from tests.house.tree import ROOT

CODE = """
import sys
from pathlib import Path
from common import entities
entities.__path__.append(sys.argv[1])
from common.flows import migrate, process
from tests.make import send
migrate.run(Path(sys.argv[2]))
answer = send("unicorns", {"unicorn": {"unicorn_id": 1, "name": "Ada", "price": "9.90", "last_modified_time": "2026-06-09T09:45:44Z"}})
assert answer["queued"], answer
assert process.process().outcomes == {"applied": 1}
"""


def test_a_twelfth_record_type_is_one_file_and_one_migration(sql, tmp_path):
    twelfth = ROOT / "tests" / "house" / "twelfth"
    shutil.copytree(migrations.SQL / "migrations", tmp_path / "migrations")
    number = len(migrations.migrations()) + 1
    shutil.copy(twelfth / "unicorns.sql", tmp_path / "migrations" / f"{number:04}_unicorns.sql")
    command = [sys.executable, "-c", CODE, str(twelfth), str(tmp_path / "migrations")]
    ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sql("select source_id, name, price::text from erp.unicorns") == [["1", "Ada", "9.90"]]
