"""The tree of results, looked at again: its nodes, the proofs of it, what verification names, and exports."""

from __future__ import annotations

import base64
import json
import time

import pytest

from common import settings
from common.flows import seal, verify, work
from common.rules import merkle, proofs
from deploy.verify import verify_export
from tests.kinds import a_stage, submit
from tests.truth import LATER, alter, altered, ask, document, finished

SHA3 = merkle.hasher("sha3_256")


def of_trial(*numbers):
    return [merkle.leaf(SHA3, b"trial %d" % number) for number in numbers]


# Nodes ---------------------------------------------------------------------------------------------------------------


def test_every_node_of_every_level_is_that_of_the_tree_over_the_leaves(sql, trial):
    plan = finished(a_stage(shards=45, concurrency=3))
    levels = proofs.levels(SHA3, of_trial(*range(45)))
    for level, expected in enumerate(levels):
        for begin in (0, 2, len(expected) - 1):
            reply = ask(plan, "merkle-tree", stage="one", level=level, limit=5, **{"from": begin})
            shown = [(each["index"], each["hash"]) for each in reply.json["nodes"]]
            assert shown == [(number, node.hex()) for number, node in enumerate(expected)][begin : begin + 5]
            assert reply.json["count"] == len(expected)
            assert reply.json["next"] == (begin + 5 if begin + 5 < len(expected) else None)
    assert levels[-1][0].hex() == ask(plan, "merkle-tree").json["stages"][0]["merkle_root"]


def test_the_whole_shows_its_stages_and_what_the_plans_root_is_over(sql, trial):
    plan = finished(a_stage("a", shards=3), a_stage("b", shards=5))
    found = ask(plan, "merkle-tree").json
    assert [(each["id"], each["leaves"], each["height"]) for each in found["stages"]] == [("a", 3, 2), ("b", 5, 3)]
    over = [bytes.fromhex(each) for each in (found["seed_leaf"], *(stage["leaf"] for stage in found["stages"]))]
    assert merkle.root(SHA3, over).hex() == found["merkle_root"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"stage": "nowhere"}, 422),
        ({"stage": "one", "level": "7"}, 422),
        ({"stage": "one", "level": "-1"}, 422),
        ({"stage": "one", "level": "٣"}, 422),
        ({"stage": "one", "limit": "257"}, 422),
        ({"stage": "one", "limit": "1e3"}, 422),
        ({"stage": "one", "shard": "45"}, 404),
        ({"stage": "one", "shard": "x"}, 422),
        ({"stage": "one", "level": "0", "from": "99999999999999"}, 422),
        ({"stage": "one", "level": "0", "from": "99999999"}, 200),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_with_the_reason(arguments, status, sql, trial):
    plan = finished(a_stage(shards=45))
    assert ask(plan, "merkle-tree", **arguments).status == status


@pytest.mark.parametrize("what", ["merkle-tree", "verify-shards", "export", "certify"])
def test_of_a_plan_that_there_is_not_nothing_is_shown(what, database_url):
    assert ask("0" * 32, what).status == 404
    assert ask("nonsense", what).status == 422


# Proofs --------------------------------------------------------------------------------------------------------------


def test_every_shard_of_every_stage_is_proven_up_to_the_plans_root(sql, trial):
    plan = finished(a_stage("a", shards=21, concurrency=3), a_stage("b", shards=1))
    root = ask(plan, "merkle-tree").json["merkle_root"]
    for stage, shard in [("a", number) for number in range(21)] + [("b", 0)]:
        proof = ask(plan, "merkle-tree", stage=stage, shard=shard).json
        assert proof["leaf_hash"] == of_trial(shard)[0].hex()
        assert proofs.is_proven(proof, root)


def test_a_failed_shard_is_a_leaf_with_a_proof_of_its_own(sql, trial):
    plan = finished(a_stage(shards=8, refuse=[5]))
    proof = ask(plan, "merkle-tree", shard=5).json
    assert proof["leaf_hash"] == merkle.leaf(SHA3, b"failed 5 invalid-value").hex()
    assert proofs.is_proven(proof, ask(plan, "merkle-tree").json["merkle_root"])


def test_a_healed_shard_is_proven_by_what_it_came_to(sql, trial, turn_clock):
    plan = finished(a_stage(shards=8, fail={"5": 1}), turn_clock=turn_clock, turns=3)
    proof = ask(plan, "merkle-tree", shard=5).json
    assert proof["leaf_hash"] == of_trial(5)[0].hex()
    assert proofs.is_proven(proof, ask(plan, "merkle-tree").json["merkle_root"])


