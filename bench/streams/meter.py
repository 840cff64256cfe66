"""What processes use: computing time to the nanosecond, memory, and how much of the machine others took meanwhile. Linux."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


def cpu_s(pid: int) -> float:
    """The computing time of a process so far, all its threads, user and system."""
    clock = (~pid << 3) | 2  # clock_getcpuclockid(3) in Linux: CPUCLOCK_SCHED of that process
    return time.clock_gettime_ns(clock) / 1e9


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    return int(psutil.Process(pid).memory_info().rss)


def _machine_busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


@dataclass(frozen=True, slots=True)
class Used:
    """``cpu_s`` of the process that is looked at, in ``wall_s``; ``by_others``: the share of the machine that went elsewhere."""

    wall_s: float
    cpu_s: float
    by_others: float


class Meter:
    """``meter = Meter(pid, all_ours)``, then ``meter.read()`` for what was used since."""

    def __init__(self, pid: int, ours: Sequence[int]) -> None:
        self._pid = pid
        self._wall, self._busy, self._cpu = time.monotonic(), _machine_busy_s(), cpu_s(pid)
        self._ours = {each: cpu_s(each) for each in (psutil.Process().pid, *ours)}

    def read(self) -> Used:
        """What was used since this meter was made."""
        wall, busy, cpu = time.monotonic() - self._wall, _machine_busy_s() - self._busy, cpu_s(self._pid) - self._cpu
        ours = sum(cpu_s(each) - before for each, before in self._ours.items() if psutil.pid_exists(each))
        return Used(wall, cpu, max(0.0, busy - ours) / (wall * (psutil.cpu_count() or 1)))
