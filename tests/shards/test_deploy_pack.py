"""deploy.pack: real files, each content once, the same bytes whoever packs them and however often they were interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from common import db, settings
from common.errors import Broken, Conflict, Invalid, Unavailable
from common.flows import plans, work
from common.outgoing import artifacts, packs, source_tree
from common.rules.http import Request
from tests.packs import outputs, ran, results, submitted, taken_back


def objects():
    kept = Path(settings.load().hxo_artifacts_dir)
    return sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file())


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o100)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_seeds_example_body_packs_the_source_directory(site, sql):
    given = {"name": "test_deploy", "stages": [{"id": "test", "kind": "deploy.pack", "slo_ms": 60000}]}
    answer = plans.submit(Request("POST", "/"), given)[1]
    assert (answer["status"], answer["total_shards"]) == ("submitted", 1)
    said = outputs(ran(answer["plan_id"]))
    assert (said[0]["status"], said[0]["files_processed"]) == ("packed", 5)


def test_every_content_is_kept_once_and_the_tree_comes_back_byte_for_byte(site, sql, tmp_path):
    (site / "run.sh").write_text("#!/bin/sh\n")
    (site / "run.sh").chmod(0o755)
    plan = ran(submitted("deploy.pack", more={"partitioner": "by_module"}))
    pack = results(plan)[0]
    assert (pack.document["files"], len(pack.document["parts"])) == (6, 3)
    assert len([name for name in objects() if name.startswith("blobs/")]) == 5  # two of the six are the same
    packs.unpack(pack.document["parts"], tmp_path / "out")
    assert tree(tmp_path / "out") == tree(site)


def test_the_same_tree_has_the_same_digest_and_another_one_has_not(site, sql):
    first, again = (results(ran(submitted("deploy.pack")))[0].digest for _ in range(2))
    (site / "style.css").write_text("body { color: white }\n")
    changed = results(ran(submitted("deploy.pack")))[0].digest
    assert first == again != changed


def test_what_is_hidden_or_excluded_is_not_packed(site, sql):
    (site / ".env").write_text("SECRET=1")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("x")
    (site / "__pycache__").mkdir()
    (site / "__pycache__" / "x.pyc").write_text("x")
    said = outputs(ran(submitted("deploy.pack", exclude=["img/*", "*.css"])))
    assert said[0]["files_processed"] == 2
    assert [entry.path for entry in packs.entries(said[0]["cas_id"])] == ["README.md", "guide/index.html"]


def test_a_pack_that_was_interrupted_goes_on_from_what_is_there(site, sql, monkeypatch):
    real, written = artifacts.Folder.put, []

    def dies(self, name, *rest):
        if len(written) == 2:
            raise Unavailable
        real(self, name, *rest)
        written.append(name)

    monkeypatch.setattr(artifacts.Folder, "put", dies)
    plan = submitted("deploy.pack")
    work.work()
    assert len(objects()) == 2
    written.clear()
    monkeypatch.setattr(artifacts.Folder, "put", lambda self, name, *rest: written.append(name) or real(self, name, *rest))
    sql("update tidemark.lanes set ready_at = '-infinity'")
    ran(plan)
    assert len(written) == len(objects()) - 2  # what was there before was not written again


@pytest.mark.parametrize("directory", ["..", "/etc", "guide/../..", "nowhere", "README.md", "a\x00b"])
def test_a_directory_outside_or_not_there_is_refused(directory, site):
    with pytest.raises(Invalid) as refused:
        plans.drafted(
            {"name": "x", "stages": [{"id": "a", "kind": "deploy.pack", "config": {"directory": directory}}]}, submitted_by=""
        )
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == ["/stages/0/config/directory"]


def test_a_link_that_leads_out_is_refused_and_one_inside_is_its_file(site, sql):
    (site / "link.css").symlink_to("style.css")
    assert outputs(ran(submitted("deploy.pack")))[0]["files_processed"] == 6
    (site / "out").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match="cannot be carried out") as refused:
        submitted("deploy.pack")
    assert "leads out" in refused.value.fields["errors"][0]["message"]


def test_a_file_that_became_a_link_to_the_outside_meanwhile_is_not_read(site, sql):
    plan = submitted("deploy.pack")
    (site / "style.css").unlink()
    (site / "style.css").symlink_to("/etc/passwd")
    work.work()
    assert sql("select status, code from tidemark.shard_failures") == [["dead", "invalid-value"]]
    assert outputs(plan) == []


def test_a_file_that_is_gone_by_then_fails_its_part_and_says_so(site, sql):
    submitted("deploy.pack", more={"partitioner": "by_module"})
    (site / "img" / "logo.png").unlink()
    work.work()
    (status, message), *others = sql("select status, message from tidemark.shard_failures")
    assert (status, others) == ("dead", [])
    assert "img/logo.png" in message
    assert sql("select count(*) from tidemark.parts where output is not null") == [[2]]
    assert sql("select count(*) from tidemark.stage_results") == [[0]]


def test_taking_a_pack_back_removes_what_nobody_else_needs(site, sql):
    first = ran(submitted("deploy.pack"))
    kept = objects()
    (site / "new.txt").write_text("new")
    second = ran(submitted("deploy.pack", name="second"))
    assert len(objects()) == len(kept) + 2
    with pytest.raises(Conflict):
        plans.rollback(first)  # the second of this name has succeeded since
    shutil.rmtree(site)  # what is taken back is what was packed, whatever the directory is by now
    site.mkdir()
    taken_back(second)
    assert objects() == kept
    assert [each.digest for each in results(second)] == []


def test_the_last_pack_that_is_taken_back_leaves_nothing(site, sql):
    taken_back(ran(submitted("deploy.pack")))
    assert objects() == []
    assert sql("select count(*) from tidemark.packed_objects") == [[0]]


def test_nobody_can_begin_to_need_an_object_while_it_is_removed(site, sql, database_url):
    ran(submitted("deploy.pack"))
    with db.transaction("worker") as removing:
        removing.run("packs.hold")
        submitted("deploy.pack", name="meanwhile")
        assert work.work().given_back == 1  # a lock was not given in time: it comes again


def test_an_altered_object_is_seen_when_it_is_unpacked(site, sql, tmp_path):
    pack = results(ran(submitted("deploy.pack")))[0]
    blob = next(name for name in objects() if name.startswith("blobs/"))
    (Path(settings.load().hxo_artifacts_dir) / blob).write_bytes(b"altered")
    with pytest.raises(Broken, match="not what its digest says"):
        packs.unpack(pack.document["parts"], tmp_path / "out")


@pytest.fixture
def bucket(configured, monkeypatch, site):
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        artifacts._client.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket="kept")
        configured(HXO_ARTIFACTS_DIR="s3://kept/tidemark")
        yield client
        artifacts._client.cache_clear()


def keys(client):
    return sorted(each["Key"] for each in client.list_objects_v2(Bucket="kept").get("Contents", []))


def test_a_bucket_keeps_packs_as_a_directory_does(bucket, site, sql, tmp_path):
    plan = ran(submitted("deploy.pack"))
    assert all(key.startswith("tidemark/") for key in keys(bucket))
    assert len(keys(bucket)) == 5
    packs.unpack(results(plan)[0].document["parts"], tmp_path / "out")
    assert tree(tmp_path / "out") == tree(site)
    taken_back(plan)
    assert keys(bucket) == []


def test_a_bucket_that_is_not_there_gives_the_lane_back(bucket, site, sql, configured):
    configured(HXO_ARTIFACTS_DIR="s3://nobody/x")
    submitted("deploy.pack")
    assert work.work().given_back == 1
    assert source_tree.root() == site
