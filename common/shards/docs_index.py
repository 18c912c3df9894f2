"""Index documentation: title, headings and words of every Markdown and HTML file below a directory, by route."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from common.db import Transaction
from common.errors import Conflict
from common.outgoing import artifacts, source_tree
from common.rules import blueprint, cas, documents, partitions
from common.rules.blueprint import Schema
from common.rules.partitions import File, Impossible, Part
from common.rules.shard import Context, Ran, Stage
from common.stores import indexes, parts
from common.stores.parts import Found

KIND = "docs.index"
IN_PARTS = True
MOST_BYTES = 8_000_000  # of one page


class Input(Schema):
    """What is indexed, and how it is cut."""

    directory: str = Field(default=".", max_length=1000, description="below HXO_SOURCE_DIR")
    name: str | None = Field(default=None, min_length=1, max_length=200, description="of the index; absent: the directory's")
    exclude: list[str] = Field(default=[], max_length=200, description="patterns of paths and names that are left out")
    routes: dict[str, str] | None = Field(
        default=None,
        min_length=1,
        max_length=10_000,
        description="the folder or file of each route; absent: a route for each folder",
    )
    partitioner: Literal["by_route_map"] = "by_route_map"
    executor: Literal["docs_index"] = "docs_index"


class Output(Schema):
    """What a shard says."""

    status: Literal["indexed"] = "indexed"
    route: str
    docs_indexed: int
    words: int
    digest: str  # over paths and digests


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many routes have pages now.

    Raises: Invalid, when it cannot be indexed.
    """
    return len(_parts(config))


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """How many have when the stage opens."""
    return parts.opened(tx, stage, lambda: _parts(stage.config))


def _parts(config: dict[str, Any]) -> list[Part]:
    asked = blueprint.read(Input, config, KIND)
    files = source_tree.listed(asked.directory, exclude=asked.exclude)
    pages = [file for file in files if file.path.lower().endswith(documents.SUFFIXES)]
    try:
        return partitions.by_route_map(pages, routes=asked.routes)
    except Impossible as error:
        raise blueprint.impossible(KIND, error) from error


def run(shards: range, context: Context) -> Ran:
    """Read the pages of each route; they are in the index once the chunk is done."""
    directory = Input(**context.stage.config).directory
    found: dict[str, list[dict[str, Any]]] = {}
    beat = parts.beating(context)

    def do(part: Found) -> dict[str, Any]:
        route = str(part.part["route"])
        docs = [_read(directory, File(*file), beat) for file in part.part["files"]]
        found[route] = docs
        digest = cas.digest([[doc["path"], doc["digest"]] for doc in docs])
        words = sum(doc["word_count"] for doc in docs)
        return Output(route=route, docs_indexed=len(docs), words=words, digest=digest).model_dump()

    def effect(tx: Transaction) -> None:
        for route, docs in sorted(found.items()):
            indexes.put_docs(tx, context.stage, route, docs)

    return parts.worked(context, shards, do, effect)


def _read(directory: str, file: File, beat: Callable[[], None]) -> dict[str, Any]:
    """Raises: Conflict, when the page is too large."""
    beat()
    with source_tree.opened(directory, file.path) as content:
        text = content.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        message = f"The page {file.path} has more than {MOST_BYTES:,} bytes. Exclude it, or cut it into smaller ones."
        raise Conflict(message)
    page = documents.read(file.path, text.decode("utf-8", "replace"))
    return {
        "path": file.path,
        "title": page.title or file.path.rpartition("/")[2],
        "headings": [heading._asdict() for heading in page.headings],
        "text": page.text,
        "word_count": page.words,
        "digest": artifacts.sha256(io.BytesIO(text))[0],
    }


def ended(tx: Transaction, stage: Stage, *, ok: bool) -> None:
    """The index is complete, and the newest of its name."""
    found = parts.every(tx, stage) if ok else []
    said = sorted((each.output for each in found if each.output), key=lambda output: str(output["route"]))
    if not said or "of" in found[0].part:
        return
    directory = stage.config.get("directory", ".")
    document = {
        "directory": directory,
        "docs": sum(output["docs_indexed"] for output in said),
        "words": sum(output["words"] for output in said),
        "routes": [output["route"] for output in said],
    }
    digest = cas.digest([[output["route"], output["digest"]] for output in said])
    indexes.conclude(tx, stage, name=stage.config.get("name") or directory, digest=digest, document=document)


def undo(shards: range, context: Context) -> Ran:
    """Forget what these shards indexed: the index before this one is the newest again."""

    def effect(tx: Transaction, found: list[Found]) -> None:
        for part in found:
            plan_, no = parts.origin(context.stage, part.part)
            if part.output:
                indexes.drop(tx, KIND, plan_, no, part.output["route"])
            parts.unconclude(tx, plan_, no)

    return parts.taken_back(context, shards, lambda _: None, effect)
