"""The demonstration: a full sync, webhooks as rough as real ones, an incremental sync, and a comparison that must end equal.

It trusts nobody: the stand-in knows what must stand, and every event and every record is accounted for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from common import db, settings
from common.errors import Unavailable
from common.flows import receive, sync_status
from deploy.bars import Bar, Bars, of_run
from deploy.client import Api, Problem
from deploy.local import account, comparison, source
from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.rounds import Round, read

SETTLING_SECONDS = 3  # a stamp has whole seconds: only what is read two later is sure to hold all of its second
DELIVERIES = 2000
LOSS = 0.03
LOOK_SECONDS = 0.25
STALLED_SECONDS = 90.0  # without any progress, a sync is given up on
# What must be read again before a comparison can be fair. What only completes a record may come later.
OPEN = "select count(*) from tidemark.refetches where reason in ('asked', 'ambiguous', 'hint', 'missing') and attempts < 5"
LATER = "select count(*) from tidemark.refetches where attempts < 5"


def run() -> list[str]:
    """Show it; what does not add up, in words. DEMO_SEED and DEMO_DELIVERIES choose another stream.

    Raises: OSError, when nobody answers; Unavailable, when the database does not.
    """
    console = Console(highlight=False)
    seed = int(os.environ.get("DEMO_SEED") or time.time())
    deliveries = int(os.environ.get("DEMO_DELIVERIES") or DELIVERIES)
    try:
        return _shown(console, seed, deliveries)
    except (_Stalled, Problem) as error:
        return [str(error)]


class _Stalled(Exception):
    """A sync does not end; the message says which."""


def _shown(console: Console, seed: int, count: int) -> list[str]:
    """Raises: _Stalled; Problem, when a request is refused."""
    url, began = settings.load().zoho_api_url, time.monotonic()
    others = comparison.strangers()
    console.print(f"\nDemonstration (DEMO_SEED={seed}). The source is a stand-in for Zoho, at {url}.")
    console.print("\n1. A full sync: every list, page by page, no faster than Zoho allows.")
    faults = _synced(console, "full", {label: len(source.ask(url, f"rows/{label}")) for label in KINDS})
    console.print(f"\n2. {count:,} deliveries of webhooks as Zoho would make them, with what goes wrong.")
    account_ = account.taken(console, _round(url, seed, count))
    console.print(account.table(account_))
    unaccounted = account.faults(account_)
    if not unaccounted:
        console.print(account.verdict(account_))
    console.print("\n3. An incremental sync: it brings what nobody told us of, and reads again what only the source can tell.")
    time.sleep(SETTLING_SECONDS)
    faults += unaccounted + _caught_up(console)
    console.print("\n4. The comparison: every record of the source beside its row here.")
    lines = comparison.compared(others)
    console.print(comparison.table(lines))
    faults += comparison.faults(lines)
    _show_statistics(console)
    if faults:
        console.print("[bold red]This does not add up.[/]")
    else:
        records = sum(line.source for line in lines)
        took, left = time.monotonic() - began, _count(LATER)
        console.print(
            f"[bold green]Source and database are equal[/] in every column that lists have: all {records:,} records of {len(lines)}"
            f" entities, after {took:.0f} s and {_calls(url):,} calls.{_left_out(others)}"
            f" {left:,} are yet to be read one by one for what lists do not have; every sync does some.\n"
        )
    return faults


def _round(url: str, seed: int, count: int) -> Round:
    """What happens at the source, and what it would send of that."""
    scheme, secret, _ = receive.secrets()[0]
    asked = {"seed": seed, "count": count, "secret": secret, "scheme": scheme, "loss": LOSS}
    said = source.ask(url, "round", asked)
    return Round([read(each) for each in said["sent"]], [read(each) for each in said["lost"]])


def _calls(url: str) -> int:
    return int(source.ask(url, "calls")["calls"])


def _left_out(others: comparison.STRANGERS) -> str:
    count = sum(map(len, others.values()))
    return f" {count} records that the source never had are left out." if count else ""


# Syncs --------------------------------------------------------------------------------------------------------------


def _synced(console: Console, mode: str, totals: Mapping[str, int]) -> list[str]:
    """Start a sync and watch its lists to their end; its details may take longer. What went wrong, in words.

    Raises: _Stalled, Problem.
    """
    with Bars(console) as bars:
        found = _watched(_started(mode), bars, totals)
    parts = found["entities"]
    seconds = max(part["duration_seconds"] or 0 for part in parts)
    rows, pages, news = (sum(part[key] for part in parts) for key in ("total_events", "pages", "processed_events"))
    console.print(f"  {rows:,} rows in {pages} pages, {news:,} of them news, in {seconds} s.")
    failed = [part for part in parts if part["status"] == "failed"]
    return [f"the {mode} sync of {part['entity_type']} failed: {part['error_summary']}" for part in failed]


def _started(mode: str) -> str:
    # Forced: one that a schedule began a moment ago may have read a list before what happened since.
    return str(Api().call("POST", "/sync/manual", {"mode": mode, "force": True})["run_id"])


def _watched(run_: str, bars: Bars, totals: Mapping[str, int]) -> dict[str, Any]:
    """Raises: _Stalled."""
    patience = _Patience(run_)
    while True:
        found = _run(run_)
        if found is not None:
            bars.show(of_run(found, totals))
            if all(part["completed_at"] for part in found["entities"]):
                return found
            patience.check(sum(part["pages"] for part in found["entities"]))
        time.sleep(LOOK_SECONDS)


def _run(run_: str) -> dict[str, Any] | None:
    try:
        return sync_status.one(run_)
    except Unavailable:  # somebody may be restarting it: that is what they are invited to do
        return None


def _caught_up(console: Console) -> list[str]:
    """Sync until nothing is left that must be read again.

    Raises: _Stalled, Problem.
    """
    faults = _synced(console, "incremental", {})
    with Bars(console) as bars:
        before, patience = _count(OPEN), _Patience("what must be read again")
        while left := _count(OPEN):
            bars.show([_again(before, left)])
            patience.check(left)
            if not _is_read_again():  # each sync may spend so many calls on it, and these have
                _started("incremental")
            time.sleep(LOOK_SECONDS)
        bars.show([_again(before, 0)])
    return faults


def _again(before: int, left: int) -> Bar:
    done = max(0, before - left)
    return Bar("read again by id", done, max(before, 1), f"{done:,} of {before:,}", is_over=not left)


def _count(statement: str) -> int:
    with db.transaction("status", read_only=True) as tx:
        return int(tx.statement(statement, {})[0][0][0])


def _is_read_again() -> bool:
    """Whether a sync is at it."""
    with db.transaction("status", read_only=True) as tx:
        return bool(tx.statement("select exists (select from public.tds_sync_runs where completed_at is null)", {})[0][0][0])


class _Patience:
    """Waits as long as something moves."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Any = None
        self._until = 0.0

    def check(self, state: Any) -> None:
        """Raises: _Stalled, when `state` has been the same for too long."""
        if state != self._last:
            self._last, self._until = state, time.monotonic() + STALLED_SECONDS
        elif time.monotonic() > self._until:
            message = f"{self._name} has not moved for {STALLED_SECONDS:.0f} s"
            raise _Stalled(message)


# What Tidemark itself says ------------------------------------------------------------------------------------------


def _show_statistics(console: Console) -> None:
    """How far Tidemark itself found that it was in step, when it last read whole lists."""
    answer = Api().ask("GET", "/api/tds/statistics")
    found = answer.body.get("entities") if answer.status == 200 and isinstance(answer.body, dict) else None  # noqa: PLR2004
    if not found:
        return
    columns = {"entity_type": "entity", "method": "method", "match_percentage": "match %", "recommendation": "recommendation"}
    shown = Table(*columns.values(), title="What Tidemark found of itself, reading whole lists")
    for each in found.values():
        shown.add_row(*("" if each.get(column) is None else str(each[column]) for column in columns))
    console.print(shown)
