"""CAS id: a content-addressed, memoised key of a piece of work; with other code no old result is used again."""

from __future__ import annotations

import hashlib

import pytest

from common.outgoing import artifacts, packs
from common.rules import cas
from common.shards import deploy_pack
from tests.packs import outputs, ran, submitted

MADE_FROM = {
    "tenant": "748369814",
    "kind": "deploy.pack",
    "version": "1",
    "executor": "pack_backend",
    "inputs": [["a", "00", 1, False]],
}


def test_a_cas_id_is_a_whole_sha_256_and_the_same_for_the_same_work():
    assert len(bytes.fromhex(cas.cas_id(**MADE_FROM))) == 32
    assert cas.cas_id(**MADE_FROM) == cas.cas_id(**dict(reversed(MADE_FROM.items())))


@pytest.mark.parametrize("what", MADE_FROM)
def test_a_cas_id_is_another_one_when_anything_that_it_is_made_from_is(what):
    changed = MADE_FROM | {what: "other" if what != "inputs" else [["a", "01", 1, False]]}
    assert cas.cas_id(**changed) != cas.cas_id(**MADE_FROM)


def test_the_version_of_code_is_its_text():
    assert cas.version(b"a", b"bc") != cas.version(b"ab", b"c")
    assert cas.version(b"a") == cas.version(b"a")


def test_changed_code_version_means_no_false_reuse(site, sql, monkeypatch):
    first = outputs(ran(submitted("deploy.pack")))
    kept = packs.manifest_name(first[0]["cas_id"])
    again = outputs(ran(submitted("deploy.pack")))
    assert again == first  # found, and not made again
    monkeypatch.setattr(deploy_pack, "_version", lambda: hashlib.sha256(b"other code").hexdigest())
    other = outputs(ran(submitted("deploy.pack")))
    assert other[0]["cas_id"] != first[0]["cas_id"]
    assert artifacts.opened().has(kept)
    assert artifacts.opened().has(packs.manifest_name(other[0]["cas_id"]))


def test_a_result_that_is_there_is_not_written_again(site, sql, monkeypatch):
    ran(submitted("deploy.pack"))
    written = []
    real = artifacts.Folder.put
    monkeypatch.setattr(artifacts.Folder, "put", lambda self, name, *rest: written.append(name) or real(self, name, *rest))
    ran(submitted("deploy.pack"))
    assert written == []
    (site / "new.txt").write_text("new")
    ran(submitted("deploy.pack"))
    assert len(written) == 2  # the new content, and the manifest of its part
