"""How a run of the campaign is made up."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.bugs import BUGS
from tests.chaos.nemesis import WEIGHTS

HEAL_SECONDS = 45.0  # of a long run, at its end
SHORT = 9.0  # of trouble, in a run for one bug


@dataclass(frozen=True)
class Options:
    """One run."""

    seed: int
    seconds: float
    bug: str = ""
    mix: tuple[str, ...] = tuple(WEIGHTS)
    every: float = 2.0
    pauses: float = 0.03
    poison: float = 0.005
    killers: int = 4
    rate: float = 30.0
    gateways: int = 3
    with_source: bool = True
    with_schedules: bool = True
    with_plans: bool = True
    drain: float = 90.0
    heal: float = HEAL_SECONDS

    @property
    def trouble(self) -> float:
        """Seconds of trouble: the rest heals and drains."""
        return max(self.seconds - self.heal, self.seconds / 2)


def short(seed: int, bug: str = "") -> Options:
    """A run for one bug, or for none: small, and with the trouble that shows it."""
    chosen = BUGS[bug] if bug else None
    return Options(
        seed=seed, seconds=SHORT, bug=bug, mix=chosen.mix if chosen else ("kill", "double", "commit"), every=chosen.every if chosen else 1.2,
        pauses=chosen.pauses if chosen else 0.1, poison=chosen.poison if chosen else 0.05, killers=0, gateways=2, with_source=False,
        with_schedules=bug == "fire_begun_twice", with_plans=chosen.plans if chosen else True, drain=12.0 if bug else 60.0, heal=0.0,
    )  # fmt: skip
