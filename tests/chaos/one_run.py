"""One run of the campaign: make trouble, heal, drain, compare, check, and tell."""

from __future__ import annotations

import collections
import contextlib
import random
import shutil
import sys
import time
from typing import Any

from common import entities
from common.errors import AppError
from deploy.local import comparison
from tests.chaos import check, invariants, report
from tests.chaos.bugs import BUGS
from tests.chaos.dress import read_notes
from tests.chaos.field import ROOT, SOURCE, Field, Grounds, sql
from tests.chaos.harms import submitted
from tests.chaos.invariants import Promised
from tests.chaos.nemesis import Nemesis
from tests.chaos.options import SHORT, Options
from tests.chaos.report import Result
from tests.chaos.sender import History, Load

OUT = ROOT / ".tidemark" / "chaos"
LONG = 120.0  # from here on, everything that can happen must have happened
SETTLING = 3.0  # a stamp has whole seconds: only what is read two later is sure to hold all of its second
OPEN = "select count(*) from tidemark.refetches where reason in ('asked', 'ambiguous', 'hint', 'missing') and attempts < 5"
UNFINISHED = "select id::text, status from tidemark.plans where finished_at is null"
RUNS = """
    select entity_type::text, status::text, error_summary from tds_sync_runs
     where plan_id = '{plan}' and entity_type is not null and status <> 'completed'
"""
FIRES = "select schedule, state, count(*) from tidemark.fires where state in ('due', 'started') group by 1, 2 order by 1, 2"
NO_MORE_SLOTS = "update tidemark.schedules set next_slot = 'infinity' where name like 'own-%'"
NO_SCHEDULES = "update tidemark.schedules set enabled = false"
# What must have happened in a long run, besides every fault.
SOMETIMES = (
    "swept lease", "lapsed receipt", "lane taken over", "stolen lane", "shard tried again", "re-rung", "revived dead letter",
    "redelivered task", "fenced event", "fenced lane", "killed by poison", "gateway born again", "answer unknown", "refused with 503",
    "dead letter", "quarantined", "duplicate", "superseded", "commits cut after",
    "alert source_time_in_future",
)  # fmt: skip


