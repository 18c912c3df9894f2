"""How a deploy goes over its targets: read from what was asked, and laid out as the stages of a plan.

Waves follow each other with a barrier between them: every target of a wave is verified, voted on, promoted and watched before
the next is touched. `rolling` is one target a wave, `blue_green` is one wave whose targets stand in for others, to which the
traffic is switched when they are promoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common.rules import gates, quorum
from common.rules.deploys import Target, Wanted
from common.rules.gates import Gate
from common.rules.plan import Reader

STRATEGIES = ("rolling", "blue_green", "waves")
MOST_TARGETS, MOST_WAVES = 50, 10
DAY = 86_400
FIELDS = frozenset({"targets", "commit", "artifact", "strategy", "gates", "approvals", "background"})
STRATEGY_FIELDS = frozenset(
    {"kind", "waves", "replaces", "wave_seconds", "bake_seconds", "vote_seconds", "rollback_seconds", "quorum"}
)
BACKGROUND_FIELDS = frozenset({"assets", "prime", "audit"})
BOOTSTRAP_SECONDS, RUNTIME_SECONDS = 420, 600  # both together: the 17 minutes in which a deploy is to be ready
FINALIZE_SECONDS = 600
SHARD_SECONDS = 600  # a migration, or a look at all of the code, in one shard


@dataclass(frozen=True)
class Strategy:
    """How the targets are gone over, and how long each part may take."""

    kind: str
    waves: tuple[tuple[str, ...], ...]
    replaces: dict[str, str]  # blue_green: which target hands its traffic over to which
    wave_seconds: int = 1800  # from triggering a wave to its verification
    bake_seconds: int = 0  # how long a promoted wave is watched before the next
    vote_seconds: int = 60
    rollback_seconds: int = 900
    quorum: int | None = None  # how many of Autonomy's three must say yes; None: all


@dataclass(frozen=True)
class Asked:
    """A deploy as it was asked for."""

    targets: tuple[str, ...]
    wanted: Wanted
    strategy: Strategy
    gates: tuple[Gate, ...]
    approvals: int | None
    background: dict[str, Any]


def read(given: Mapping[str, Any]) -> Asked | list[dict[str, str]]:
    """A deploy, or what is wrong with it: pointers and messages."""
    reader = Reader()
    reader.unknown(given, FIELDS, "")
    targets = _names(given.get("targets"), "/targets", reader)
    wanted = _wanted(given, reader)
    strategy = _strategy(given.get("strategy"), targets, reader)
    if strategy.kind == "blue_green" and wanted.commit is None:
        reader.fault("/commit", "blue_green needs it: what people get is told by its commit")
    asked = Asked(
        targets=targets,
        wanted=wanted,
        strategy=strategy,
        gates=gates.read(given.get("gates"), reader),
        approvals=reader.whole(given.get("approvals"), "/approvals", 0, 10, 0) if given.get("approvals") is not None else None,
        background=_background(given.get("background"), reader),
    )
    return reader.faults or asked


def _wanted(given: Mapping[str, Any], reader: Reader) -> Wanted:
    said = {key: given[key] for key in ("commit", "artifact") if given.get(key) is not None}
    if len(said) != 1:
        reader.fault("", "needs a commit or an artifact, and not both")
        return Wanted()
    ((key, value),) = said.items()
    text = reader.text(value, f"/{key}", 255)
    return Wanted(**{key: text})


def _names(given: Any, pointer: str, reader: Reader) -> tuple[str, ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_TARGETS:
        reader.fault(pointer, f"must be a list of 1 to {MOST_TARGETS} names of targets")
        return ()
    for no, name in enumerate(given):
        if reader.text(name, f"{pointer}/{no}", 63) and name in given[:no]:
            reader.fault(f"{pointer}/{no}", f"{name} is there twice")
    return tuple(name for name in given if isinstance(name, str))


def _strategy(given: Any, targets: Sequence[str], reader: Reader) -> Strategy:
    given = {} if given is None else {"kind": given} if isinstance(given, str) else given
    if not isinstance(given, dict):
        reader.fault("/strategy", "must be the name of a strategy, or an object")
        given = {}
    reader.unknown(given, STRATEGY_FIELDS, "/strategy")
    kind = given.get("kind", "rolling")
    if kind not in STRATEGIES:
        reader.fault("/strategy/kind", f"must be one of {', '.join(STRATEGIES)}")

    def seconds(key: str, lowest: int, default: int) -> int:
        return reader.whole(given.get(key), f"/strategy/{key}", lowest, DAY, default)

    return Strategy(
        kind=str(kind),
        waves=_waves(given.get("waves"), str(kind), targets, reader),
        replaces=_replaces(given.get("replaces"), str(kind), targets, reader),
        wave_seconds=seconds("wave_seconds", 1, 1800),
        bake_seconds=seconds("bake_seconds", 0, 0),
        vote_seconds=seconds("vote_seconds", 1, 60),
        rollback_seconds=seconds("rollback_seconds", 1, 900),
        quorum=reader.whole(given["quorum"], "/strategy/quorum", 1, len(quorum.AUTONOMY), 1)
        if given.get("quorum") is not None
        else None,
    )


def _waves(given: Any, kind: str, targets: Sequence[str], reader: Reader) -> tuple[tuple[str, ...], ...]:
    if kind != "waves":
        if given is not None:
            reader.fault("/strategy/waves", f"{kind} makes its waves itself")
        if kind == "rolling" and len(targets) > MOST_WAVES:
            reader.fault("/targets", f"rolling goes over {MOST_WAVES} targets at most: name waves of several")
        return tuple((target,) for target in targets) if kind == "rolling" else (tuple(targets),)
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_WAVES:
        reader.fault("/strategy/waves", f"must be a list of 1 to {MOST_WAVES} lists of targets")
        return ()
    waves = [_names(wave, f"/strategy/waves/{no}", reader) for no, wave in enumerate(given)]
    listed = [name for wave in waves for name in wave]
    for name in listed:
        if name not in targets:
            reader.fault("/strategy/waves", f"{name} is not among the targets")
        elif listed.count(name) > 1:
            reader.fault("/strategy/waves", f"{name} is in two waves")
    for name in targets:
        if name not in listed:
            reader.fault("/strategy/waves", f"{name} is in no wave")
    return tuple(waves)


def _replaces(given: Any, kind: str, targets: Sequence[str], reader: Reader) -> dict[str, str]:
    if kind != "blue_green":
        if given is not None:
            reader.fault("/strategy/replaces", "only blue_green switches traffic from one target to another")
        return {}
    if not isinstance(given, dict) or set(given) != set(targets):
        reader.fault("/strategy/replaces", "must say for every target which one hands its traffic over to it")
        return {}
    for name, other in given.items():
        if not isinstance(other, str) or other in targets:
            reader.fault(f"/strategy/replaces/{name}", "must be a target that is not deployed to")
    return {name: str(other) for name, other in given.items()}


def not_switchable(target: Target, former: Target) -> str | None:
    """Why the traffic of one target cannot be switched to another: nobody could tell that it was; None when it can."""
    needs = [(target, "public_url"), (target, "version_path"), (former, "url"), (former, "version_path")]
    missing = [f"{name} of {each.name}" for each, name in needs if not each.config.get(name)]
    return f"what people get cannot be read back without {', '.join(missing)}" if missing else None


def _background(given: Any, reader: Reader) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        reader.fault("/background", "must be an object")
        return {}
    reader.unknown(given, BACKGROUND_FIELDS, "/background")
    for key in ("assets", "prime"):
        if given.get(key) is not None and not isinstance(given[key], dict):
            reader.fault(f"/background/{key}", "must be the config of that shard kind")
    return dict(given)


# As a plan -----------------------------------------------------------------------------------------------------------


def plan(deployment: str, name: str, asked: Asked, migrating: Sequence[str] = ()) -> dict[str, Any]:
    """The plan of a deploy, as plans are submitted: what must be so first, then each wave, then the end.

    `migrating` are the targets that have a command of their own that brings their database up to date.
    """
    shared = {"deployment": deployment}
    every = list(asked.targets)
    stages: list[dict[str, Any]] = [
        _stage("bootstrap", "deploy.bootstrap", shared | {"targets": every}, [], BOOTSTRAP_SECONDS),
        _stage("runtime", "deploy.runtime", shared | {"targets": list(migrating)}, ["bootstrap"], RUNTIME_SECONDS),
    ]
    before = "runtime"
    for no, wave in enumerate(asked.strategy.waves, 1):
        config = shared | {"targets": list(wave), "wave": no}
        stages += [
            _stage(f"trigger-{no}", "deploy.trigger", config, [before], asked.strategy.wave_seconds),
            _stage(f"verify-{no}", "deploy.verify", config | {"after": "trigger"}, [f"trigger-{no}"], asked.strategy.wave_seconds),
            _stage(f"vote-{no}", "deploy.vote", config, [f"verify-{no}"], asked.strategy.vote_seconds),
            _stage(
                f"promote-{no}",
                "deploy.promote",
                config,
                [f"vote-{no}"],
                asked.strategy.wave_seconds + asked.strategy.vote_seconds,
            ),
            _stage(
                f"watch-{no}",
                "deploy.verify",
                config | {"after": "promotion"},
                [f"promote-{no}"],
                asked.strategy.wave_seconds + asked.strategy.bake_seconds,
            ),
        ]
        before = f"watch-{no}"
    stages.append(_stage("finalize", "deploy.finalize", shared, [before], FINALIZE_SECONDS))
    return _whole(name, stages)


def background(deployment: str, name: str, asked: Asked) -> dict[str, Any]:
    """The plan of what goes on beside a deploy and after it, and is never waited for."""
    config = {"deployment": deployment, "targets": list(asked.targets)}
    stages = [_stage("diagnostics", "deploy.diagnostics", config, [], DAY)]
    if asked.background.get("assets") is not None:
        stages.append({"id": "assets", "kind": "assets.stage", "config": asked.background["assets"]})
    if asked.background.get("prime") is not None:
        stages.append({"id": "prime", "kind": "deploy.prime", "config": asked.background["prime"], "dependencies": ["diagnostics"]})
    return _whole(f"{name}: background", stages) | {"priority": 8}


def rollback(deployment: str, name: str, targets: Sequence[str], seconds: int) -> dict[str, Any]:
    """The plan that puts targets back: all of them at once, for it is urgent."""
    config = {"deployment": deployment, "targets": list(targets)}
    stages = [
        _stage("rollback", "deploy.rollback", config, [], seconds),
        _stage("finalize", "deploy.finalize", {"deployment": deployment}, ["rollback"], FINALIZE_SECONDS),
    ]
    return _whole(name, stages) | {"priority": 1}


def _stage(identifier: str, kind: str, config: dict[str, Any], needs: list[str], seconds: int) -> dict[str, Any]:
    limit = seconds * 1000
    return {"id": identifier, "kind": kind, "config": config, "dependencies": needs, "timebox_ms": limit, "slo_ms": limit}


def _whole(name: str, stages: list[dict[str, Any]]) -> dict[str, Any]:
    total = sum(stage.get("timebox_ms", DAY * 1000) for stage in stages)
    return {
        "name": name, "priority": 2, "stages": stages,
        "constraints": {"timebox_ms": min(total, 7 * DAY * 1000), "retry_budget": 1000, "shard_timeout_ms": SHARD_SECONDS * 1000},
    }  # fmt: skip


def kept(asked: Asked) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The strategy and the gates as they are stored."""
    return asdict(asked.strategy), [asdict(gate) for gate in asked.gates]


def gate(stored: Mapping[str, Any]) -> Gate:
    """A gate as it was stored."""
    limits = {name: None if stored[name] is None else float(stored[name]) for name in ("lowest", "highest")}
    return Gate(**{**stored, **limits, "expected": tuple(stored["expected"]), "forbidden": tuple(stored["forbidden"])})
