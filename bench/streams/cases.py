"""The crowds that are measured."""

from __future__ import annotations

from dataclasses import dataclass

PACED_S = 4.0  # for how long events come at a calm pace


@dataclass(frozen=True, slots=True)
class Case:
    """So many viewers of so many runs, the same number of each. ``paced`` is how many events come in all while it is calm.

    What is wanted, if anything: ``share_min`` is of the bare loop's delivered events per second, in a flood; ``p50_max_ms`` is
    from append to socket, at the calm pace.
    """

    viewers: int
    runs: int
    paced: int
    window: int
    share_min: float | None = None
    p50_max_ms: float | None = None

    @property
    def each(self) -> int:
        """To how many viewers an event goes."""
        return self.viewers // self.runs

    @property
    def name(self) -> str:
        """In words."""
        if self.runs == 1:
            return f"{self.viewers:,} viewer{'s'[: self.viewers > 1]} of one run"
        return f"{self.runs:,} runs with {'one viewer' if self.each == 1 else f'{self.each} viewers'} each"


CASES = {
    "streams.1": Case(viewers=1, runs=1, paced=200, window=256),
    "streams.100": Case(viewers=100, runs=1, paced=200, window=64, p50_max_ms=3.0),
    "streams.1000": Case(viewers=1000, runs=1, paced=20, window=32),
    "streams.2000": Case(viewers=2000, runs=1, paced=10, window=32, share_min=0.7),
    "streams.5000": Case(viewers=5000, runs=1, paced=4, window=16),
    "streams.runs": Case(viewers=1000, runs=1000, paced=1000, window=256),
    "streams.runs2": Case(viewers=2000, runs=1000, paced=1000, window=256, share_min=0.7),
}
