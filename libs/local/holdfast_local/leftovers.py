"""Processes that an earlier owner of a data folder, itself killed, has left running.

They are known by what they are, never by a recorded pid, which could be somebody else's by now. The caller owns the folder
(``holdfast up`` holds its lock), so whatever else runs on it is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from holdfast.errors import Terminal

_WAIT_S = 10.0
_POLL_S = 0.02


async def end_leftovers(is_leftover: Callable[[psutil.Process], bool]) -> None:
    """SIGKILL every such process and return when all are gone. This process and those that it descends from are spared:
    somebody may have started it from what an earlier one had started.

    Raises:
        Terminal: one of them does not end.
    """
    deadline = time.monotonic() + _WAIT_S
    while found := [process for process in _others() if _matches(process, is_leftover)]:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() > deadline:
            raise Terminal(f"cannot end what an earlier start left running: pid {', '.join(str(p.pid) for p in found)}")
        await asyncio.sleep(_POLL_S)


def _others() -> Iterator[psutil.Process]:
    ourselves = psutil.Process()
    spared = {ourselves.pid, *(parent.pid for parent in ourselves.parents())}
    return (process for process in psutil.process_iter(["name"]) if process.pid not in spared)


def _matches(process: psutil.Process, is_leftover: Callable[[psutil.Process], bool]) -> bool:
    try:
        return is_leftover(process)
    except psutil.Error:  # it has ended, or it is somebody else's
        return False


def works_in(folder: Path, executable: str) -> Callable[[psutil.Process], bool]:
    """Programs of that name whose working folder is ``folder`` or below (an orphaned Postgres backend's is)."""

    def match(process: psutil.Process) -> bool:
        return process.info["name"] == executable and Path(process.cwd()).is_relative_to(folder)

    return match


def has_in_environment(name: str, value: str) -> Callable[[psutil.Process], bool]:
    """Processes that were started with that variable."""

    def match(process: psutil.Process) -> bool:
        return process.environ().get(name) == value

    return match
