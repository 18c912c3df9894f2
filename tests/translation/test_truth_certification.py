"""Truth certification: a signed statement {plan, root, counts, votes, versions}; an altered row is named."""

from __future__ import annotations

import pytest

from common import settings
from common.flows import plan_status
from common.rules import proofs
from deploy.verify import verify_export
from tests.kinds import a_stage
from tests.truth import alter, altered, ask, document, finished


def test_an_altered_row_of_the_database_makes_verify_name_the_leaf(sql, trial):
    plan = finished(a_stage("pack", shards=200, concurrency=3))
    alter(sql, plan, 123)
    reply = ask(plan, "verify-shards")
    assert (reply.json["status"], altered(reply)) == ("altered", [("pack", 123, "leaf")])


def test_an_altered_row_is_named_by_the_export_offline_as_well(sql, trial, tmp_path):
    plan = finished(a_stage("pack", shards=200, concurrency=3))
    assert ask(plan, "certify", method="POST").status == 200
    path = tmp_path / "export.jsonl"
    path.write_text(document(plan))
    found = verify_export(path, settings.load().signing_keys)
    assert (found.is_good, found.signature, found.certificate) == (True, "good", "good")
    alter(sql, plan, 123)
    path.write_text(document(plan))
    found = verify_export(path, settings.load().signing_keys)
    assert not found.is_good
    assert [(each.stage, each.lo, each.what) for each in found.altered] == [("pack", 123, "leaf")]


def test_all_that_a_forger_can_rewrite_in_the_database_does_not_give_the_certified_root(sql, trial):
    plan = finished(a_stage(shards=3), a_stage("two", shards=3))
    certified = ask(plan, "certify", method="POST").json["certificate"]["merkle_root"]
    # Every digest, node, parity and root as if the stages had changed places: consistent, but not what was certified.
    sql("update tidemark.stages set root = (select root from tidemark.stages where no = 0)")
    sql("update tidemark.plans set root = set_bit(root, 3, 1 - get_bit(root, 3))")
    found = ask(plan, "verify-shards").json
    assert found["certified_root"] == certified != found["merkle_root"]
    assert plan_status.status(plan)["truth_certified"] is False


def test_fault_9_certification_asks_its_verifiers_and_refuses(sql, trial):
    """The origin's said "certified" without asking anybody."""
    plan = finished()
    alter(sql, plan, 3)
    assert ask(plan, "certify", method="POST").status == 409
    assert sql("select count(*) from tidemark.votes where vote = 'no'") == [[1]]
    assert sql("select count(*) from tidemark.certificates") == [[0]]


@pytest.mark.parametrize("key", ["leaf_hash", "path", "stage_root", "plan_path", "root_hash"])
def test_fault_9_a_proof_is_computed_and_not_only_looked_at_for_its_keys(key, sql, trial):
    """The origin's checked that the keys were there."""
    plan = finished()
    proof = ask(plan, "merkle-tree", shard=7).json
    root = proof["root_hash"]
    other = ask(plan, "merkle-tree", shard=8).json
    assert proofs.is_proven(proof, root)
    changed = proof | {key: "00" * 32 if isinstance(proof[key], str) else other[key] if key == "path" else []}
    assert not proofs.is_proven(changed, root)
