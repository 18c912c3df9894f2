"""Configuration drift: the variables of targets compared by hashes that only we can make; no value is in what comes out."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Side:
    """One target's variables; None: they could not be read, for a reason that `error` says."""

    target: str
    variables: Mapping[str, str] | None
    required: Sequence[str] = ()
    own: Sequence[str] = ()  # not compared with other targets
    error: str | None = None


def hashed(name: str, value: str, key: str) -> str | None:
    """What tells whether two values of a variable are the same; None for one that nobody may read."""
    if not value:
        return None
    said = b"%d:%s%s" % (len(name.encode()), name.encode(), value.encode())
    return hmac.new(key.encode(), said, hashlib.sha256).hexdigest()[:16]


def compared(sides: Sequence[Side], key: str) -> dict[str, Any]:
    """How the targets differ, in names and hashes.

    {status: same, drifted or unknown; targets[{name, variables, missing[], error}]; keys[{name, on[], missing_on[], values:
    same, different, unknown or single, hashes{target: hash}}]}: `missing` are variables that a target must have, `keys` those
    in which targets differ, or may. Unknown: nothing differs in what could be read, and not everything could.
    """
    keys = [each for name in _names(sides) if (each := _key(name, sides, key))["is_told"]]
    for each in keys:
        del each["is_told"]
    targets = [_target(side) for side in sides]
    has_drifted = any(target["missing"] for target in targets) or any(
        each["missing_on"] or each["values"] == "different" for each in keys
    )
    is_unknown = any(side.variables is None for side in sides) or any(each["values"] == "unknown" for each in keys)
    return {"status": "drifted" if has_drifted else "unknown" if is_unknown else "same", "targets": targets, "keys": keys}


def _names(sides: Sequence[Side]) -> list[str]:
    return sorted({name for side in sides for name in side.variables or ()})


def _target(side: Side) -> dict[str, Any]:
    known = side.variables
    return {
        "name": side.target,
        "variables": None if known is None else len(known),
        "missing": [] if known is None else sorted(set(side.required) - set(known)),
        "error": side.error,
    }


def _key(name: str, sides: Sequence[Side], key: str) -> dict[str, Any]:
    compared = [(side.target, side.variables) for side in sides if side.variables is not None and name not in side.own]
    hashes = {target: hashed(name, variables[name], key) for target, variables in compared if name in variables}
    missing = [target for target, variables in compared if name not in variables]
    known = {each for each in hashes.values() if each is not None}
    values = "same"
    if len(hashes) == 1:
        values = "single"
    elif len(known) > 1:
        values = "different"
    elif None in hashes.values():
        values = "unknown"
    is_shared = bool(hashes) and len(compared) > 1
    return {
        "name": name,
        "on": sorted(hashes),
        "missing_on": sorted(missing) if hashes else [],
        "values": values,
        "hashes": hashes,
        "is_told": is_shared and (bool(missing) or values in {"different", "unknown"}),
    }
