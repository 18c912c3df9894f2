"""Pack a directory tree into the artifact store: every content once, by its digest, and a manifest for each part.

The same files, packed by the same code, are the same part: it is found by its CAS id and not written again, whichever plan
asked for it. What a function that died had written is found as well, so the next one goes on from there.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from common import db, settings
from common.db import Transaction
from common.outgoing import artifacts, packs, source_tree
from common.outgoing.packs import Entry
from common.rules import blueprint, cas, partitions
from common.rules.blueprint import Schema
from common.rules.partitions import File, Impossible, Part
from common.rules.shard import Context, Ran, Stage
from common.stores import packs as needs
from common.stores import parts
from common.stores.parts import Found

KIND = "deploy.pack"
IN_PARTS = True


class Input(Schema):
    """What is packed, and how it is cut."""

    directory: str = Field(default=".", max_length=1000, description="below HXO_SOURCE_DIR")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="of the pack; absent: the directory's")
    exclude: list[str] = Field(default=[], max_length=200, description="patterns of paths and names that are left out")
    hidden: bool = Field(default=False, description="with what begins with a dot")
    partitioner: Literal["by_filesize", "by_module"] = "by_filesize"
    executor: Literal["pack_backend"] = "pack_backend"
    chunk_size_mb: int = Field(default=16, ge=1, le=1024)
    total_files: int | None = Field(default=None, ge=1, description="more than so many are refused")
    modules: list[str] | None = Field(default=None, min_length=1, max_length=1000, description="by_module: these alone")


class Output(Schema):
    """What a shard says."""

    status: Literal["packed"] = "packed"
    partition_id: str
    files_processed: int
    bytes: int
    cas_id: str
    manifest: str  # the SHA-256 of the part's manifest


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many parts the directory falls into now.

    Raises: Invalid, when it cannot be packed.
    """
    return len(_parts(config))


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """How many it falls into when the stage opens: those are kept, whatever becomes of the directory."""
    return parts.opened(tx, stage, lambda: _parts(stage.config))


def _parts(config: dict[str, Any]) -> list[Part]:
    asked = blueprint.read(Input, config, KIND)
    files = source_tree.listed(asked.directory, exclude=asked.exclude, hidden=asked.hidden)
    try:
        if asked.partitioner == "by_module":
            return partitions.by_module(partitions.with_modules(files), modules=asked.modules)
        return partitions.by_filesize(files, chunk_size_mb=asked.chunk_size_mb, total_files=asked.total_files)
    except Impossible as error:
        raise blueprint.impossible(KIND, error) from error


def run(shards: range, context: Context) -> Ran:
    """Pack each part.

    Raises: Unavailable, when the artifact store is.
    """
    return parts.worked(context, shards, lambda part: _packed(part, context))


def _packed(part: Found, context: Context) -> dict[str, Any]:
    asked = Input(**context.stage.config)
    found = _Packing(asked.directory, context)
    entries = [found.entry(File(*file)) for file in part.part["files"]]
    cas_id = cas.cas_id(
        tenant=settings.load().zoho_organization_id,
        kind=KIND,
        version=_version(),
        executor=asked.executor,
        inputs=[list(entry) for entry in entries],
    )
    objects = sorted({packs.manifest_name(cas_id), *(entry.object for entry in entries)})
    with db.transaction("worker") as tx:
        needs.need(tx, context.stage.plan, context.stage.no, part.shard, objects)
    store = artifacts.opened()
    manifest = store.digest(packs.manifest_name(cas_id))  # a part is written last, so everything else of it is there as well
    if manifest is None:
        found.write(store, entries)
        manifest = packs.written(cas_id, entries)
    size = sum(entry.bytes for entry in entries)
    said = Output(
        partition_id=part.part["partition_id"], files_processed=len(entries), bytes=size, cas_id=cas_id, manifest=manifest
    )  # fmt: skip
    return said.model_dump()


@functools.cache
def _version() -> str:
    return cas.version(Path(__file__).read_bytes(), Path(packs.__file__).read_bytes())


class _Packing:
    """The files of a part, read one after the other, while the lease is kept."""

    def __init__(self, directory: str, context: Context) -> None:
        self._directory = directory
        self._beat = parts.beating(context)

    def entry(self, file: File) -> Entry:
        """A file, read."""
        self._beat()
        with source_tree.opened(self._directory, file.path) as content:
            digest, size = artifacts.sha256(content)
        return Entry(file.path, digest, size, file.is_executable)

    def write(self, store: artifacts.Folder | artifacts.Bucket, entries: list[Entry]) -> None:
        """Every content that is not there yet."""
        for entry in {entry.digest: entry for entry in entries}.values():
            self._beat()
            if not store.has(entry.object):
                with source_tree.opened(self._directory, entry.path) as content:
                    store.put(entry.object, content, entry.digest)


def ended(tx: Transaction, stage: Stage, *, ok: bool) -> None:
    """All of it is packed: the pack is its parts, and its digest theirs."""
    found = parts.every(tx, stage) if ok else []
    said = sorted((each.output for each in found if each.output), key=lambda output: str(output["partition_id"]))
    if not said or "of" in found[0].part:
        return
    digest = cas.digest([[output["partition_id"], output["cas_id"]] for output in said])
    document = {
        "files": sum(output["files_processed"] for output in said),
        "bytes": sum(output["bytes"] for output in said),
        "parts": [output["cas_id"] for output in said],
    }
    name = stage.config.get("name") or stage.config.get("directory", ".")
    parts.conclude(tx, stage, name=name, digest=digest, document=document)


def undo(shards: range, context: Context) -> Ran:
    """Remove what nobody else's pack needs, in the transaction that says so: meanwhile nobody can begin to need it."""

    def effect(tx: Transaction, found: list[Found]) -> None:
        for plan_, no in {parts.origin(context.stage, part.part) for part in found}:
            artifacts.opened().remove(needs.let_go(tx, plan_, no, shards))
            parts.unconclude(tx, plan_, no)

    return parts.taken_back(context, shards, lambda _: None, effect)
