"""Computing time of processes, with what their children have used and left: Postgres makes a process for each connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psutil

from bench.streams.meter import cpu_s


def tree_s(pid: int) -> float:
    """Seconds of computing time of a process, its living descendants and the ended ones that were waited for."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    total = cpu_s(pid) + float(times.children_user + times.children_system)
    for child in root.children(recursive=True):
        try:
            total += cpu_s(child.pid)
        except (psutil.NoSuchProcess, OSError):  # it has just ended, and is in its parent's sum the next time
            continue
    return total


class Split:
    """``split = Split({"gateway": [pid], …})``, then ``split.since()``: seconds used by each since it was made."""

    def __init__(self, parts: Mapping[str, Sequence[int]]) -> None:
        self._parts = parts
        self._before = self._now()

    def since(self) -> dict[str, float]:
        """Seconds of computing time, by part."""
        now = self._now()
        return {part: max(0.0, now[part] - before) for part, before in self._before.items()}

    def _now(self) -> dict[str, float]:
        return {part: sum(tree_s(pid) for pid in pids) for part, pids in self._parts.items()}
