"""Warm what answers: call given URLs, so that the first user does not wait for a cold start or an empty cache.

`warm_registry` wants any answer that is no error of the server; `prime_caches` wants each page itself, and counts those that
a cache may keep. Without URLs it is our own functions that are called. Nobody's address leads inside: outgoing/egress sees to it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from common import db, settings
from common.db import Transaction
from common.errors import Conflict, SourceRefused, Unavailable, Waiting
from common.outgoing import calls, egress
from common.outgoing.calls import Call
from common.rules import blueprint, partitions
from common.rules.blueprint import Schema
from common.rules.http import Answer
from common.rules.partitions import Impossible, Part
from common.rules.shard import Context, Ran, Stage
from common.stores import parts
from common.stores.parts import Found

KIND = "deploy.prime"
IN_PARTS = True
SECONDS = 10.0
WAIT_SECONDS = 1
SERVER_ERRORS, ERRORS = 500, 400
HEADERS = {"User-Agent": "tidemark-prime/1", "Accept": "*/*"}
DEPTH = "by_dag_depth"


class Address(Schema):
    """A URL, what it belongs to, and which others must have been called before."""

    url: str = Field(max_length=2048)
    module: str | None = Field(default=None, min_length=1, max_length=100)
    needs: list[str] = Field(default=[], max_length=100)


class Input(Schema):
    """What is called, and how it is cut."""

    urls: list[Address | str] = Field(default=[], max_length=10_000, description="absent: our own functions, at HEALTHCHECK_PATH")
    partitioner: Literal["by_module", "by_dag_depth"] = "by_module"
    executor: Literal["warm_registry", "prime_caches"] = "warm_registry"
    modules: list[str] | None = Field(default=None, min_length=1, max_length=1000, description="by_module: these alone")
    max_depth: int | None = Field(default=None, ge=0, le=100, description="by_dag_depth: longer chains are refused")


class Output(Schema):
    """What a shard says."""

    status: Literal["warmed", "primed"]
    module: str
    urls: int
    cache_entries: int  # answers that a cache may keep


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many modules or depths there are.

    Raises: Invalid, for an address that may not be called, and for needs that cannot be met.
    """
    asked = blueprint.read(Input, config, KIND)
    faults = [
        (f"/urls/{number}", reason)
        for number, address in enumerate(_addresses(asked) if asked.urls else [])
        if not _is_ours(address.url) and (reason := egress.check(address.url))
    ]
    if faults:
        raise blueprint.refused(KIND, *faults)
    return len(_parts(config))


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """The same when the stage opens."""
    return parts.opened(tx, stage, lambda: _parts(stage.config))


def _addresses(asked: Input) -> Sequence[Address]:
    if not asked.urls:
        current = settings.load()
        return [Address(url=current.functions_url + current.healthcheck_path, module="functions")]
    return [Address(url=each) if isinstance(each, str) else each for each in asked.urls]


def _is_ours(url: str) -> bool:
    """Whether it is where our own functions are, which no person registered."""
    return url.startswith(settings.load().functions_url + "/")


def _parts(config: dict[str, Any]) -> list[Part]:
    asked = blueprint.read(Input, config, KIND)
    addresses = {address.url: address for address in _addresses(asked)}  # each once
    try:
        if asked.partitioner == DEPTH:
            return partitions.by_dag_depth({url: address.needs for url, address in addresses.items()}, max_depth=asked.max_depth)
        modules = [(address.module or _module(url), url, 1) for url, address in addresses.items()]
        return partitions.by_module(modules, of="names", modules=asked.modules)
    except Impossible as error:
        raise blueprint.impossible(KIND, Impossible(error.message, error.pointer or "/urls")) from error


def _module(url: str) -> str:
    """The first step of its path; its host for none."""
    split = urllib.parse.urlsplit(url)
    return split.path.strip("/").partition("/")[0] or split.netloc


def run(shards: range, context: Context) -> Ran:
    """Call the addresses of each part.

    Raises: Waiting, by depth, while what these need is not done.
    """
    asked = Input(**context.stage.config)
    failed: list[str] = []
    beat = parts.beating(context)
    if asked.partitioner == DEPTH:
        _wait_for_needs(context.stage, shards.start)

    def do(part: Found) -> dict[str, Any]:
        if failed and asked.partitioner == DEPTH:
            message = f"It was not called: {failed[0]}"
            raise SourceRefused(message)
        try:
            answers = [_answer(url, asked.executor, beat) for url in part.part["names"]]
        except SourceRefused as error:
            failed.append(error.detail)
            raise
        return Output(
            status="warmed" if asked.executor == "warm_registry" else "primed",
            module=part.part["module"],
            urls=len(answers),
            cache_entries=sum(map(_is_cacheable, answers)),
        ).model_dump()

    return parts.worked(context, shards, do)


def _wait_for_needs(stage: Stage, shard: int) -> None:
    """Raises: Waiting, while shards before this one are not done; Conflict, when one of them never will be."""
    with db.transaction("worker") as tx:
        below = parts.below(tx, stage, shard)
    if below.dead:
        message = "What these addresses need could not be warmed."
        raise Conflict(message)
    if below.undone:
        raise Waiting(retry_after_seconds=WAIT_SECONDS)


def _answer(url: str, executor: str, beat: Callable[[], None]) -> Answer:
    """What an address says.

    Raises: SourceRefused, when that is not what warms anything: no answer is the address's trouble, not the lane's.
    """
    beat()
    split = urllib.parse.urlsplit(url)
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    call = Call("GET", f"{split.scheme}://{split.netloc}", target, HEADERS, seconds=SECONDS)
    send = calls.sent if _is_ours(url) else egress.sent
    try:
        try:
            answer = send(call)
        except calls.Oversized:  # the page was made, and is larger than what we read: its headers say the rest
            answer = send(Call("HEAD", call.origin, call.target, HEADERS, seconds=SECONDS))
    except Unavailable as error:
        message = f"{url[:500]} does not answer: {error.detail}"
        raise SourceRefused(message) from error
    if answer.status >= (SERVER_ERRORS if executor == "warm_registry" else ERRORS):
        message = f"{url[:500]} answers with status {answer.status}."
        raise SourceRefused(message)
    return answer


def _is_cacheable(answer: Answer) -> bool:
    control = answer.headers.get("cache-control", "").lower()
    return answer.status < ERRORS and not any(word in control for word in ("no-store", "private", "no-cache"))


def undo(shards: range, context: Context) -> Ran:
    """What was warmed grows cold by itself; nothing is taken back."""
    return parts.taken_back(context, shards, lambda _: None, lambda _tx, _found: None)
