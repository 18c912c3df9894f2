"""What Render's metrics come to: series of points in time, each with labels and a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Series = Mapping[str, Any]  # {labels[{field, value}], unit, values[{timestamp, value}]}


def measured(
    *, requests: Sequence[Series], latencies: Sequence[Series], others: Mapping[str, Sequence[Series]]
) -> dict[str, float]:
    """The metrics of a window; what nothing was measured of, is left out. `requests` come by status, `others` by their names.

    Units: error_rate is a share from 0 to 1, latency_p95_ms the worst of the window in milliseconds.
    """
    total = sum(_values(requests))
    failed = sum(_values([each for each in requests if _label(each, "statusCode").startswith("5")]))
    found = {"requests": total} | ({"error_rate": failed / total} if total else {})
    if slowest := [value * _milliseconds(each) for each in latencies for value in _values([each])]:
        found["latency_p95_ms"] = max(slowest)
    return found | {name: max(values) for name, each in others.items() if (values := _values(each))}


def _values(series: Sequence[Series]) -> list[float]:
    return [float(point["value"]) for each in series for point in each.get("values") or []]


def _label(series: Series, name: str) -> str:
    return next((str(label["value"]) for label in series.get("labels") or [] if label.get("field") == name), "")


def _milliseconds(series: Series) -> float:
    return 1000.0 if series.get("unit") in {"s", "seconds"} else 1.0