def test_before_the_tree_is_closed_nothing_is_proven_or_exported(sql, trial):
    plan = submit(a_stage(shards=8))
    assert ask(plan, "merkle-tree", shard=1).status == 409
    assert ask(plan, "export").status == 409
    assert ask(plan, "verify-shards").json["status"] == "unsealed"


# Verification --------------------------------------------------------------------------------------------------------


def test_what_nobody_touched_is_clean_whatever_became_of_its_shards(sql, trial, turn_clock):
    plan = finished(
        a_stage("a", shards=50, fail={"7": 1, "20": 2}), a_stage("b", shards=9, refuse=[2]), turn_clock=turn_clock, turns=5
    )
    found = ask(plan, "verify-shards").json
    assert (found["status"], found["is_complete"], found["checked_shards"], found["altered"]) == ("clean", True, 59, [])
    assert found["merkle_root"] == found["computed_root"]


@pytest.mark.parametrize("shard", [0, 1, 23, 39])
def test_an_altered_row_in_the_database_is_named_by_its_stage_and_shard(shard, sql, trial):
    plan = finished(a_stage("first", shards=3), a_stage("second", shards=40))
    alter(sql, plan, shard, stage=1)
    reply = ask(plan, "verify-shards")
    assert (reply.json["status"], altered(reply)) == ("altered", [("second", shard, "leaf")])


def test_leaves_of_several_chunks_are_named_each(sql, trial):
    plan = finished(a_stage(shards=40, concurrency=4))
    assert sql("select count(*) from tidemark.leaves")[0][0] >= 4
    for shard in (3, 15, 38):
        alter(sql, plan, shard)
    assert altered(ask(plan, "verify-shards")) == [("one", 3, "leaf"), ("one", 15, "leaf"), ("one", 38, "leaf")]


def test_the_altered_digest_of_a_healed_shard_is_named(sql, trial, turn_clock):
    plan = finished(a_stage(shards=20, fail={"11": 1}), turn_clock=turn_clock, turns=3)
    assert ask(plan, "verify-shards").json["status"] == "clean"
    sql("update tidemark.shard_failures set digest = set_bit(digest, 3, 1 - get_bit(digest, 3)) where shard = 11")
    assert altered(ask(plan, "verify-shards")) == [("one", 11, "leaf")]


def test_altered_nodes_roots_and_rows_that_are_gone_are_told_apart(sql, trial):
    plan = finished(a_stage(shards=40, concurrency=4))
    sql("create table kept as select * from tidemark.leaves")
    stage_root = sql("select root from tidemark.stages")[0][0]

    def restored():
        sql("delete from tidemark.leaves; insert into tidemark.leaves select * from kept")
        sql("update tidemark.stages set root = :root", root=stage_root)

    sql("update tidemark.leaves set peaks = set_bit(peaks, 3, 1 - get_bit(peaks, 3)) where lo = 0")
    assert {what for _, _, what in altered(ask(plan, "verify-shards"))} == {"node"}
    restored()
    sql("update tidemark.leaves set parity = set_bit(parity, 3, 1 - get_bit(parity, 3)) where lo = 0")
    assert {what for _, _, what in altered(ask(plan, "verify-shards"))} == {"parity"}
    restored()
    sql("delete from tidemark.leaves where lo = (select max(lo) from tidemark.leaves)")
    assert {what for _, _, what in altered(ask(plan, "verify-shards"))} == {"missing"}
    restored()
    sql("delete from tidemark.leaves where lo = (select min(lo) from tidemark.leaves where lo > 0)")
    assert {what for _, _, what in altered(ask(plan, "verify-shards"))} == {"missing"}
    restored()
    sql("update tidemark.stages set root = set_bit(root, 3, 1 - get_bit(root, 3))")
    assert altered(ask(plan, "verify-shards")) == [("one", None, "root")]
    restored()
    sql("update tidemark.plans set root = set_bit(root, 3, 1 - get_bit(root, 3))")
    found = ask(plan, "verify-shards").json
    assert (found["status"], found["altered"]) == ("altered", [])
    assert found["computed_root"] != found["merkle_root"]


