"""Where artifacts are kept: whole or not there, and never outside."""

from __future__ import annotations

import hashlib
import io
import threading

import pytest

from common import settings
from common.errors import Conflict, Invalid
from common.outgoing import artifacts, source_tree
from tests.conftest import VARIABLES


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_an_object_is_what_its_digest_says_or_is_not_written(tmp_path):
    folder = artifacts.Folder(tmp_path)
    folder.put("a/b", io.BytesIO(b"x"), digest(b"x"))
    assert (folder.get("a/b"), folder.digest("a/b"), folder.has("a/b")) == (b"x", digest(b"x"), True)
    with pytest.raises(Conflict, match="changed while it was read"):
        folder.put("a/c", io.BytesIO(b"y"), digest(b"x"))
    assert (folder.get("a/c"), folder.digest("a/c"), folder.has("a/c")) == (None, None, False)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]  # nothing half-written is left


def test_what_is_removed_takes_its_empty_folders_along_and_nothing_else(tmp_path):
    folder = artifacts.Folder(tmp_path / "kept")
    for name in ("a/b/c", "a/d"):
        folder.put(name, io.BytesIO(b"x"), digest(b"x"))
    folder.remove(["a/b/c", "never/there"])
    assert sorted(path.name for path in (tmp_path / "kept" / "a").iterdir()) == ["d"]
    folder.remove(["a/d"])
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_no_object_is_outside(name, tmp_path):
    with pytest.raises(Invalid):
        artifacts.Folder(tmp_path / "kept").put(name, io.BytesIO(b"x"), digest(b"x"))
    assert list(tmp_path.iterdir()) == []


def test_writers_of_one_object_do_not_get_into_each_others_way(tmp_path):
    folder = artifacts.Folder(tmp_path)
    contents = [bytes([number]) * 300_000 for number in range(8)]
    writers = [threading.Thread(target=folder.put, args=("one", io.BytesIO(each), digest(each))) for each in contents]
    [writer.start() for writer in writers]
    [writer.join() for writer in writers]
    assert folder.get("one") in contents


@pytest.mark.parametrize("value", ["s3://", "s3://UPPER/x", "https://x/y", "s3://kept/a b", "gs://kept"])
def test_hxo_artifacts_dir_is_a_directory_or_a_bucket(value):
    with pytest.raises(settings.Misconfigured, match="HXO_ARTIFACTS_DIR must be"):
        settings.read(VARIABLES | {"DATABASE_URL": "postgresql://x", "HXO_ARTIFACTS_DIR": value})


def test_hxo_artifacts_dir_and_hxo_source_dir_say_where(configured, tmp_path):
    assert source_tree.root() == source_tree.PROJECT
    assert artifacts.opened()._base == source_tree.PROJECT / ".tidemark" / "artifacts"
    configured(HXO_SOURCE_DIR=str(tmp_path), HXO_ARTIFACTS_DIR="s3://kept/a/b/")
    assert source_tree.root() == tmp_path
    assert (artifacts.opened("cdn")._bucket, artifacts.opened("cdn")._prefix) == ("kept", "a/b/cdn")


def test_what_was_packed_is_no_source(configured, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "blob").write_text("x")
    (tmp_path / "page.md").write_text("x")
    configured(HXO_SOURCE_DIR=str(tmp_path), HXO_ARTIFACTS_DIR=str(tmp_path / "kept"))
    assert [file.path for file in source_tree.listed(".")] == ["page.md"]
