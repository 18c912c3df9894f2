"""Index the files of a directory: what each is called, its SHA-256, its size, its content type, and its bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from common.db import Transaction
from common.outgoing import artifacts, source_tree
from common.rules import blueprint, cas, partitions
from common.rules.blueprint import Schema
from common.rules.partitions import File, Impossible, Part
from common.rules.shard import Context, Ran, Stage
from common.stores import indexes, parts
from common.stores.parts import Found

KIND = "assets.index"
IN_PARTS = True


class Input(Schema):
    """What is indexed, and how it is cut."""

    directory: str = Field(default=".", max_length=1000, description="below HXO_SOURCE_DIR")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="of the index; absent: the directory's")
    exclude: list[str] = Field(default=[], max_length=200, description="patterns of paths and names that are left out")
    hidden: bool = Field(default=False, description="with what begins with a dot")
    partitioner: Literal["by_asset_bucket", "by_filesize"] = "by_asset_bucket"
    executor: Literal["index_assets"] = "index_assets"
    buckets: dict[str, list[str]] | list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="patterns by bucket, or content types such as image; absent: by type",
    )
    chunk_size_mb: int = Field(default=64, ge=1, le=1024)
    total_files: int | None = Field(default=None, ge=1, description="by_filesize: more than so many are refused")


class Output(Schema):
    """What a shard says."""

    status: Literal["indexed"] = "indexed"
    bucket: str
    assets_indexed: int
    bytes: int
    digest: str  # over paths and digests


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many parts the directory falls into now.

    Raises: Invalid, when it cannot be indexed.
    """
    return len(_parts(config))


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """How many it falls into when the stage opens."""
    return parts.opened(tx, stage, lambda: _parts(stage.config))


def _parts(config: dict[str, Any]) -> list[Part]:
    asked = blueprint.read(Input, config, KIND)
    files = source_tree.listed(asked.directory, exclude=asked.exclude, hidden=asked.hidden)
    buckets = {name: [f"{name}/*"] for name in asked.buckets} if isinstance(asked.buckets, list) else asked.buckets
    try:
        if asked.partitioner == "by_filesize":
            return partitions.by_filesize(files, chunk_size_mb=asked.chunk_size_mb, total_files=asked.total_files)
        types = [source_tree.content_type(file.path) for file in files]
        return partitions.by_asset_bucket(files, types, buckets=buckets, chunk_size_mb=asked.chunk_size_mb)
    except Impossible as error:
        raise blueprint.impossible(KIND, error) from error


def run(shards: range, context: Context) -> Ran:
    """Read and hash the files of each part; they are in the index once the chunk is done."""
    directory = Input(**context.stage.config).directory
    found: list[tuple[str, list[dict[str, Any]]]] = []
    beat = parts.beating(context)

    def do(part: Found) -> dict[str, Any]:
        bucket = str(part.part.get("bucket", part.part["partition_id"]))
        files = [_read(directory, File(*file), beat) for file in part.part["files"]]
        found.append((bucket, files))
        digest = cas.digest([[file["path"], file["digest"]] for file in files])
        size = sum(file["bytes"] for file in files)
        return Output(bucket=bucket, assets_indexed=len(files), bytes=size, digest=digest).model_dump()

    def effect(tx: Transaction) -> None:
        for bucket, files in found:
            indexes.put_files(tx, context.stage, bucket, files)

    return parts.worked(context, shards, do, effect)


def _read(directory: str, file: File, beat: Callable[[], None]) -> dict[str, Any]:
    beat()
    with source_tree.opened(directory, file.path) as content:
        digest, size = artifacts.sha256(content)
    return {"path": file.path, "digest": digest, "bytes": size, "content_type": source_tree.content_type(file.path)}


def ended(tx: Transaction, stage: Stage, *, ok: bool) -> None:
    """The index is complete, and the newest of its name."""
    found = parts.every(tx, stage) if ok else []
    said = sorted((each.output for each in found if each.output), key=lambda output: str(output["bucket"]))
    if not said or "of" in found[0].part:
        return
    directory = stage.config.get("directory", ".")
    document = {
        "directory": directory,
        "files": sum(output["assets_indexed"] for output in said),
        "bytes": sum(output["bytes"] for output in said),
    }
    digest = cas.digest(sorted([output["bucket"], output["digest"]] for output in said))
    indexes.conclude(tx, stage, name=stage.config.get("name") or directory, digest=digest, document=document)


def undo(shards: range, context: Context) -> Ran:
    """Forget what these shards indexed: the index before this one is the newest again."""

    def effect(tx: Transaction, found: list[Found]) -> None:
        for part in found:
            plan_, no = parts.origin(context.stage, part.part)
            if part.output:
                indexes.drop(tx, KIND, plan_, no, part.output["bucket"])
            parts.unconclude(tx, plan_, no)

    return parts.taken_back(context, shards, lambda _: None, effect)
