"""The crowds that are measured."""

from __future__ import annotations

from dataclasses import dataclass

PACED_S = 4.0  # for how long events come at a calm pace


@dataclass(frozen=True, slots=True)
class Case:
    """So many viewers of so many runs (all of one, or one each). ``paced`` is how many events come in all while it is calm."""

    viewers: int
    runs: int
    paced: int
    window: int

    @property
    def each(self) -> int:
        """To how many viewers an event goes."""
        return self.viewers // self.runs

    @property
    def name(self) -> str:
        """In words."""
        if self.runs == 1:
            return f"{self.viewers:,} viewer{'s'[: self.viewers > 1]} of one run"
        return f"{self.runs:,} runs with one viewer each"


CASES = {
    "streams.1": Case(viewers=1, runs=1, paced=200, window=256),
    "streams.100": Case(viewers=100, runs=1, paced=200, window=64),
    "streams.1000": Case(viewers=1000, runs=1, paced=20, window=32),
    "streams.5000": Case(viewers=5000, runs=1, paced=4, window=16),
    "streams.runs": Case(viewers=1000, runs=1000, paced=1000, window=256),
}
