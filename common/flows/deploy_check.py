"""Checking what is deployed: what a target serves, whether it is well, what its log says; asked now, and nothing is changed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from common import db, targets
from common.db import Transaction
from common.errors import AppError, Invalid, Unavailable, Unknown
from common.flows import lease
from common.outgoing import probe
from common.rules import gates, strategies
from common.rules.deploys import Ability, Target, is_commit
from common.rules.gates import Gate, Outcome
from common.rules.plan import Reader
from common.stores import deployments
from common.stores import targets as rows
from common.stores.deployments import LastLive
from common.stores.targets import Row

FIELDS = frozenset({"expected", "forbidden", "window_seconds"})
WINDOW_SECONDS = 600
LINE_CHARACTERS = 2000


def check(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Whether a target serves what its last live deployment wanted there, is well, and what its log says.

    `expected` and `forbidden` are patterns, `window_seconds` how far the log is read back; without patterns, those of the
    deployment's own log gate count. The answer: {target, ok, serving, wanted, differs, health, logs{outcome, reason}, problems};
    `problems` says for people why it is not ok. What nobody knows is null, and not ok; a log that its provider does not
    give, or that nobody said anything about, is null too, and does not count.

    Raises: Invalid; Unknown; Passive: who is PASSIVE calls nobody.
    """
    asked = _read(given)
    lease.held()
    with db.transaction("status", read_only=True) as tx:
        row = _row(tx, name)
        last = deployments.last_live(tx, name)
        now = deployments.now(tx).now
    look = _Look(row)
    serving = look.serving()
    differs = look.compared(last, serving)
    health = look.health()
    logs = look.logs(_gate(asked, last), last, now)
    return {
        "target": name,
        "ok": not look.problems,
        "serving": serving,
        "wanted": last and last.wanted(),
        "differs": differs,
        "health": health,
        "logs": logs,
        "problems": look.problems,
    }


def _read(given: dict[str, Any]) -> Gate:
    """What is to be looked for in the log. Raises: Invalid."""
    reader = Reader()
    reader.unknown(given, FIELDS, "")
    gate = Gate(
        "logs",
        expected=gates.patterns(given.get("expected"), reader, "/expected"),
        forbidden=gates.patterns(given.get("forbidden"), reader, "/forbidden"),
        window_seconds=reader.whole(
            given.get("window_seconds"), "/window_seconds", 1, gates.LONGEST_SECONDS, default=WINDOW_SECONDS
        ),
    )
    if reader.faults:
        message = "This cannot be checked as it stands."
        raise Invalid(message, errors=reader.faults)
    return gate


def _row(tx: Transaction, name: str) -> Row:
    row = next((row for row in rows.seen(tx) if row.name == name), None)
    if row is None:
        message = f"There is no target {name[:64]}."
        raise Unknown(message)
    return row


def _gate(asked: Gate, last: LastLive | None) -> Gate | None:
    """The patterns that were given, else those of the deployment's log gate; None: nobody said anything about the log."""
    if asked.expected or asked.forbidden:
        return asked
    kept = next((gate for gate in map(strategies.gate, last.gates) if gate.name == "logs"), None) if last else None
    return kept and Gate("logs", expected=kept.expected, forbidden=kept.forbidden, window_seconds=asked.window_seconds)


class _Look:
    """A look at a target: what is found wrong is gathered in `problems`.

    A provider that has not answered once is not asked again: each question may take its time, and the call has only so much.
    """

    def __init__(self, row: Row) -> None:
        self.problems: list[str] = []
        self._provider = targets.find(row.provider)
        self._target = Target(row.name, row.provider, row.config)
        self._silence: str | None = None

    def serving(self) -> dict[str, Any] | None:
        """What is live: the deploy by the provider's word, the commit by the running service's own, where it can be asked."""
        try:
            found = self._asked(lambda: self._provider.serving(self._target))
        except AppError as error:
            self.problems.append(f"nobody knows what it serves: {error.detail}")
            return None
        if self._target.config.get("version_path"):
            found = found._replace(commit=probe.version(self._target))
        return dict(found._asdict())

    def compared(self, last: LastLive | None, serving: dict[str, Any] | None) -> list[str] | None:
        """The fields that differ; None: nobody can tell."""
        if last is None:
            self.problems.append("nobody knows what it should serve: no deployment from here is live there")
            return None
        wanted = last.wanted()
        field = next((field for field in ("commit", "artifact", "id") if wanted[field]), "commit")
        if serving is None:
            return None
        if not wanted[field] or not serving[field]:
            self.problems.append(f"the {field} that it serves is not known")
            return None
        is_same = is_commit if field == "commit" else operator.eq
        if is_same(wanted[field], serving[field]):
            return []
        self.problems.append(f"it serves the {field} {serving[field]}, and should serve {wanted[field]}")
        return [field]

    def health(self) -> dict[str, Any]:
        """What the service answers where it says that it is well; it runs where its config says, else where its provider does."""
        target = self._target
        if not target.config.get("url"):
            try:
                target = Target(target.name, target.provider, {**target.config, "url": self._asked(self._address)})
            except AppError as error:
                self.problems.append(f"nobody knows where it runs: {error.detail}")
                return {"ok": False, "status": None, "took_ms": None, "said": error.detail}
        found = probe.health(target)
        if not found.ok:
            self.problems.append(f"it is not well: {found.said}")
        return found._asdict()

    def _address(self) -> str | None:
        found: str | None = self._provider.address(self._target)
        return found

    def logs(self, gate: Gate | None, last: LastLive | None, now: datetime) -> dict[str, Any]:
        """What its log says since its deployment began, as far back as the window goes."""
        if Ability.LOGS not in self._provider.CAN:
            return {"outcome": None, "reason": f"{self._target.provider} does not give the log of what runs there"}
        if gate is None:
            return {"outcome": None, "reason": "nobody said what must or must not be in it"}
        since = now - timedelta(seconds=gate.window_seconds)
        if last is not None:
            since = max(since, last.since)
        try:
            lines = self._asked(lambda: self._provider.lines(self._target, since, now))
        except AppError as error:
            outcome, reason = Outcome.ERROR, error.detail
        else:
            outcome, reason = gates.judged_lines(gate, [line.text[:LINE_CHARACTERS] for line in lines])
        if outcome is not Outcome.SUCCESSFUL:
            self.problems.append(f"its log is {outcome.value}: {reason}")
        return {"outcome": outcome.value, "reason": reason}

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Raises: AppError, as the provider's file says."""
        if self._silence is not None:
            raise Unavailable(self._silence)
        try:
            return ask()
        except Unavailable as error:
            self._silence = error.detail
            raise
