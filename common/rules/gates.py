"""Gates: whether a release may go on, from readings of what it does. Failed, inconclusive and not measured are three things.

A gate reads `count` times, `interval_seconds` apart. A reading is successful or failed by its limits, inconclusive when there
is nothing to read (no requests: no error rate), and an error when it could not be read at all. As in Argo Rollouts, each has a
limit of its own: how many of them are put up with before the gate as a whole is that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from common.rules.deploys import METRICS
from common.rules.plan import Reader

MOST_READINGS, LONGEST_SECONDS, MOST_PATTERNS = 1000, 86_400, 50
PATTERN_CHARACTERS = 200


class Outcome(StrEnum):
    """What a reading, or a gate, says."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True)
class Gate:
    """What is read, how often, and what of it is put up with."""

    name: str  # health, logs, or a metric of rules/deploys.py
    count: int = 1
    interval_seconds: int = 10
    window_seconds: int = 60  # of metrics and logs: how far each reading looks back
    lowest: float | None = None
    highest: float | None = None
    expected: tuple[str, ...] = ()  # patterns of which each must be in the log
    forbidden: tuple[str, ...] = ()  # patterns of which none may be
    failure_limit: int = 0
    inconclusive_limit: int = 0
    error_limit: int = 4  # in a row: one answer that was lost says nothing


class Decided(NamedTuple):
    """What a gate says, and why, for people."""

    outcome: Outcome
    reason: str


def judged(gate: Gate, value: float | None) -> tuple[Outcome, str]:
    """What a reading of a metric says; None: there was nothing to read."""
    if value is None or math.isnan(value):
        return Outcome.INCONCLUSIVE, f"{gate.name} has no value"
    if gate.highest is not None and value > gate.highest:
        return Outcome.FAILED, f"{gate.name} is {value:g}, more than {gate.highest:g}"
    if gate.lowest is not None and value < gate.lowest:
        return Outcome.FAILED, f"{gate.name} is {value:g}, less than {gate.lowest:g}"
    return Outcome.SUCCESSFUL, f"{gate.name} is {value:g}"


def judged_lines(gate: Gate, lines: Sequence[str]) -> tuple[Outcome, str]:
    """What the lines of a window of a log say. A forbidden one speaks at once; without any line nothing is known."""
    for pattern in gate.forbidden:
        for line in lines:
            if re.search(pattern, line):
                return Outcome.FAILED, f"the log has {pattern!r}: {line[:200]}"
    missing = [pattern for pattern in gate.expected if not any(re.search(pattern, line) for line in lines)]
    if missing:
        return Outcome.INCONCLUSIVE, f"the log does not have {missing[0]!r} yet"
    return Outcome.SUCCESSFUL, f"{len(lines)} lines, nothing forbidden among them"


def decided(gate: Gate, readings: Sequence[tuple[Outcome, str]]) -> Decided | None:
    """What the gate says after these readings, oldest first; None: it has to read on."""
    said: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    errors = 0
    for outcome, reason in readings:
        said[outcome].append(reason)
        errors = errors + 1 if outcome is Outcome.ERROR else 0
    if len(said[Outcome.FAILED]) > gate.failure_limit:
        return Decided(Outcome.FAILED, said[Outcome.FAILED][-1])
    if errors > gate.error_limit:
        return Decided(Outcome.ERROR, f"{errors} times in a row it could not be measured: {said[Outcome.ERROR][-1]}")
    if len(said[Outcome.INCONCLUSIVE]) > gate.inconclusive_limit:
        return Decided(Outcome.INCONCLUSIVE, said[Outcome.INCONCLUSIVE][-1])
    told = len(readings) - len(said[Outcome.ERROR])
    if told >= gate.count:
        return Decided(Outcome.SUCCESSFUL, said[Outcome.SUCCESSFUL][-1] if said[Outcome.SUCCESSFUL] else "within its limits")
    return None


# As operators write them ---------------------------------------------------------------------------------------------

FIELDS = frozenset(
    {"count", "interval_seconds", "window_seconds", "failure_limit", "inconclusive_limit", "error_limit", "max", "min", "name"}
)
LOG_FIELDS = frozenset({"expected", "forbidden", "window_seconds", "interval_seconds", "error_limit", "inconclusive_limit"})
HEALTH_FIELDS = frozenset({"count", "interval_seconds", "failure_limit", "error_limit"})
GATES = frozenset({"health", "metrics", "logs"})


