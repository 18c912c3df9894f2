"""assets.index and assets.stage: what is indexed is what is there, and what is staged is what was indexed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from common import db, settings
from common.errors import Invalid
from common.flows import plans, work
from common.outgoing import artifacts
from common.rules.http import Request
from common.stores import indexes
from tests.packs import outputs, ran, results, submitted, taken_back


def staged(name="staged"):
    folder = Path(settings.load().hxo_artifacts_dir) / name
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def source(site):
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}


def test_an_index_has_the_digest_size_and_type_of_every_file(site, sql):
    plan = ran(submitted("assets.index", buckets={"pictures": ["*.png"], "pages": ["*.html", "*.md"]}))
    assert {(each["bucket"], each["assets_indexed"]) for each in outputs(plan)} == {("pictures", 2), ("pages", 2), ("other", 1)}
    with db.transaction("status") as tx:
        found = indexes.files(tx, plan, 0)
    style = next(each for each in found if each.path == "style.css")
    content = (site / "style.css").read_bytes()
    assert style == ("style.css", "other", hashlib.sha256(content).hexdigest(), len(content), "text/css")
    assert len(found) == 5


def test_an_index_by_size_is_of_the_same_files(site, sql):
    by_type, by_size = (results(ran(submitted("assets.index", partitioner=each)))[0] for each in ("by_asset_bucket", "by_filesize"))
    assert by_type.document == by_size.document
    assert sql("select count(*), count(distinct (path, digest)) from tidemark.indexed_files") == [[10, 5]]


def test_only_the_newest_indexes_of_a_name_are_kept(site, sql):
    for _ in range(indexes.KEPT + 2):
        ran(submitted("assets.index"))
    assert sql("select count(distinct plan), count(*) from tidemark.indexed_files") == [[indexes.KEPT, 5 * indexes.KEPT]]
    assert sql("select count(*) from tidemark.stage_results") == [[indexes.KEPT]]


def test_files_are_staged_as_they_are_and_a_second_time_nothing_is_written(site, sql, monkeypatch):
    said = outputs(ran(submitted("assets.stage")))
    assert staged() == source(site)
    written = []
    monkeypatch.setattr(artifacts.Folder, "put", lambda _, name, *__: written.append(name))
    assert outputs(ran(submitted("assets.stage"))) == said
    assert written == []


def test_an_index_made_by_the_stage_before_is_what_is_staged(site, sql):
    stages = [
        {"id": "index", "kind": "assets.index", "config": {"directory": "img", "name": "pictures"}},
        {"id": "stage", "kind": "assets.stage", "dependencies": ["index"], "config": {"index": "pictures", "to": "cdn"}},
    ]
    answer = plans.submit(Request("POST", "/"), {"name": "assets", "stages": stages})[1]
    assert answer["total_shards"] is None
    ran(answer["plan_id"])
    assert set(staged("cdn")) == {"logo.png", "same.png"}


def test_a_file_that_changed_since_it_was_indexed_is_not_staged(site, sql):
    ran(submitted("assets.index", name="all"))
    (site / "style.css").write_text("changed")
    submitted("assets.stage", index="all", partitioner="by_asset_bucket")
    work.work()
    (message,) = sql("select message from tidemark.shard_failures")[0]
    assert "style.css has changed since it was indexed" in message


def test_an_index_that_there_is_not_fails_the_stage_and_says_so(site, sql):
    plan = submitted("assets.stage", index="nowhere")
    work.work()
    assert "no index of the name nowhere" in sql("select message from tidemark.shard_failures")[0][0]
    assert sql(f"select status from tidemark.plans where id = '{plan}'") == [["failed"]]


@pytest.mark.parametrize("to", ["..", "/etc", "a/../../b", "https://example.com/x"])
def test_a_place_outside_of_the_artifact_store_is_refused(to, site):
    with pytest.raises(Invalid) as refused:
        submitted("assets.stage", to=to)
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == ["/stages/0/config/to"]


def test_taking_it_back_removes_what_was_added_and_puts_back_what_was_replaced(site, sql):
    ran(submitted("assets.stage"))
    first = staged()
    (site / "style.css").write_text("new style")
    (site / "more.css").write_text("more")
    second = ran(submitted("assets.stage"))
    assert staged() == source(site) != first
    taken_back(second)
    assert staged() == first


def test_what_somebody_changed_since_is_left_alone(site, sql):
    plan = ran(submitted("assets.stage"))
    (Path(settings.load().hxo_artifacts_dir) / "staged" / "style.css").write_text("somebody else's")
    taken_back(plan)
    assert staged() == {"style.css": b"somebody else's"}


def test_who_died_after_copying_can_still_be_taken_back(site, sql, monkeypatch):
    real = artifacts.Folder.put

    def dies(self, name, *rest):
        real(self, name, *rest)
        if name == "style.css":
            raise ValueError(name)

    monkeypatch.setattr(artifacts.Folder, "put", dies)
    plan = submitted("assets.stage")
    work.work()
    monkeypatch.setattr(artifacts.Folder, "put", real)
    sql("update tidemark.shard_failures set ready_at = app_now()")
    taken_back(ran(plan))
    assert staged() == {}


@pytest.fixture
def bucket(site, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        artifacts._client.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket="cdn")
        yield client
        artifacts._client.cache_clear()


def test_a_bucket_gets_the_files_with_their_types_and_digests(bucket, site, sql):
    bucket.put_object(Bucket="cdn", Key="v1/style.css", Body=b"somebody's")
    plan = ran(submitted("assets.stage", to="s3://cdn/v1"))
    head = bucket.head_object(Bucket="cdn", Key="v1/style.css")
    assert head["ContentType"] == "text/css"
    assert head["Metadata"]["sha256"] == hashlib.sha256((site / "style.css").read_bytes()).hexdigest()
    changed = bucket.head_object(Bucket="cdn", Key="v1/img/logo.png")["LastModified"]
    ran(submitted("assets.stage", to="s3://cdn/v1", more={"id": "again"}))
    assert bucket.head_object(Bucket="cdn", Key="v1/img/logo.png")["LastModified"] == changed
    sql("delete from tidemark.plans where name = 'assets.stage' and id <> '" + plan + "'")
    taken_back(plan)
    kept = bucket.list_objects_v2(Bucket="cdn")["Contents"]
    assert [each["Key"] for each in kept] == ["v1/style.css"]
    assert bucket.get_object(Bucket="cdn", Key="v1/style.css")["Body"].read() == b"somebody's"
