"""deploy.verify: wait until a target is live, read back that it serves what was wanted, and pass its gates.

After `trigger` that is what allows it to be promoted; after `promotion` it is watched once more, for the bake time, and its log
is looked at. Each call does what is due and ends: waiting costs nobody anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from common import db, encoding
from common.clients import deploys
from common.clients.deploys import Done, Place
from common.db import Transaction
from common.errors import SourceRefused, Throttled, Unavailable, Waiting
from common.outgoing import probe
from common.rules import gates, strategies
from common.rules.deploys import Ability
from common.rules.gates import Gate, Outcome
from common.rules.instants import instant
from common.rules.shard import Context, Ran
from common.stores import deployments

KIND = "deploy.verify"
IS_OURS = True
LINE_CHARACTERS = 2000


def plan(config: dict[str, Any]) -> int:
    """One shard for each target of the wave."""
    return deploys.counted(config)


def run(shards: range, context: Context) -> Ran:
    """Look, and read what is due."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard))


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    phase = context.stage.config["after"]
    if at.part.provider_id is None:
        deploys.refuse("never_triggered", f"No deploy of {at.target.name} was begun.")
    deploy = deploys.finished(at, at.provider.get(at.target, at.part.provider_id))
    serving = deploys.served(at)
    if not deploys.serves(serving, at.wanted):
        at.wait(f"it is called live, but what it serves is {serving.commit or serving.artifact or 'not known'}")
    said = _all_passed(at, phase)
    if phase == "promotion":
        _baked(at)

    def write(tx: Transaction) -> None:
        deployments.mark(tx, at.deployment.id, at.target.name, "verified")
        deploys.told(tx, at.deployment, f"verify after {phase}", "passed", target=at.target.name)

    return Done({"target": at.target.name, "deploy": deploy.id, "serving": serving._asdict(), "gates": said}, write)


def _all_passed(at: Place, phase: str) -> dict[str, str]:
    """What every gate says. All that are due are read before any is waited for, and one that failed ends it at once.

    Raises: Waiting; Refused.
    """
    said: dict[str, str] = {}
    waiting: Waiting | None = None
    for gate in _gates(at, phase):
        try:
            said[gate.name] = _passed(at, phase, gate)
        except Waiting as error:
            waiting = waiting or error
    if waiting is not None:
        raise waiting
    return said


def _gates(at: Place, phase: str) -> Sequence[Gate]:
    """Those that a target has: its log is looked at once it was promoted, metrics where its provider measures."""
    found = []
    for stored in at.deployment.gates:
        gate = strategies.gate(stored)
        if gate.name == "logs":
            applies = phase == "promotion" and at.can(Ability.LOGS)
        elif gate.name == "health":
            applies = bool(at.target.config.get("url"))
        else:
            applies = at.can(Ability.METRICS)
        if applies:
            found.append(gate)
    return found


def _passed(at: Place, phase: str, gate: Gate) -> str:
    """What a gate says, when it says that all is well, or somebody has decided that it does not matter.

    Raises: Waiting, while it has to read on, or a person has to decide; Refused, when it failed.
    """
    key = f"{phase}:{gate.name}"
    known = at.part.gates.get(key) or {"readings": []}
    if known.get("outcome") == Outcome.SUCCESSFUL or known.get("waived_by"):
        return str(known["outcome"])
    readings = [(Outcome(outcome), reason) for outcome, reason in known["readings"]]
    last = instant(known["read_at"]) if known.get("read_at") else None
    if last is None or at.now - last >= timedelta(seconds=gate.interval_seconds):
        readings.append(_read(at, gate))
        known = known | {"readings": [list(each) for each in readings], "read_at": at.now}
    decided = gates.decided(gate, readings)
    if decided is not None:
        known = known | {"outcome": decided.outcome.value, "reason": decided.reason}
    deploys.note(at, gates={key: encoding.loads(encoding.dumps(known))})
    if decided is None:
        at.wait(f"{gate.name} has been read {len(readings)} times")
    if decided.outcome is Outcome.INCONCLUSIVE:
        _hold(at, gate, decided.reason)
    if decided.outcome is not Outcome.SUCCESSFUL:
        deploys.refuse(f"gate_{decided.outcome.value}", f"{at.target.name}, {gate.name}: {decided.reason}")
    return decided.outcome.value


def _hold(at: Place, gate: Gate, reason: str) -> NoReturn:
    """Nobody can tell from what was read: a person decides, or the stage's time runs out, and then it is taken back.

    Raises: Waiting.
    """
    with db.transaction("worker") as tx:
        why = f"{gate.name} of {at.target.name} is inconclusive: {reason}"
        if deployments.hold(tx, at.deployment.id, why):
            deploys.told(tx, at.deployment, "gate", "inconclusive", target=at.target.name, gate=gate.name, reason=reason)
    at.wait(f"{gate.name} is inconclusive: approve the deployment, or abort it")


def _read(at: Place, gate: Gate) -> tuple[Outcome, str]:
    """One reading. What could not be read is neither good nor bad."""
    since = max(at.now - timedelta(seconds=gate.window_seconds), at.part.intended_at or at.now)
    try:
        if gate.name == "health":
            seen = probe.health(at.target)
            return (Outcome.SUCCESSFUL if seen.ok else Outcome.FAILED), f"{seen.said} in {seen.took_ms:.0f} ms"
        if gate.name == "logs":
            lines = at.provider.lines(at.target, since, at.now)
            return gates.judged_lines(gate, [line.text[:LINE_CHARACTERS] for line in lines])
        return gates.judged(gate, at.provider.measured(at.target, since, at.now).get(gate.name))
    except (SourceRefused, Throttled, Unavailable) as error:
        return Outcome.ERROR, error.detail


def _baked(at: Place) -> None:
    """Raises: Waiting, until it has been out there for the bake time."""
    left = timedelta(seconds=at.deployment.strategy["bake_seconds"]) - (at.now - (at.part.promoted_at or at.now))
    if left > timedelta():
        at.wait(f"it bakes for {left.total_seconds():.0f} s more")