def read(given: Any, reader: Reader, pointer: str = "/gates") -> tuple[Gate, ...]:
    """The gates of a deploy; health is read once even if nobody asks for it. What is wrong is noted with the reader."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        reader.fault(pointer, "must be an object")
        return ()
    reader.unknown(given, GATES, pointer)
    found = [_health(given.get("health"), reader, f"{pointer}/health")]
    metrics = given["metrics"] if given.get("metrics") is not None else []
    if not isinstance(metrics, list) or len(metrics) > len(METRICS):
        reader.fault(f"{pointer}/metrics", f"must be a list of at most {len(METRICS)} metrics")
        metrics = []
    found += [_metric(each, reader, f"{pointer}/metrics/{no}") for no, each in enumerate(metrics)]
    if given.get("logs") is not None:
        found.append(_logs(given["logs"], reader, f"{pointer}/logs"))
    names = [gate.name for gate in found]
    for no, name in enumerate(names):
        if name in names[:no]:
            reader.fault(f"{pointer}/metrics", f"{name} is there twice")
    return tuple(found)


def _health(given: Any, reader: Reader, pointer: str) -> Gate:
    given = _object({} if given is None else given, HEALTH_FIELDS, reader, pointer)
    return Gate("health", **_counts(given, reader, pointer, count=1, failures=2))


def _metric(given: Any, reader: Reader, pointer: str) -> Gate:
    given = _object(given, FIELDS, reader, pointer)
    name = given.get("name")
    if name not in METRICS:
        reader.fault(f"{pointer}/name", f"must be one of {', '.join(METRICS)}")
    lowest, highest = (_number(given.get(key), reader, f"{pointer}/{key}") for key in ("min", "max"))
    if lowest is None and highest is None:
        reader.fault(pointer, "needs max, min or both: without a limit nothing can fail")
    if lowest is not None and highest is not None and lowest > highest:
        reader.fault(f"{pointer}/min", "is more than max")
    return Gate(str(name), lowest=lowest, highest=highest, **_counts(given, reader, pointer, count=3, failures=0))


def _logs(given: Any, reader: Reader, pointer: str) -> Gate:
    given = _object(given, LOG_FIELDS, reader, pointer)
    expected, forbidden = (patterns(given.get(key), reader, f"{pointer}/{key}") for key in ("expected", "forbidden"))
    if not expected and not forbidden:
        reader.fault(pointer, "needs patterns that are expected, forbidden or both")
    counts = _counts(given, reader, pointer, count=1, failures=0)
    counts["inconclusive_limit"] = counts["inconclusive_limit"] or 30  # a line that is expected takes its time
    return Gate("logs", expected=expected, forbidden=forbidden, **counts)


def _counts(given: Mapping[str, Any], reader: Reader, pointer: str, *, count: int, failures: int) -> dict[str, Any]:
    def whole(key: str, lowest: int, highest: int, default: int) -> int:
        return reader.whole(given.get(key), f"{pointer}/{key}", lowest, highest, default)

    return {
        "count": whole("count", 1, MOST_READINGS, count),
        "interval_seconds": whole("interval_seconds", 0, LONGEST_SECONDS, 10),
        "window_seconds": whole("window_seconds", 1, LONGEST_SECONDS, 60),
        "failure_limit": whole("failure_limit", 0, MOST_READINGS, failures),
        "inconclusive_limit": whole("inconclusive_limit", 0, MOST_READINGS, 0),
        "error_limit": whole("error_limit", 0, MOST_READINGS, 4),
    }


def _object(given: Any, known: frozenset[str], reader: Reader, pointer: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        reader.fault(pointer, "must be an object")
        return {}
    reader.unknown(given, known, pointer)
    return given


def _number(given: Any, reader: Reader, pointer: str) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal) or not math.isfinite(given):
        reader.fault(pointer, "must be a number")
        return None
    return float(given)


def patterns(given: Any, reader: Reader, pointer: str) -> tuple[str, ...]:
    """Regular expressions as operators write them; what is wrong with them is noted with the reader."""
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MOST_PATTERNS:
        reader.fault(pointer, f"must be a list of at most {MOST_PATTERNS} patterns")
        return ()
    for no, pattern in enumerate(given):
        try:
            if not isinstance(pattern, str) or not 1 <= len(pattern) <= PATTERN_CHARACTERS:
                reader.fault(f"{pointer}/{no}", f"must be a pattern of 1 to {PATTERN_CHARACTERS} characters")
            else:
                re.compile(pattern)
        except re.error as error:
            reader.fault(f"{pointer}/{no}", f"is no regular expression: {error}")
    return tuple(pattern for pattern in given if isinstance(pattern, str))
