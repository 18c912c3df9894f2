"""What tests of truth need: plans that are over, requests about them, and rows that somebody alters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from common.flows import work
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import Reply, wsgi
from tests.kinds import a_stage, submit

Sql = Callable[..., list[list[Any]]]
LATER = timedelta(minutes=2)


def finished(*stages: dict[str, Any], turn_clock: Callable[[timedelta], None] | None = None, turns: int = 1) -> str:
    """A plan that was worked off, its failed shards tried again `turns - 1` times; its id."""
    plan = submit(*(stages or (a_stage(shards=40),)))
    for turn in range(turns):
        if turn and turn_clock:
            turn_clock(LATER)
        work.work()
    return plan


def ask(plan: str, what: str, *, method: str = "GET", token: str = OWNER, **arguments: Any) -> Reply:
    """A request about a plan: its merkle-tree, verify-shards, export or certify."""
    return wsgi(
        Request(method, f"/api/hxo/plan/{plan}/{what}", urlencode(arguments), (("authorization", f"Bearer {token}"),)), "plans"
    )


def alter(sql: Sql, plan: str, shard: int, *, stage: int = 0) -> None:
    """Flip one bit of a leaf, as somebody with the owner's rights may."""
    changed = sql(
        "update tidemark.leaves set digests = set_bit(digests, cast(256 * (:shard - lo) + 5 as bigint), 1 - get_bit(digests, cast(256 * (:shard - lo) + 5 as bigint)))"
        " where plan = :plan and stage = :stage and lo <= :shard and hi > :shard returning lo",
        plan=plan,
        stage=stage,
        shard=shard,
    )
    assert len(changed) == 1


def altered(reply: Reply) -> list[tuple[str, int | None, str]]:
    """What a verification names."""
    return [(each["stage"], each["shard"], each["what"]) for each in reply.json["altered"]]


def document(plan: str) -> str:
    """A plan's export, all pages of it."""
    found, arguments = "", {}
    while True:
        reply = ask(plan, "export", **arguments)
        assert reply.status == 200, reply.body
        found += reply.body.decode()
        link = reply.headers.get("Link") or reply.headers.get("link")
        if link is None:
            return found
        arguments = {"after": link.partition("after=")[2].partition(">")[0]}
