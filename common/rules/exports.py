"""The export of a plan's tree, as JSON lines, and its check: with nothing but the file, and keys where signatures are to count.

The first line is of the plan: {type: plan, format, plan_id, plan_name, status, hash, seed, merkle_root, finished_at,
stages[{no, id, kind, shards, merkle_root}], certificate, signature}. Then come chunks in the order of stages and shards:
{type: chunk, stage, lo, hi, digests, peaks, parity}, the last three in base64, as the tree holds them. The last is
{type: end}. The root is over every leaf, so the signature over the first line is one over all of it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common import encoding
from common.rules import capability, faults, merkle, proofs
from common.rules.capability import Key
from common.rules.faults import Written

FORMAT = "tidemark-export-1"
GOOD, BAD, UNKNOWN, UNCHECKED, NONE = "good", "bad", "unknown key", "unchecked", "none"


class Altered(NamedTuple):
    """What of a stage does not fit: shards [lo, hi)."""

    stage: str
    lo: int
    hi: int
    what: str  # as in rules/faults.py; missing: no leaf; root: all fits but the root

    def told(self) -> dict[str, Any]:
        """As it is shown."""
        is_one = self.hi - self.lo == 1
        return {"stage": self.stage, "shard": self.lo if is_one else None, "from": self.lo, "to": self.hi, "what": self.what}


@dataclass(frozen=True)
class Verdict:
    """What came of a check."""

    is_good: bool  # whole and unaltered, and whatever could be checked of its signatures is good
    plan_id: str | None
    checked_shards: int
    merkle_root: str | None
    computed_root: str | None
    signature: str  # good, bad, unknown key, unchecked (no key was given)
    certificate: str  # the same, or none
    altered: list[Altered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # for people


def plan_line(plan: Mapping[str, Any], key: Key) -> str:
    """The first line of an export, signed."""
    said = {"type": "plan", "format": FORMAT, **plan}
    return encoding.dumps(said | {"signature": capability.attested(said, "export", key)})


def chunk_line(stage: int, chunk: Written) -> str:
    """A line of leaves."""
    coded = {name: base64.b64encode(getattr(chunk, name) or b"").decode() for name in ("digests", "peaks", "parity")}
    return encoding.dumps({"type": "chunk", "stage": stage, "lo": chunk.lo, "hi": chunk.hi, **coded})


END = encoding.dumps({"type": "end"})


class Checker:
    """Reads an export line by line; holds one chunk at a time."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = keys
        self._plan: dict[str, Any] | None = None
        self._folds: dict[int, merkle.Fold] = {}
        self._names: dict[int, str] = {}
        self._altered: list[Altered] = []
        self._problems: list[str] = []
        self._has_ended = False

    def line(self, text: str) -> None:
        """Look at the next line. What cannot be read is a problem of the verdict's, never an error."""
        try:
            said = encoding.loads(text)
            kind = said["type"]
            if kind == "plan" and self._plan is None:
                self._begin(said)
            elif kind == "chunk" and self._plan is not None:
                self._chunk(said, merkle.hasher(self._plan["hash"]))
            elif kind == "end":
                self._has_ended = True
            else:
                self._problems.append(f"a line of type {str(kind)[:32]} stands where none may be")
        except (ValueError, KeyError, TypeError, AttributeError):
            self._problems.append("a line cannot be read")

    def _begin(self, said: dict[str, Any]) -> None:
        if said["format"] != FORMAT:
            message = f"the format is {str(said['format'])[:32]}, not {FORMAT}"
            self._problems.append(message)
        hash_ = merkle.hasher(said["hash"])
        bytes.fromhex(said["seed"])
        self._folds = {stage["no"]: merkle.Fold(hash_) for stage in said["stages"]}
        self._names = {stage["no"]: str(stage["id"]) for stage in said["stages"]}
        self._plan = said

    def _chunk(self, said: dict[str, Any], hash_: merkle.Hash) -> None:
        stage, lo, hi = said["stage"], said["lo"], said["hi"]
        digests, peaks, parity = (base64.b64decode(said[name], validate=True) for name in ("digests", "peaks", "parity"))
        computed, found = faults.checked(hash_, Written(lo, hi, digests, peaks, parity or None))
        self._altered += [Altered(self._names[stage], *fault) for fault in found]
        self._folds[stage].push(lo, hi, computed)

    def verdict(self) -> Verdict:
        """What came of it, after the last line."""
        plan = self._plan
        if plan is None:
            return Verdict(
                is_good=False, plan_id=None, checked_shards=0, merkle_root=None, computed_root=None, signature=UNCHECKED,
                certificate=NONE, problems=[*self._problems, "there is no line of the plan"],
            )  # fmt: skip
        if not self._has_ended:
            self._problems.append("the end is missing")
        self._compare(plan)
        roots = [self._folds[number].root() for number in sorted(self._folds)]
        computed = proofs.plan_root(merkle.hasher(plan["hash"]), plan["seed"], roots).hex()
        if computed != plan.get("merkle_root"):
            self._problems.append("the leaves do not give the root")
        signature, certificate = self._signature(plan), self._certificate(plan)
        is_trusted = {signature, certificate} <= ({GOOD, NONE} if self._keys else {UNCHECKED, NONE})
        return Verdict(
            is_good=is_trusted and not self._altered and not self._problems,
            plan_id=str(plan.get("plan_id")),
            checked_shards=sum(fold.size for fold in self._folds.values()),
            merkle_root=plan.get("merkle_root"),
            computed_root=computed,
            signature=signature,
            certificate=certificate,
            altered=self._altered,
            problems=self._problems,
        )

    def _compare(self, plan: dict[str, Any]) -> None:
        """The root of each stage with the one that is said; where it differs and no leaf is named, the stage is."""
        named = {each.stage for each in self._altered}
        for stage in plan["stages"]:
            fold, name = self._folds[stage["no"]], self._names[stage["no"]]
            if fold.root().hex() == stage.get("merkle_root") or name in named:
                continue
            shards = stage.get("shards")
            is_short = isinstance(shards, int) and fold.size < shards
            self._altered.append(Altered(name, fold.size, shards, "missing") if is_short else Altered(name, 0, fold.size, "root"))

    def _signature(self, plan: dict[str, Any]) -> str:
        said = {name: value for name, value in plan.items() if name != "signature"}
        return _checked(said, str(plan.get("signature")), "export", self._keys)

    def _certificate(self, plan: dict[str, Any]) -> str:
        found = plan.get("certificate")
        if not found:
            return NONE
        try:
            statement = found["statement"]
            is_of_this = statement["subject"][0]["digest"][plan["hash"]] == plan["merkle_root"]
            return _checked(statement, str(found["signature"]), "certificate", self._keys) if is_of_this else BAD
        except (KeyError, TypeError, IndexError):
            return BAD


def _checked(statement: dict[str, Any], signature: str, purpose: str, keys: Sequence[Key]) -> str:
    if not keys:
        return UNCHECKED
    if signature.partition(".")[0] not in {key[0] for key in keys}:
        return UNKNOWN
    return GOOD if capability.is_attested(statement, signature, purpose, keys) else BAD
