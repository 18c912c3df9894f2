"""Stage files: copy those of an index, or of a directory, to a directory or an S3 bucket, but for those that are there already.

What stood there before and is another file is kept in the artifact store until the stage is taken back.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from common import db
from common.db import Transaction
from common.errors import Conflict
from common.outgoing import artifacts, source_tree
from common.rules import blueprint, cas, partitions
from common.rules.blueprint import Schema
from common.rules.partitions import File, Impossible, Part
from common.rules.shard import Context, Ran, Stage
from common.stores import indexes, parts
from common.stores.parts import Found

KIND = "assets.stage"
IN_PARTS = True
INDEX = "assets.index"


class Input(Schema):
    """What is staged where, and how it is cut."""

    index: str | None = Field(
        default=None, min_length=1, max_length=200, description="the name of an index; absent: the directory as it is"
    )
    directory: str = Field(default=".", max_length=1000, description="below HXO_SOURCE_DIR, unless an index is named")
    to: str = Field(default="staged", min_length=1, max_length=500, description="below HXO_ARTIFACTS_DIR, or s3://bucket/prefix")
    exclude: list[str] = Field(default=[], max_length=200, description="patterns of paths and names that are left out")
    partitioner: Literal["by_asset_bucket", "by_filesize"] = "by_filesize"
    executor: Literal["index_assets"] = "index_assets"
    buckets: dict[str, list[str]] | list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="patterns by bucket, or content types such as image; absent: by type",
    )
    chunk_size_mb: int = Field(default=16, ge=1, le=1024)
    total_files: int | None = Field(default=None, ge=1, description="by_filesize: more than so many are refused")


class Output(Schema):
    """What a shard says."""

    status: Literal["staged"] = "staged"
    partition_id: str
    assets_staged: int
    bytes: int
    digest: str  # over paths and digests


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int | None:
    """How many parts there are; of an index that is known when the stage opens, since a stage before may make it.

    Raises: Invalid, when it cannot be staged.
    """
    asked = blueprint.read(Input, config, KIND)
    if asked.to.startswith("s3://") is ("://" not in asked.to):
        raise blueprint.refused(KIND, ("/to", "must be a directory's name, or s3://bucket/prefix"))
    artifacts.opened(asked.to)
    return None if asked.index else len(_parts(asked, *_listed(asked)))


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """How many there are when the stage opens."""
    asked = Input(**stage.config)

    def found() -> list[Part]:
        directory, files, digests = _indexed(tx, asked.index) if asked.index else (*_listed(asked), {})
        cut = _parts(asked, directory, files)
        for part in cut:
            part.part["digests"] = [digests.get(file[0]) for file in part.part["files"]]
        return cut

    return parts.opened(tx, stage, found)


def _listed(asked: Input) -> tuple[str, list[File]]:
    return asked.directory, source_tree.listed(asked.directory, exclude=asked.exclude)


def _indexed(tx: Transaction, name: str) -> tuple[str, list[File], dict[str, str]]:
    """Raises: Conflict, when there is no such index."""
    newest = parts.by_name(tx, INDEX, name)
    if not newest:
        message = f"There is no index of the name {name}: a stage of kind assets.index makes it."
        raise Conflict(message)
    found = indexes.files(tx, newest[0].plan, newest[0].stage)
    return (
        newest[0].document["directory"],
        [File(each.path, each.bytes) for each in found],
        {each.path: each.digest for each in found},
    )


def _parts(asked: Input, directory: str, files: list[File]) -> list[Part]:
    buckets = {name: [f"{name}/*"] for name in asked.buckets} if isinstance(asked.buckets, list) else asked.buckets
    try:
        if asked.partitioner == "by_filesize":
            found = partitions.by_filesize(files, chunk_size_mb=asked.chunk_size_mb, total_files=asked.total_files)
        else:
            types = [source_tree.content_type(file.path) for file in files]
            found = partitions.by_asset_bucket(files, types, buckets=buckets, chunk_size_mb=asked.chunk_size_mb)
    except Impossible as error:
        raise blueprint.impossible(KIND, error) from error
    for part in found:
        part.part["directory"] = directory
    return found


def run(shards: range, context: Context) -> Ran:
    """Copy the files of each part.

    Raises: Unavailable, when the place they go to is.
    """
    to = Input(**context.stage.config).to
    beat = parts.beating(context)
    return parts.worked(context, shards, lambda part: _staged(part, context.stage, to, beat))


def _staged(part: Found, stage: Stage, to: str, beat: Callable[[], None]) -> dict[str, Any]:
    """Raises: Conflict, when a file is not what the index says."""
    place, directory = artifacts.opened(to), part.part["directory"]
    expected = part.part.get("digests") or [None] * len(part.part["files"])
    files = []
    for (path, *_), digest in zip(part.part["files"], expected, strict=True):
        beat()
        with source_tree.opened(directory, path) as content:
            files.append((path, *artifacts.sha256(content)))
        if digest not in (None, files[-1][1]):
            message = f"The file {path} has changed since it was indexed: index it again."
            raise Conflict(message)
    missing = {path: place.digest(path) for path, digest, _ in files}
    changes = [[path, digest, missing[path]] for path, digest, _ in files if missing[path] != digest]
    # Written down before anything is changed: who died here, and was seen as having done it all, could not be taken back.
    with db.transaction("worker") as tx:
        kept = parts.intend(tx, stage, part.shard, {"changes": _replaceable(changes, stage.plan)})
    for path, _, before in kept["changes"]:
        _save(to, path, before)
    for path, digest, _ in changes:
        beat()
        with source_tree.opened(directory, path) as content:
            place.put(path, content, digest, source_tree.content_type(path))
    total = sum(size for _, _, size in files)
    digest = cas.digest([[path, digest] for path, digest, _ in files])
    return Output(partition_id=part.part["partition_id"], assets_staged=len(files), bytes=total, digest=digest).model_dump()


def _replaceable(changes: list[list[Any]], plan: str) -> list[list[Any]]:
    """Changes as they are kept; what somebody else put there without a digest is named by its plan and path."""
    return [[path, digest, before if before is None else before or cas.digest([plan, path])] for path, digest, before in changes]


def _save(to: str, path: str, before: str | None) -> None:
    """Keep what stands there now, if it is what is about to be replaced."""
    kept, name = artifacts.opened(), _saved(before)
    if before is None or kept.has(name):
        return
    content = artifacts.opened(to).get(path)
    if content is not None:
        digest, _ = artifacts.sha256(io.BytesIO(content))
        kept.put(name, io.BytesIO(content), digest)


def _saved(before: str | None) -> str:
    return f"replaced/{before}"


def undo(shards: range, context: Context) -> Ran:
    """Remove what was added, and put back what was replaced, as long as it is still what this plan put there."""
    to = Input(**context.stage.config).to

    def take_back(part: Found) -> None:
        place = artifacts.opened(to)
        for path, digest, before in (part.kept or {"changes": []})["changes"]:
            if place.digest(path) != digest:
                continue  # somebody has put something else there since
            content = artifacts.opened().get(_saved(before)) if before is not None else None
            if content is None:
                place.remove([path])
            else:
                place.put(path, io.BytesIO(content), artifacts.sha256(io.BytesIO(content))[0], source_tree.content_type(path))

    return parts.taken_back(context, shards, take_back, lambda _tx, _found: None)
