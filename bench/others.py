"""How much of the machine is taken by processes that are not ours: what decides whether a figure can be concluded from. Linux.

Ours is this process and whatever descends from it. A process that ends between two looks takes along what it used since the
last look, so a look comes every second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import psutil

_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """``busy_s``: the machine's computing time so far; ``ours``: for each of our pids its own, and that of its ended children."""

    at: float
    busy_s: float
    ours: Mapping[int, tuple[float, float]]


def by_others(before: Look, after: Look, cores: int) -> float:
    """The share of the machine that others have taken between two looks, 0 to 1."""
    lived = sum(own - before.ours.get(pid, (0.0, 0.0))[0] for pid, (own, _) in after.ours.items())
    # The sums over all hold what ended children used, once: their parent has it now. Where a parent was killed with its
    # children nobody has it, and the difference falls short; what still lives has used that much at the least.
    in_all = sum(map(sum, after.ours.values())) - sum(map(sum, before.ours.values()))
    others_s = after.busy_s - before.busy_s - max(lived, in_all)
    return min(1.0, max(0.0, others_s / ((after.at - before.at) * cores)))


def look() -> Look:
    """Now."""
    times = psutil.cpu_times()
    busy_s = float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
    ours: dict[int, tuple[float, float]] = {}
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        ours[process.pid] = (used.user + used.system, used.children_user + used.children_system)
    return Look(time.monotonic(), busy_s, ours)


class Watch:
    """``with Watch() as watch:`` looks every second, from a thread of its own; afterwards ``watch.share`` is what others took."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-others", daemon=True)
        self._cores = psutil.cpu_count() or 1
        self._others_s = 0.0
        self._watched_s = 0.0

    def __enter__(self) -> Self:
        self._last = look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look_again()

    @property
    def share(self) -> float:
        """Of the machine, over all that was watched."""
        return self._others_s / self._watched_s if self._watched_s else 0.0

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._look_again()

    def _look_again(self) -> None:
        now = look()
        took_s = now.at - self._last.at
        if took_s > 0:
            self._others_s += by_others(self._last, now, self._cores) * took_s
            self._watched_s += took_s
        self._last = now


def quiet_for(watch_s: float) -> float:
    """The share that others take while this process does nothing for so long."""
    with Watch() as watch:
        time.sleep(watch_s)
    return watch.share
