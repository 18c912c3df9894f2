"""What a campaign tells: a table for people, JSON for machines, and a picture of throughput with the bands of its faults."""

from __future__ import annotations

import bisect
import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.chaos.invariants import SKIPPED
from tests.chaos.nemesis import Harm

SHOWN = 12
WIDTH, HEIGHT, MARGIN = 1200, 320, 40
COLOURS = ("#d73027", "#4575b4", "#fdae61", "#66bd63", "#8073ac", "#bf812d", "#35978f", "#de77ae")


@dataclass
class Result:
    """How a campaign went."""

    seed: int
    bug: str
    seconds: float
    violations: dict[str, list[str]] = field(default_factory=dict)
    never: list[str] = field(default_factory=list)  # what had to happen at least once and did not
    events: dict[str, int] = field(default_factory=dict)
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)  # done, and met work in flight
    recoveries: dict[str, int] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)  # by kind of fault: seconds from its end to the next acknowledgement
    details: dict[str, int] = field(default_factory=dict)
    drain_seconds: float = 0.0

    @property
    def broken(self) -> list[str]:
        """Every violation, with its invariant."""
        return [f"{name}: {fault}" for name, found in self.violations.items() for fault in found]

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated, and everything happened that had to."""
        return not self.broken and not self.never


def recovery(harms: Iterable[Harm], acknowledged: Sequence[float], until: float) -> dict[str, float]:
    """The longest time from the end of a fault to the next acknowledgement, by kind; those after `until` are left out."""
    longest: dict[str, float] = collections.defaultdict(float)
    for harm in harms:
        if harm.is_hit and harm.until < until and (place := bisect.bisect_left(acknowledged, harm.until)) < len(acknowledged):
            longest[harm.name] = max(longest[harm.name], acknowledged[place] - harm.until)
    return dict(longest)


def table(result: Result) -> str:
    """For people."""
    title = f"\nCampaign: seed {result.seed}{f', bug {result.bug}' if result.bug else ''}, {result.seconds:.0f} s"
    lines = [
        f"{title}, drained in {result.drain_seconds:.1f} s",
        _listed("events", result.events),
        _listed("faults (met work in flight/done)", {name: f"{hit}/{done}" for name, (done, hit) in sorted(result.faults.items())}),
        _listed("recoveries", result.recoveries),
        _listed(
            "longest time to the next acknowledgement, s", {name: f"{each:.2f}" for name, each in sorted(result.longest.items())}
        ),
        _listed("besides", result.details),
        "not checked",
        *(f"  {name}: {why}" for name, why in SKIPPED.items()),
        "invariants",
        *(
            f"  {'ok ' if not found else 'NOT'} {name}{f': {len(found)}' if found else ''}"
            for name, found in result.violations.items()
        ),
    ]
    for name, found in result.violations.items():
        lines += [f"  {name}: {fault}" for fault in found[:SHOWN]]
        lines += [f"  {name}: ... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    lines += [f"  never happened: {name}" for name in result.never]
    total = sum(hit for _, hit in result.faults.values())
    if result.is_good:
        bound = f" (so at most {3 / total:.3f} per fault, with 95 % confidence)" if total else ""
        lines.append(f"Nothing was violated in {total} faults{bound}.")
    else:
        again = (f"--bug {result.bug}" if result.bug else f"--seconds {result.seconds:.0f}") + f" --seed {result.seed}"
        lines.append(f"FAILED. Again: .venv/bin/python -m tests.chaos.campaign {again}")
    return "\n".join(lines)


def _listed(title: str, values: Mapping[str, Any]) -> str:
    words = [f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in values.items()]
    rows, row = [], ""
    for word in words:
        if len(row) + len(word) > 120:
            rows, row = [*rows, row], ""
        row += f"{'   ' if row else ''}{word}"
    return "\n  ".join([title, *rows, row])


def as_json(result: Result) -> str:
    """For machines."""
    said = {**vars(result), "is_good": result.is_good}
    return json.dumps(said, indent=1, default=str)


def picture(path: Path, begin: float, end: float, series: Mapping[str, Sequence[float]], harms: Sequence[Harm]) -> None:
    """An SVG: events a second, by name, over time; each fault a band in the colour of its kind, and its name."""
    span = max(1, int(end - begin) + 1)
    rates = {name: _rates(moments, begin, span) for name, moments in series.items()}
    most = max([1, *(count for counts in rates.values() for count in counts)])
    inner = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def x(at: float) -> float:
        return MARGIN + (at - begin) / span * inner[0]

    kinds = sorted({harm.name for harm in harms})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="9">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for position, harm in enumerate(sorted(harms, key=lambda each: each.at)):
        colour = COLOURS[kinds.index(harm.name) % len(COLOURS)]
        width = max(2.0, x(harm.until) - x(harm.at))
        parts.append(
            f'<rect x="{x(harm.at):.1f}" y="{MARGIN}" width="{width:.1f}" height="{inner[1]}" fill="{colour}" opacity="0.2"/>'
            f'<text x="{x(harm.at):.1f}" y="{MARGIN - 4 - position % 3 * 10}" fill="{colour}">{escape(harm.name)}</text>'
        )
    for number, (name, counts) in enumerate(rates.items()):
        points = " ".join(
            f"{x(begin + second + 0.5):.1f},{HEIGHT - MARGIN - count / most * inner[1]:.1f}" for second, count in enumerate(counts)
        )
        colour = ("#222222", "#1a9850")[number % 2]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{MARGIN + number * 180}" y="{HEIGHT - 8}" font-size="12" fill="{colour}">{escape(name)} a second</text>'
        )
    parts.append(f'<text x="4" y="{MARGIN + 4}">{most}</text><text x="4" y="{HEIGHT - MARGIN}">0</text>')
    parts += [f'<text x="{x(begin + second):.0f}" y="{HEIGHT - MARGIN + 12}">{second} s</text>' for second in range(0, span, 20)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>\n"]))


def _rates(moments: Sequence[float], begin: float, span: int) -> list[int]:
    counts = [0] * span
    for moment in moments:
        if 0 <= (second := int(moment - begin)) < span:
            counts[second] += 1
    return counts
