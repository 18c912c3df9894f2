"""How far things are, for people: bars on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

LINE_SECONDS = 3.0  # between two lines where there is no terminal
OVER = ("completed", "succeeded", "failed", "cancelled", "aborted")


class Bar(NamedTuple):
    """One thing that goes on; `total` None: nobody knows yet how much it will be."""

    name: str
    done: int
    total: int | None
    said: str
    is_over: bool = False


class Bars:
    """Several things at once, shown again and again until all of them are over."""

    def __init__(self, console: Console, *, every: float = LINE_SECONDS) -> None:
        self._console = console
        self._every = every
        self._next = time.monotonic() + every
        self._last: Sequence[Bar] = ()
        self._tasks: dict[str, TaskID] = {}
        columns = (TextColumn("  {task.fields[name]:<17}"), BarColumn(28), TextColumn("{task.fields[said]}"))
        self._progress = Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress:
            self._progress.stop()
        elif self._last:
            self._line()

    def show(self, bars: Sequence[Bar]) -> None:
        """How things stand now."""
        self._last = bars
        if self._progress is None:
            if time.monotonic() >= self._next:
                self._line()
                self._next = time.monotonic() + self._every
            return
        for bar in bars:
            total = (bar.done or 1) if bar.is_over else bar.total
            done = total if bar.is_over else bar.done
            if bar.name not in self._tasks:
                self._tasks[bar.name] = self._progress.add_task(bar.name, name=bar.name, said=bar.said, total=total)
            self._progress.update(self._tasks[bar.name], completed=done, total=total, said=bar.said)

    def _line(self) -> None:
        """How many are over, and what is at work; of a single thing how it stands."""
        ended = sum(bar.is_over for bar in self._last)
        told = [f"{bar.name} {bar.said}" for bar in self._last if len(self._last) == 1 or (not bar.is_over and bar.done)]
        words = [f"{ended} of {len(self._last)} done"] if len(self._last) > 1 else []
        words += ["; ".join(told)] if told else []
        self._console.print(f"  {': '.join(words)}", soft_wrap=True)


def of_run(run: Mapping[str, Any], totals: Mapping[str, int] | None = None) -> list[Bar]:
    """The bars of a run as GET /api/tds/runs/{run} tells of it, one for each entity; `totals`: how many rows each will have."""
    bars = [_of_entity(each, (totals or {}).get(str(each["entity_type"]))) for each in run["entities"] or [run]]
    # What the run of all entities has done besides its lists.
    calls, rows = (run[key] - sum(each[key] for each in run["entities"]) for key in ("pages", "total_events"))
    if run["entities"] and calls > 0:
        bars.append(Bar("read by id", calls, None, f"{rows:,} records in {calls} calls", run["status"] in OVER))
    return bars


def _of_entity(run: Mapping[str, Any], rows_expected: int | None) -> Bar:
    rows, pages, rate = run["total_events"], run["pages"], run["rows_per_second"]
    said = [f"{rows:,} rows", f"{pages} pages" if pages != 1 else "1 page"]
    if rate:
        said.append(f"{rate:,.0f} rows/s")
    is_over = run["status"] in OVER
    done, total = (rows, rows_expected) if rows_expected else (pages, run["pages_expected"])
    left = (rows_expected - rows) / rate if rows_expected and rate else run["eta_seconds"]
    if not is_over and left is not None and rows:
        said.append(f"{max(0, left):.0f} s left")
    if run["status"] == "failed":
        said.append("failed")
    return Bar(str(run["entity_type"] or "records"), done, total, ", ".join(said) if rows or is_over else "waits", is_over)


def of_plan(plan: Mapping[str, Any]) -> list[Bar]:
    """The bars of a plan as GET /api/hxo/status/{plan} tells of it, one for each stage."""
    return [_of_stage(stage) for stage in plan["stages"]]


def _of_stage(stage: Mapping[str, Any]) -> Bar:
    done, total = stage["done_shards"], stage["total_shards"]
    said = [f"{done:,} of {total:,} shards" if total is not None else f"{done:,} shards"]
    if stage["failed_shards"]:
        said.append(f"{stage['failed_shards']:,} failed")
    if stage["lanes_held"]:
        said.append(f"{stage['lanes_held']} lanes at work")
    return Bar(stage["id"], done, total, ", ".join([*said, stage["status"]]), stage["finished_at"] is not None)


STEPS = ("queued", "building", "releasing", "live", "verified", "promoted")  # of a target, as far as anybody can see them


def of_deployment(deployment: Mapping[str, Any]) -> list[Bar]:
    """The bars of a deployment as GET /api/hxo/deployments/{deployment} tells of it, one for each target."""
    return [_of_target(deployment, target) for target in deployment["targets"]]


def _of_target(deployment: Mapping[str, Any], target: Mapping[str, Any]) -> Bar:
    reached = "promoted" if target["promoted_at"] else "verified" if target["verified_at"] else target["state"]
    serving = (target["serving"] or {}).get("commit") or (target["serving"] or {}).get("id") or "nothing yet"
    gates = [f"{name.partition(':')[2]} {gate['outcome']}" for name, gate in target["gates"].items() if gate["outcome"]]
    said = [f"wave {target['wave']}: {reached}", f"serves {serving[:12]}", *dict.fromkeys(gates)]
    if target["frozen"]:
        said.append("frozen")
    done = STEPS.index(reached) + 1 if reached in STEPS else 0
    return Bar(str(target["name"]), done, len(STEPS), ", ".join(said), deployment["ended_at"] is not None)