@pytest.mark.parametrize("column", ["digests", "peaks", "digests = '', peaks"])
def test_rows_that_are_not_whole_are_named_and_break_no_question(column, sql, trial, turn_clock):
    plan = finished(a_stage(shards=40, fail={"1": 1}), turn_clock=turn_clock, turns=3)
    sql(f"update tidemark.leaves set {column} = '\\x00'")
    sql("update tidemark.healed_chunks set peaks = '\\x00'")
    reply = ask(plan, "verify-shards")
    assert (reply.status, reply.json["status"]) == (200, "altered")
    assert {what for _, _, what in altered(reply)} <= {"leaves", "node"}
    assert ask(plan, "certify", method="POST").status == 409
    assert ask(plan, "export").status == 200
    assert ask(plan, "merkle-tree", level=0).status in {200, 409}
    assert ask(plan, "merkle-tree", shard=3).status in {200, 409}
    assert ask(plan, "verify-shards", after=f"0:{reply.json['checked_shards']}").status == 200


def test_the_digest_of_a_healed_shard_that_is_not_whole_is_named(sql, trial, turn_clock):
    plan = finished(a_stage(shards=20, fail={"11": 1}), turn_clock=turn_clock, turns=3)
    sql("update tidemark.shard_failures set digest = '\\x00' where shard = 11")
    for _ in range(2):
        assert ask(plan, "verify-shards").json["status"] == "altered"
        assert ask(plan, "export").status == 200
        sql("delete from tidemark.healed_chunks")


def test_a_chunk_from_before_there_were_parities_is_verified_as_well(sql, trial):
    plan = finished(a_stage(shards=40))
    sql("update tidemark.leaves set parity = null")
    assert ask(plan, "verify-shards").json["status"] == "clean"
    alter(sql, plan, 20)
    [found] = ask(plan, "verify-shards").json["altered"]
    assert found["from"] <= 20 < found["to"]


def test_a_plan_that_was_stopped_in_the_middle_is_clean_up_to_its_first_gap(sql, trial):
    from common.flows import plan_verbs

    plan = submit(a_stage(shards=30, concurrency=3, slow=0))
    taken = sql("select count(*) from tidemark.lanes")
    assert taken == [[3]]
    sql("update tidemark.lanes set ready_at = app_now() + interval '5 minutes' where no = 1")
    work.work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.log.field", lambda _: "test")
        plan_verbs.act("abort", plan)
    found = ask(plan, "verify-shards").json
    assert (found["status"], found["altered"]) == ("clean", [])


def test_verification_that_runs_out_of_time_says_where_to_go_on_and_ends_there(sql, trial, monkeypatch):
    plan = finished(a_stage("a", shards=12, concurrency=4), a_stage("b", shards=12, concurrency=4))
    alter(sql, plan, 7)
    monkeypatch.setattr(verify, "SHARDS", 1)
    now = [0.0]

    def clock():
        now[0] += 6.0  # so that 48 s are over after a few pages
        return now[0]

    monkeypatch.setattr(verify.time, "monotonic", clock)
    seen, after, answers = [], None, 0
    while answers == 0 or after is not None:
        reply = ask(plan, "verify-shards", **({"after": after} if after else {}))
        seen += altered(reply)
        after = reply.json["after"]
        assert reply.json["is_complete"] is (after is None)
        answers += 1
        assert answers < 30
    assert answers > 2
    assert seen == [("a", 7, "leaf")]


@pytest.mark.parametrize("after", ["x", "0", "0:", ":0", "0:-1", "0:3", "0:99999", "1:5:7", "9" * 40 + ":0"])
def test_a_place_that_no_answer_gave_is_refused(after, sql, trial):
    plan = finished(a_stage(shards=2000, concurrency=1))
    assert ask(plan, "verify-shards", after=after).status == 422


def test_every_chunk_is_written_with_its_parity_in_one_statement(sql, trial):
    finished(a_stage(shards=40))
    rows = sql("select digests, parity from tidemark.leaves")
    assert rows
    assert all(merkle.parity(digests) == parity for digests, parity in rows)


# Exports -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "export.jsonl"
        path.write_text(text)
        return path

    return write


def keys():
    return settings.load().signing_keys


