"""Watching something to its end: bars on a terminal, a line now and then elsewhere, and Ctrl-C only stops the watching."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from deploy.client import Api, Exit, Problem, say

if TYPE_CHECKING:
    from deploy.bars import Bar

LOOK_SECONDS = 2.0  # an operator may call sixty times a minute
LINE_SECONDS = 10.0
GOOD = ("completed", "succeeded", "live")
OVER = (*GOOD, "failed", "cancelled", "aborted", "rolled_back", "not_rolled_back")


def watch(api: Api, path: str, bars_of: Callable[[Mapping[str, Any]], list[Bar]], *, again: str) -> dict[str, Any]:
    """What stands at a path, once its status says that it is over; `again` is the command that goes on watching.

    Raises: Problem, when it failed, or cannot be seen; KeyboardInterrupt, when the watching was stopped.
    """
    from rich.console import Console  # noqa: PLC0415 - only those who watch pay for it

    from deploy.bars import Bars  # noqa: PLC0415

    try:
        with Bars(Console(stderr=True, highlight=False), every=LINE_SECONDS) as bars:
            found = _seen(api, path)
            while found["status"] not in OVER:
                bars.show(bars_of(found))
                time.sleep(LOOK_SECONDS)
                found = _seen(api, path)
            bars.show(bars_of(found))
    except KeyboardInterrupt:
        say(f"It goes on without you; to watch it again: {again}")
        raise
    return found


def _seen(api: Api, path: str) -> dict[str, Any]:
    """Raises: Problem."""
    while True:
        answer = api.ask("GET", path)
        if answer.status in {429, 503}:  # it is asked too often, or rests for a moment: the work goes on all the same
            time.sleep(min(60.0, float(answer.headers.get("retry-after") or LOOK_SECONDS)))
            continue
        return dict(api.accepted(answer, f"GET {path}"))


def judge(found: Mapping[str, Any], what: str, then: str) -> None:
    """Raises: Problem, for what is over and did not end well."""
    if found["status"] in OVER and found["status"] not in GOOD:
        reason = found.get("reason") or (found.get("error_summary") or {}).get("message")
        message = f"{what} is {found['status']}" + (f": {reason}." if reason else ".")
        raise Problem(message, Exit.FAILED, then=then)
