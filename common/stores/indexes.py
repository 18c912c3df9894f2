"""Indexes: the files of a directory, and the pages of a documentation, as a stage found them; the newest few are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.shard import Stage
from common.stores import parts

KEPT = 5  # of a name; older ones go when a newer one is there


class File(NamedTuple):
    """A file of an index."""

    path: str
    bucket: str
    digest: str
    bytes: int
    content_type: str


class Doc(NamedTuple):
    """A page of an index."""

    path: str
    route: str
    title: str


def put_files(tx: Transaction, stage: Stage, bucket: str, files: Sequence[dict[str, Any]]) -> None:
    """Files of a bucket, each with path, digest, bytes and content_type."""
    tx.run("indexes.put_files", plan=stage.plan, stage=stage.no, bucket=bucket, files=encoding.rows(list(files)))


def files(tx: Transaction, plan: str, stage: int) -> list[File]:
    """The files of an index, by path."""
    return tx.all(File, "indexes.files", plan=plan, stage=stage)


def put_docs(tx: Transaction, stage: Stage, route: str, docs: Sequence[dict[str, Any]]) -> None:
    """Pages of a route, each with path, title, headings, text, word_count and digest."""
    tx.run("indexes.put_docs", plan=stage.plan, stage=stage.no, route=route, docs=encoding.rows(list(docs)))


def find_docs(tx: Transaction, plan: str, stage: int, words: str, limit: int = 50) -> list[Doc]:
    """The pages of an index that have all of these words, the best first."""
    return tx.all(Doc, "indexes.find_docs", plan=plan, stage=stage, words=words, limit=limit)


def drop(tx: Transaction, kind: str, plan: str, stage: int, only: str | None = None) -> None:
    """An index is of no use any more; or only one bucket or route of it."""
    if kind == "docs.index":
        tx.run("indexes.drop_docs", plan=plan, stage=stage, route=only)
    else:
        tx.run("indexes.drop_files", plan=plan, stage=stage, bucket=only)


def conclude(tx: Transaction, stage: Stage, *, name: str, digest: str, document: dict[str, Any]) -> None:
    """An index is complete: it is the newest of its name, and those beyond the newest few go."""
    parts.conclude(tx, stage, name=name, digest=digest, document=document)
    for old in parts.by_name(tx, stage.kind, name, limit=KEPT + 20)[KEPT:]:
        drop(tx, stage.kind, old.plan, old.stage)
        parts.unconclude(tx, old.plan, old.stage)