def test_an_export_is_verified_without_us(sql, trial, turn_clock, file):
    plan = finished(a_stage("a", shards=50, fail={"7": 1}), a_stage("b", shards=9), turn_clock=turn_clock, turns=3)
    path = file(document(plan))
    root = ask(plan, "merkle-tree").json["merkle_root"]
    found = verify_export(path, keys())
    assert (found.is_good, found.plan_id, found.checked_shards, found.computed_root) == (True, plan, 59, root)
    assert (found.signature, found.certificate, found.altered, found.problems) == ("good", "none", [], [])
    unchecked = verify_export(path)
    assert (unchecked.is_good, unchecked.signature) == (True, "unchecked")
    strange = verify_export(path, [settings.signing_key("another")])
    assert (strange.is_good, strange.signature) == (False, "unknown key")


def test_a_leaf_that_is_altered_in_an_export_is_named(sql, trial, file):
    plan = finished(a_stage("a", shards=50), a_stage("b", shards=9))
    lines = [json.loads(line) for line in document(plan).splitlines()]
    chunk = next(line for line in lines if line["type"] == "chunk" and line["stage"] == 0 and line["hi"] > 33)
    digests = bytearray(base64.b64decode(chunk["digests"]))
    digests[32 * (33 - chunk["lo"])] ^= 1
    chunk["digests"] = base64.b64encode(digests).decode()
    found = verify_export(file("\n".join(map(json.dumps, lines))), keys())
    assert not found.is_good
    assert [(each.stage, each.lo, each.hi, each.what) for each in found.altered] == [("a", 33, 34, "leaf")]


def test_a_leaf_that_was_altered_in_the_database_shows_in_the_export(sql, trial, file):
    plan = finished(a_stage(shards=50))
    alter(sql, plan, 17)
    found = verify_export(file(document(plan)), keys())
    assert [(each.lo, each.what) for each in found.altered] == [(17, "leaf")]


def test_an_export_whose_head_was_changed_is_not_good(sql, trial, file):
    lines = document(finished(a_stage(shards=5))).splitlines()
    head = json.loads(lines[0])
    for change in (
        {"status": "failed"},
        {"merkle_root": "00" * 32},
        {"seed": "00" * 32},
        {"signature": "x"},
        {"plan_name": "other"},
    ):
        found = verify_export(file("\n".join([json.dumps(head | change), *lines[1:]])), keys())
        assert not found.is_good


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:1] + lines[2:],
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], "{nope", *lines[2:]],
        lambda lines: [*lines[:2], '{"type": "chunk"}', *lines[2:]],
        lambda lines: [*lines[:2], '{"type": "cat"}', *lines[2:]],
        lambda lines: [*lines[:2], "[]", *lines[2:]],
        lambda lines: [*lines[:2], "null", *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda _: [],
        lambda _: ["\x00\xff"],
    ],
)  # fmt: skip
def test_an_export_that_is_not_whole_or_no_export_at_all_is_not_good_and_breaks_nothing(spoil, sql, trial, file):
    lines = document(finished(a_stage(shards=50, concurrency=4))).splitlines()
    found = verify_export(file("\n".join(spoil(lines))), keys())
    assert not found.is_good
    assert found.problems or found.altered


def test_a_large_export_comes_in_pages_that_make_one_document(sql, trial, file, monkeypatch):
    plan = finished(a_stage("a", shards=50, concurrency=4), a_stage("b", shards=9, concurrency=4))
    whole = document(plan)
    monkeypatch.setattr(verify, "SHARDS", 1)
    assert document(plan) == whole
    assert ask(plan, "export").headers


def test_a_plan_of_a_hundred_thousand_leaves_is_verified_fast_and_flat(sql, trial):
    plan = finished(a_stage(kind="noop", shards=100_000, concurrency=2))
    began = time.monotonic()
    found = verify.check(plan, began + 60)
    assert (found.is_clean, found.checked) == (True, 100_000)
    assert time.monotonic() - began < 10  # of a tenth of what has to be done in that


def test_a_seal_that_comes_again_after_a_retry_leaves_all_of_it_clean(sql, trial, turn_clock):
    from common.flows import plan_verbs

    plan = finished(a_stage(shards=20, fail={"11": 3}), turn_clock=turn_clock, turns=6)
    assert ask(plan, "verify-shards").json["status"] == "clean"
    if sql("select status from tidemark.plans") == [["failed"]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("common.log.field", lambda _: "test")
            plan_verbs.act("retry", plan)
        turn_clock(LATER)
        work.work()
    seal.seal_all(time.monotonic() + 10)
    assert ask(plan, "verify-shards").json["status"] == "clean"
