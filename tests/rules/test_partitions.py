"""Partitioners: every thing is in exactly one part, in one order, whatever the sizes are."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from common.rules import partitions
from common.rules.partitions import File, Impossible

MB = partitions.MEGABYTE
FILES = [File("a.css", 1), File("app/x.js", 3 * MB), File("app/y.js", 3 * MB), File("img/logo.png", 9 * MB), File("z.txt", 1)]


def flat(parts):
    return [path for part in paths(parts) for path in part]


def paths(parts, key="files"):
    return [[file[0] for file in part.part[key]] for part in parts]


def test_files_go_together_up_to_a_size_and_a_larger_one_alone():
    parts = partitions.by_filesize(FILES, chunk_size_mb=4)
    assert paths(parts) == [["a.css", "app/x.js"], ["app/y.js"], ["img/logo.png"], ["z.txt"]]
    assert parts[0].part | {"files": 0} == {
        "partition_id": "files-0", "file_range_start": 0, "file_range_end": 2, "chunk_size_mb": 4, "files": 0,
    }  # fmt: skip
    assert [part.weight for part in parts] == [3 * MB + 1, 3 * MB, 9 * MB, 1]


def test_every_file_is_in_one_part_of_any_sizes():
    chance = random.Random(5)
    for _ in range(200):
        files = [File(f"{number:03}", chance.randrange(3 * MB)) for number in range(chance.randrange(40))]
        parts = partitions.by_filesize(files, chunk_size_mb=chance.randrange(1, 6))
        assert flat(parts) == [file.path for file in files]
        assert all(part.weight <= part.part["chunk_size_mb"] * MB or len(part.part["files"]) == 1 for part in parts)
        assert [(part.part["file_range_start"], part.part["file_range_end"]) for part in parts[1:]] == [
            (part.part["file_range_end"], part.part["file_range_end"] + len(following.part["files"]))
            for part, following in pairwise(parts)
        ]


def test_more_files_than_were_expected_are_refused_with_a_pointer():
    assert len(partitions.by_filesize(FILES, chunk_size_mb=99, total_files=5)) == 1
    with pytest.raises(Impossible) as refused:
        partitions.by_filesize(FILES, chunk_size_mb=99, total_files=4)
    assert refused.value.pointer == "/total_files"


def test_a_module_is_the_folder_right_below():
    parts = partitions.by_module(partitions.with_modules(FILES))
    assert [part.part["module"] for part in parts] == [".", "app", "img"]
    assert paths(parts) == [["a.css", "z.txt"], ["app/x.js", "app/y.js"], ["img/logo.png"]]
    assert [part.group for part in partitions.by_module(partitions.with_modules(FILES), modules=["img", "app"])] == ["img", "app"]


def test_a_module_without_anything_is_refused_with_a_pointer():
    with pytest.raises(Impossible) as refused:
        partitions.by_module(partitions.with_modules(FILES), modules=["app", "apq"])
    assert (refused.value.pointer, "apq" in refused.value.message) == ("/modules/1", True)


TYPES = ["text/css", "text/javascript", "text/javascript", "image/png", "text/plain"]


def test_a_bucket_is_the_type_or_the_first_that_a_pattern_names():
    assert [part.part["bucket"] for part in partitions.by_asset_bucket(FILES, TYPES, chunk_size_mb=99)] == ["image", "text"]
    buckets = {"code": ["*.js", "*.css"], "app": ["app/*"], "pictures": ["image/*"]}
    parts = partitions.by_asset_bucket(FILES, TYPES, buckets=buckets, chunk_size_mb=99)
    assert dict(zip((part.group for part in parts), paths(parts), strict=True)) == {
        "code": ["a.css", "app/x.js", "app/y.js"], "pictures": ["img/logo.png"], "other": ["z.txt"],
    }  # fmt: skip


def test_a_large_bucket_is_several_parts():
    parts = partitions.by_asset_bucket(FILES, TYPES, buckets={"all": ["*"]}, chunk_size_mb=4)
    assert [part.part["partition_id"] for part in parts] == ["bucket-all-0", "bucket-all-1", "bucket-all-2", "bucket-all-3"]
    assert flat(parts) == [file.path for file in FILES]


PAGES = [File("README.md", 1), File("docs/a.md", 1), File("docs/api/b.md", 1), File("other/c.md", 1)]


def test_a_page_belongs_to_the_route_whose_folder_is_closest():
    parts = partitions.by_route_map(PAGES, routes={"/docs": "docs", "/api": "docs/api/", "/": "README.md"})
    assert dict(zip((part.part["route"] for part in parts), paths(parts), strict=True)) == {
        "/": ["README.md"], "/api": ["docs/api/b.md"], "/docs": ["docs/a.md"],
    }  # fmt: skip
    assert [part.part["route"] for part in partitions.by_route_map(PAGES)] == ["/", "/docs", "/docs/api", "/other"]
    assert sorted(flat(partitions.by_route_map(PAGES))) == [file.path for file in PAGES]


def test_a_route_that_leads_nowhere_is_refused_with_a_pointer():
    with pytest.raises(Impossible) as refused:
        partitions.by_route_map(PAGES, routes={"/docs": "docs", "/a~b": "nowhere"})
    assert refused.value.pointer == "/routes/~1a~0b"


def test_depths_put_what_is_needed_first():
    needs = {"shop": ["api", "img"], "api": ["db"], "img": [], "db": []}
    parts = partitions.by_dag_depth(needs)
    assert [(part.part["depth"], part.part["names"]) for part in parts] == [(0, ["db", "img"]), (1, ["api"]), (2, ["shop"])]
    assert len(partitions.by_dag_depth(needs, max_depth=2)) == 3


@pytest.mark.parametrize(
    ("needs", "most", "pointer", "said"),
    [
        ({"a": ["b"], "b": ["a"], "c": []}, None, "", "need each other: a, b"),
        ({"a": ["x"]}, None, "", "a needs x"),
        ({"a": ["b"], "b": ["c"], "c": []}, 1, "/max_depth", "depth of 2"),
    ],
)
def test_chains_that_cannot_be_are_refused(needs, most, pointer, said):
    with pytest.raises(Impossible) as refused:
        partitions.by_dag_depth(needs, max_depth=most)
    assert refused.value.pointer == pointer
    assert said in refused.value.message


def test_batches_cover_every_row_once():
    parts = partitions.by_sql_batch(total_rows=2_500, batch_size=1_000)
    assert [part.part for part in parts][2] == {"batch_id": 2, "offset": 2_000, "limit": 500, "lo": 2_000, "hi": 2_500}
    assert [row for part in parts for row in range(part.part["lo"], part.part["hi"])] == list(range(2_500))
    assert partitions.by_sql_batch(total_rows=0, batch_size=10) == []
