"""The service's rare sins, on request: a task that is lost, a task that is delivered twice."""

from __future__ import annotations

import random


class Faults:
    """Probabilities that a task vanishes after it was accepted, or is delivered twice; the same seed sins the same way."""

    def __init__(self, lose: float = 0.0, double: float = 0.0, seed: int | None = None) -> None:
        self.set(lose, double, seed)

    def set(self, lose: float, double: float, seed: int | None) -> None:
        """Sin like this from now on."""
        self.lose, self.double, self.seed = lose, double, seed
        self._dice = random.Random(seed)  # noqa: S311 - chance that can be repeated is the point

    def draw(self) -> dict[str, bool]:
        """The fate of the next task."""
        return {"is_lost": self._dice.random() < self.lose, "is_doubled": self._dice.random() < self.double}
