"""Merkle aggregation: an RFC 6962 tree in shard order, domains apart, no last leaf twice, failures are leaves too."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from common.flows import plan_status, work
from common.rules import merkle
from tests.kinds import a_stage, submit
from tests.truth import ask, finished

SHA3 = merkle.hasher("sha3_256")
INDEPENDENT = Path(__file__).with_name("independent.py")


def test_the_result_is_the_same_in_any_order_of_completion(sql, trial):
    roots = set()
    for seed in range(6):
        chance = random.Random(seed)
        plan = submit(a_stage(shards=37, concurrency=chance.randint(1, 9)))
        sql("update tidemark.lanes set ready_at = app_now() - make_interval(secs => random() * 100)")
        while plan_status.status(plan)["status"] == "running":
            work.work(beside=chance.randint(0, 3))
        roots.add(plan_status.status(plan)["stages"][0]["merkle_root"])
    assert len(roots) == 1


def test_fault_8_the_leaves_0_1_2_and_0_1_2_2_do_not_give_the_same_root():
    leaves = [merkle.leaf(SHA3, b"%d" % number) for number in (0, 1, 2)]
    assert merkle.root(SHA3, leaves) != merkle.root(SHA3, [*leaves, leaves[2]])


def test_fault_8_a_leaf_is_never_a_node():
    left, right = merkle.leaf(SHA3, b"l"), merkle.leaf(SHA3, b"r")
    assert merkle.leaf(SHA3, left + right) != merkle.root(SHA3, [left, right])


def test_fault_8_digests_have_256_bits(sql, trial):
    finished()
    assert sql("select octet_length(digests) / (hi - lo) from tidemark.leaves limit 1") == [[32]]


def test_failed_shards_are_leaves_too(sql, trial):
    plan = finished(a_stage(shards=9, refuse=[4]))
    found = ask(plan, "merkle-tree", stage="one", level=0).json
    assert len(found["nodes"]) == 9
    assert found["nodes"][4]["hash"] == merkle.leaf(SHA3, b"failed 4 invalid-value").hex()


def test_a_proof_is_checked_offline_by_a_separate_script(sql, trial, tmp_path):
    plan = finished(a_stage("a", shards=21, concurrency=3), a_stage("b", shards=2))
    proof = ask(plan, "merkle-tree", stage="a", shard=13).json
    root = plan_status.status(plan)["merkle_root"]
    path = tmp_path / "proof.json"

    def checked(given: dict[str, object], wanted: str) -> int:
        path.write_text(json.dumps(given))
        return subprocess.run([sys.executable, "-I", INDEPENDENT, path, wanted], cwd=tmp_path, check=False).returncode

    assert checked(proof, root) == 0
    assert checked(proof, "00" * 32) == 1
    assert checked(proof | {"leaf_hash": "00" * 32}, root) == 1
    assert "common" not in INDEPENDENT.read_text()