class Campaign:
    """One run."""

    def __init__(self, grounds: Grounds, options: Options) -> None:
        self._options = options
        self._bug = BUGS.get(options.bug)
        self._field = Field(
            grounds,
            seed=options.seed,
            gateways=options.gateways,
            dress={"pauses": options.pauses, "bug": options.bug},
            with_source=options.with_source,
            extra_sql=("" if options.with_schedules else NO_SCHEDULES + ";") + (self._bug.sql if self._bug else ""),
        )
        self._history = History(self._field.notes.with_name("history.jsonl"))
        self._load = Load(
            self._field, self._history, rate=options.rate, poison=options.poison, killers=options.killers, seed=options.seed
        )
        self._nemesis = Nemesis(
            self._field, options.seed, options.every, options.mix,
            is_in_flight=lambda: self._load.in_flight > 0 or self._field.is_busy,
        )  # fmt: skip
        self._promised = Promised(synced=tuple(SOURCE) if options.with_source else ())
        self._early: list[str] = []

    def run(self) -> Result:
        """Make trouble, heal, drain, check."""
        began = time.time()
        try:
            self._trouble()
            calm = time.time()
            self._nemesis.stop()
            self._field.calm()
            self._load.stop()
            sql(self._field.url, NO_MORE_SLOTS)
            drained = 0.0 if self._early else self._drain()
            if self._options.with_source and not self._promised.undrained:
                self._compare()
            return self._result(began, calm, drained)
        finally:
            self._load.stop()
            self._field.close()
            self._history.close()

    # Trouble

    def _trouble(self) -> None:
        options = self._options
        if options.with_source:
            for label in SOURCE:
                self._call_until(202, "/sync/manual", {"mode": "full", "entity_type": label})
        self._load.start()
        self._nemesis.start()
        until, said, planned = time.monotonic() + options.trouble, 0.0, 0.0
        chance = random.Random(f"plans {options.seed}")
        while time.monotonic() < until and not self._early:
            time.sleep(0.25)
            if options.with_plans and not options.with_source and time.monotonic() > planned:
                planned = time.monotonic() + 3
                submitted(self._field, chance)
            if options.bug:
                with contextlib.suppress(AppError):
                    self._early = invariants.early(self._field.url)
            if time.monotonic() > said + 2:
                said = time.monotonic()
                self._progress(until - said)

    def _progress(self, left: float) -> None:
        load, births = self._load.counts, sum(gateway.births for gateway in self._field.gateways)
        harms = collections.Counter(harm.name for harm in self._nemesis.harms)
        text = (
            f"{left:4.0f} s left; {load['acknowledged']} of {load['events']} events acknowledged, {sum(harms.values())} faults,"
            f" {births - len(self._field.gateways)} gateways born again"
        )
        sys.stderr.write(f"\r{text:<100}" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()

    def _call_until(self, wanted: int, path: str, body: Any = None, seconds: float = 30.0) -> Any:
        until = time.monotonic() + seconds
        while True:
            status, answer = self._field.call(path, body)
            if status == wanted:
                return answer
            if time.monotonic() > until:
                message = f"{path} answered {status}: {answer}"
                raise AssertionError(message)
            time.sleep(0.3)

    # Calm

    def _drain(self) -> float:
        """Wait until nothing waits; how many seconds that took."""
        began, healed = time.monotonic(), 0.0
        left: list[str] = []
        while time.monotonic() < began + self._options.drain:
            with contextlib.suppress(AppError):
                if not (left := self._left()):
                    return time.monotonic() - began
                if time.monotonic() > healed + 3:
                    healed = time.monotonic()
                    status, _ = self._field.call("/tasks/heal", {}, task=True)
                    self._nemesis.said[f"heals at the end answered {status}"] += 1
                    self._unstick()
            time.sleep(0.25)
        self._promised.undrained += left or ["the database does not answer"]
        return time.monotonic() - began

    def _left(self) -> list[str]:
        waiting = check.waiting(self._field.url)
        plans = sql(self._field.url, UNFINISHED)
        fires = sql(self._field.url, FIRES)
        return [
            *([f"{waiting} events wait"] if waiting else []),
            *(f"plan {plan} is {status}" for plan, status in plans),
            *(f"{count} fires of {schedule} are {state}" for schedule, state, count in fires),
        ]

    def _unstick(self) -> None:
        """What people stopped, people let go on; what stops again is given up."""
        for plan, status in sql(self._field.url, UNFINISHED):
            if status in ("paused", "halted"):
                self._field.call(f"/api/hxo/plan/{plan}/{'resume' if status == 'paused' else 'cancel'}")

    def _compare(self) -> None:
        """One more incremental sync, and whatever must be read again: then here is what the source has.

        One must do: what it does not bring, the cursor has passed.
        """
        time.sleep(SETTLING)
        until = time.monotonic() + self._options.drain
        last = [self._synced(label) for label in SOURCE]
        while (is_open := bool(sql(self._field.url, UNFINISHED))) or sql(self._field.url, OPEN)[0][0]:
            if time.monotonic() > until:
                self._promised.undrained.append("what must be read again from the source was not")
                break
            if not is_open:
                self._synced("customer")
            time.sleep(0.25)
        for plan in last:
            for label, status, why in sql(self._field.url, RUNS.format(plan=plan)):
                self._promised.differs.append(f"the last sync of {label} is {status}: {why}")
        lines = [comparison._line(entity, set()) for entity in entities.every() if entity.label in SOURCE]
        self._promised.differs += comparison.faults(lines)
        self._drain()

    def _synced(self, label: str) -> str:
        """Begin an incremental sync; its plan."""
        asked = {"mode": "incremental", "entity_type": label, "force": True}
        return str(self._call_until(202, "/sync/manual", asked)["plan_id"])

    # The end

    def _result(self, began: float, calm: float, drained: float) -> Result:
        self._read_history()
        self._promised.odd += self._load.odd
        if self._load.unanswered:
            self._promised.undrained.append(f"{len(self._load.unanswered)} deliveries were never acknowledged")
        self._promised.connections = self._options.gateways * 8 + 20
        self._promised.memory = {name: points for gateway in self._field.gateways for name, points in gateway.memory.items()}
        found = invariants.violations(self._field.url, self._promised)
        if self._early:
            found["seen early"] = self._early
        history = self._history.read()
        acknowledged = [line["t"] for line in history if line["op"] == "ok" for _ in line["ids"]]
        result = Result(
            seed=self._options.seed, bug=self._options.bug, seconds=self._options.seconds, violations=found, drain_seconds=drained,
            events=self._events(), faults=self._nemesis.hits(), recoveries=self._recoveries(),
            longest=report.recovery(self._nemesis.harms, sorted(acknowledged), calm), details=dict(sorted(self._nemesis.said.items())),
        )  # fmt: skip
        result.never = self._never(result)
        rows = sql(self._field.url, "select extract(epoch from completed_at) from tds_sync_queue where status = 'completed'")
        series = {"acknowledged": acknowledged, "completed": [float(row[0]) for row in rows]}
        name = f"{self._options.bug or 'campaign'}-{self._options.seed}"
        report.picture(OUT / f"{name}.svg", began, time.time(), series, self._nemesis.harms)
        (OUT / f"{name}.json").write_text(report.as_json(result))
        (OUT / f"{name}.jsonl").write_bytes(self._history.path.read_bytes())
        shutil.copyfile(self._field.log, OUT / f"{name}.log")
        return result

    def _read_history(self) -> None:
        """What was promised, read back from the disk."""
        for line in self._history.read():
            self._promised.sent.update(line["ids"])
            if line["op"] == "ok":
                self._promised.acknowledged.update(line["ids"])
            for event, fate in zip(line["ids"], line["fates"], strict=True):
                if fate != "good":
                    (self._promised.poison if fate == "poison" else self._promised.quarantined).add(event)
        stored = {row[0] for row in sql(self._field.url, "select id::text from tds_inbox_events")}
        self._promised.poison &= stored  # what nobody ever stored is nobody's dead letter
        self._promised.acknowledged &= self._promised.sent

    def _events(self) -> dict[str, int]:
        names = (
            "received",
            "duplicate",
            "quarantined",
            "completed",
            "applied",
            "unchanged",
            "superseded",
            "retried",
            "dead_letter",
        )
        rows = sql(self._field.url, "select " + ", ".join(f"tidemark.total('{name}')" for name in names))[0]
        shards, plans = sql(
            self._field.url, "select (select count(*) from recorder.shards), (select count(*) from tidemark.plans)"
        )[0]
        sent = {name: self._load.counts[name] for name in sorted(self._load.counts)}
        return {**sent, **{name: int(count) for name, count in zip(names, rows, strict=True)}, "shards": shards, "plans": plans}

    def _recoveries(self) -> dict[str, int]:
        counts = collections.Counter(what for _, what in read_notes(self._field.notes))
        with contextlib.suppress(AppError):
            (counts["redelivered task"],) = sql(self._field.url, "select count(*) from local_tasks.tasks where dispatches > 1")[0]
        for alert, count in sql(self._field.url, "select alert_type, count(*) from tds_alerts group by 1"):
            counts[f"alert {alert}"] = count
        counts["gateway born again"] = sum(gateway.births - 1 for gateway in self._field.gateways)
        counts["answer unknown"] = self._load.counts["unknown"]
        counts["refused with 503"] = self._load.counts["refused 503"]
        return dict(sorted(counts.items()))

    def _never(self, result: Result) -> list[str]:
        if self._early or self._bug or self._options.seconds < SHORT:
            return []
        never = [f"{name}, with work in flight" for name, (_, hit) in sorted(result.faults.items()) if not hit]
        if self._options.seconds < LONG:
            return never if len(self._options.mix) <= 3 else []
        happened = {**result.recoveries, **result.details, "dead letter": result.events["dead_letter"]}
        happened |= {name: result.events[name] for name in ("quarantined", "duplicate", "superseded")}
        return never + [name for name in SOMETIMES if not happened.get(name)]
