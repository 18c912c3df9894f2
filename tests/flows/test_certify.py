"""Certification: votes, what they come to, and the signed statement; and what is true of it afterwards."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from common import db, settings
from common.errors import Invalid
from common.flows import plan_status
from common.flows import votes as verifiers
from common.rules import capability, quorum
from common.stores import certificates, votes
from tests.functions.test_auth import made
from tests.kinds import a_stage, submit
from tests.truth import alter, altered, ask, finished

pytestmark = pytest.mark.usefixtures("trial")


def certify(plan):
    return ask(plan, "certify", method="POST")


def topics(sql, plan):
    return [
        row[0]
        for row in sql(
            "select topic from tidemark.notices where correlation_id = :plan and source = 'truth' order by seq", plan=plan
        )
    ]


def cast_all(subject, deadline, **said):
    with db.transaction("worker") as tx:
        for verifier in sorted(quorum.VERIFIERS):
            votes.cast(tx, subject, verifier, said.get(verifier, "yes"), "because", {}, deadline)


def in_five_minutes():
    with db.transaction("worker") as tx:
        return certificates.now(tx) + timedelta(minutes=5)


def test_a_plan_that_succeeded_is_certified_by_a_signed_statement_of_what_came_of_it(sql, turn_clock, configured):
    configured(RELEASE="1.2.3")
    plan = finished(a_stage("a", shards=20, fail={"3": 1}), a_stage("b", shards=4), turn_clock=turn_clock, turns=3)
    assert plan_status.status(plan)["truth_certified"] is False
    reply = certify(plan)
    assert (reply.status, reply.json["certified"]) == (200, True)
    certificate = reply.json["certificate"]
    statement, said = certificate["statement"], certificate["statement"]["predicate"]
    root = sql("select encode(root, 'hex') from tidemark.plans")[0][0]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": f"plan/{plan}", "digest": {"sha3_256": root}}]
    assert said["counts"] == {"total": 24, "done": 24, "failed": 0, "healed": 1, "quarantined": 0}
    assert {vote["verifier"]: vote["vote"] for vote in said["consensus"]["votes"]} == dict.fromkeys(quorum.VERIFIERS, "yes")
    assert (said["hash"], said["release"], said["issued_by"]) == ("sha3_256", "1.2.3", "admiral")
    assert said["schema_version"] == sql("select max(version) from tds_schema_versions")[0][0]
    assert said["key_id"] == certificate["key_id"] == settings.load().signing_keys[0][0]
    assert capability.is_attested(statement, certificate["signature"], "certificate", settings.load().signing_keys)
    assert plan_status.status(plan)["truth_certified"] is True
    assert plan_status.report(plan)["certificate"]["certificate_id"] == certificate["certificate_id"]
    assert topics(sql, plan) == ["hxo.aggregate.certify", "hxo.aggregate.finalized"]


def test_certifying_again_gives_the_same_certificate_and_tells_nobody_twice(sql):
    plan = finished()
    assert certify(plan).json == certify(plan).json
    assert topics(sql, plan) == ["hxo.aggregate.certify", "hxo.aggregate.finalized"]
    assert sql("select count(*) from tidemark.votes") == [[5]]


def test_two_who_certify_at_once_get_one_certificate(sql):
    plan = finished()
    together, replies = threading.Barrier(2), []

    def work():
        together.wait(10)
        replies.append(certify(plan))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [reply.status for reply in replies] == [200, 200]
    assert len({reply.json["certificate"]["certificate_id"] for reply in replies}) == 1
    assert sql("select count(*) from tidemark.certificates") == [[1]]
    assert sql("select count(*) from tidemark.votes") == [[5]]


def test_only_an_owner_certifies_and_a_viewer_may_read_it(sql):
    plan, viewer = finished(), made("viewer")[0]
    assert ask(plan, "certify", method="POST", token=viewer).status == 403
    for what in ("certify", "verify-shards", "merkle-tree", "export"):
        assert ask(plan, what, token=viewer).status == 200


def test_a_plan_that_runs_failed_or_was_stopped_is_not_certified(sql):
    running = submit(a_stage(shards=3))
    assert certify(running).status == 409
    failed = finished(a_stage(shards=3, refuse=[1]))
    assert certify(failed).status == 409
    assert sql("select count(*) from tidemark.votes") == [[0]]


def test_an_altered_row_is_refused_for_good_with_its_name_an_alert_and_a_notice(sql):
    plan = finished(a_stage(shards=40))
    alter(sql, plan, 17)
    reply = certify(plan)
    assert (reply.status, reply.json["outcome"]) == (409, "rejected")
    assert "shard 17 of stage one" in reply.json["detail"]
    assert "final" in reply.json["detail"]
    assert plan_status.status(plan)["truth_certified"] is False
    assert sql("select alert_type from tds_alerts where not resolved") == [["certification.failure"]]
    assert topics(sql, plan) == ["hxo.alert", "hxo.aggregate.failed"]
    alter(sql, plan, 17)  # put back: Truth has spoken all the same
    assert altered(ask(plan, "verify-shards")) == []
    assert certify(plan).status == 409


def test_what_autonomy_does_not_like_may_be_certified_once_it_is_better(sql, turn_clock):
    plan = finished()
    sql("update tidemark.plans set retries = retry_budget + 1")
    reply = certify(plan)
    assert (reply.status, reply.json["outcome"]) == (409, "rejected")
    assert "budget says no" in reply.json["detail"]
    assert sql("select alert_type from tds_alerts where not resolved") == [["consensus.failure"]]
    shown = ask(plan, "certify").json
    assert (shown["certified"], shown["outcome"], shown["certificate"]) == (False, "rejected", None)
    sql("update tidemark.plans set retries = 0")
    assert certify(plan).status == 200
    assert ask(plan, "certify").json["certified"] is True


def test_with_consensus_simple_truth_alone_decides(sql, configured):
    configured(HXO_CONSENSUS_MODE="SIMPLE")
    plan = finished()
    sql("update tidemark.plans set retries = retry_budget + 1")
    certificate = certify(plan).json["certificate"]
    said = certificate["statement"]["predicate"]["consensus"]
    assert (said["mode"], sorted(vote["verifier"] for vote in said["votes"])) == ("SIMPLE", ["proof", "schema"])


@pytest.mark.parametrize(
    ("verifier", "change"),
    [
        ("schema", "delete from tds_schema_versions where version = (select max(version) from tds_schema_versions)"),
        ("schema", "update tidemark.stages set kind = 'unheard.of'"),
        ("proof", "update tidemark.stages set root = null"),
        ("proof", "update tidemark.leaves set digests = set_bit(digests, 3, 1 - get_bit(digests, 3))"),
        ("health", "delete from tds_schema_versions where version = (select max(version) from tds_schema_versions)"),
        ("parity", "update tidemark.stages set released = released + 1"),
        ("budget", "update tidemark.plans set deadline_at = finished_at - interval '1 second'"),
        ("budget", "update tidemark.plans set retries = retry_budget + 1"),
    ],
)
def test_each_verifier_looks_for_itself_and_sees_what_is_wrong(verifier, change, sql):
    plan = finished()
    assert verifiers.VERIFIERS[verifier](plan, 1e12).vote == "yes"
    sql(change)
    assert verifiers.VERIFIERS[verifier](plan, 1e12).vote == "no"


def test_a_verifier_that_has_no_time_left_abstains_and_nothing_is_certified(sql):
    plan = finished()
    assert verifiers.VERIFIERS["proof"](plan, 0.0).vote == "abstain"
    real = verifiers.VERIFIERS["proof"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(verifiers.VERIFIERS, "proof", lambda plan, _: real(plan, 0.0))
        reply = certify(plan)
    assert (reply.status, "proof abstains" in reply.json["detail"]) == (409, True)
    assert certify(plan).status == 200  # to abstain is not for good


def test_after_a_retry_the_former_certificate_does_not_count_any_more(sql, turn_clock):
    plan = finished(a_stage(shards=6))
    certify(plan)
    sql("update tidemark.plans set finished_at = finished_at + interval '1 second'")
    assert plan_status.status(plan)["truth_certified"] is False
    shown = ask(plan, "certify").json
    assert (shown["certified"], shown["certificate"]["certified"]) == (False, False)
    assert certify(plan).json["certified"] is True
    sql("update tidemark.plans set root = null")
    assert plan_status.status(plan)["truth_certified"] is False


def test_a_certificate_that_somebody_wrote_or_changed_in_the_database_does_not_count(sql):
    plan = finished()
    certify(plan)
    sql("update tidemark.certificates set statement = replace(statement, '\"failed\":0', '\"failed\":1')")
    assert plan_status.status(plan)["truth_certified"] is False
    sql("update tidemark.certificates set statement = 'no JSON'")
    assert plan_status.status(plan)["truth_certified"] is False


def test_a_certificate_counts_while_its_key_is_being_rotated_out_and_no_longer(sql, configured):
    plan = finished()
    configured(SEED_SECRET="first-" * 8)
    certify(plan)
    configured(SEED_SECRET="second-" * 8, SEED_SECRET_PREVIOUS="first-" * 8)
    assert plan_status.status(plan)["truth_certified"] is True
    configured(SEED_SECRET_PREVIOUS="")
    assert plan_status.status(plan)["truth_certified"] is False


def test_without_a_seed_secret_the_keys_are_of_the_secret_key_and_its_predecessor(configured):
    configured(SECRET_KEY="now-" * 8, SECRET_KEY_PREVIOUS="before-" * 8)
    assert settings.load().signing_keys == (settings.signing_key("now-" * 8), settings.signing_key("before-" * 8))
    configured(SEED_SECRET="seed-" * 8)
    assert settings.load().signing_keys == (settings.signing_key("seed-" * 8),)
    assert "seed-" not in str(settings.load().signing_keys)


# Votes in the database -----------------------------------------------------------------------------------------------


def test_a_vote_is_kept_with_its_reason_and_evidence_and_signed(sql):
    deadline = in_five_minutes()
    with db.transaction("worker") as tx:
        assert votes.cast(tx, "deploy:1", "health", "no", "it is ill", {"status": 500}, deadline)
        [found] = votes.cast_of(tx, "deploy:1")
        assert votes.cast_of(tx, "deploy:2") == []
    assert (found.verifier, found.vote, found.reason, found.told()["evidence"]) == ("health", "no", "it is ill", {"status": 500})
    assert found.is_signed


def test_an_unknown_voter_and_what_is_no_vote_are_refused(sql):
    deadline = in_five_minutes()
    with db.transaction("worker") as tx:
        for verifier, vote in (("stranger", "yes"), ("health", "maybe"), ("health", "")):
            with pytest.raises(Invalid):
                votes.cast(tx, "deploy:1", verifier, vote, "", {}, deadline)


def test_a_vote_after_the_deadline_is_not_taken(sql, turn_clock):
    deadline = in_five_minutes()
    turn_clock(timedelta(minutes=5))
    with db.transaction("worker") as tx:
        assert not votes.cast(tx, "deploy:1", "health", "yes", "", {}, deadline)
    assert sql("select count(*) from tidemark.votes") == [[0]]


def test_double_votes_by_two_connections_count_once(sql):
    deadline, together, taken = in_five_minutes(), threading.Barrier(2), []

    def work(vote):
        with db.transaction("worker") as tx:
            together.wait(10)
            taken.append((vote, votes.cast(tx, "deploy:1", "health", vote, "", {}, deadline)))

    threads = [threading.Thread(target=work, args=(vote,)) for vote in ("yes", "no")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [first] = [vote for vote, is_taken in taken if is_taken]
    assert sql("select vote from tidemark.votes") == [[first]]


def test_a_vote_that_was_changed_or_written_in_the_database_is_left_out(sql):
    cast_all("deploy:1", in_five_minutes(), proof="no")
    sql("update tidemark.votes set vote = 'yes' where verifier = 'proof'")
    with db.transaction("worker") as tx:
        found = votes.cast_of(tx, "deploy:1")
    assert {vote.verifier for vote in found} == quorum.VERIFIERS - {"proof"}
    policy = verifiers.policy(in_five_minutes())
    assert quorum.decided(found, policy, found[0].cast_at).state == "open"


def test_votes_and_certificates_cannot_be_changed_by_any_role_of_ours(sql):
    roles = ("worker", "status", "operator", "ingest")
    for table in ("votes", "certificates"):
        for verb in ("update", "delete", "truncate"):
            may = [sql(f"select has_table_privilege('tidemark_{role}', 'tidemark.{table}', '{verb}')")[0][0] for role in roles]
            assert may == [False] * 4
