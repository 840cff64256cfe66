"""Keeps one process running: starts it again with a back-off when it dies, and says so.

It starts and watches; ending the process for good is its owner's business (``Process.stop``, after this was cancelled).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from holdfast.errors import HoldfastError, Terminal
from holdfast_local.child import describe_exit, log_tail
from holdfast_local.process import Process, ProcessStartFailed

BACK_OFF_MIN_S = 0.25
BACK_OFF_MAX_S = 10.0
SETTLED_AFTER_S = 10.0
DEATHS_BEFORE_READY_MAX = 3
EXIT_CONFIG = 78  # sysexits.h; Holdfast's services say with it that starting again will not help


class NeverReady(Terminal):
    """A process died again and again, or for a reason that stays, before it was ready for the first time."""


def back_off_s(deaths: int) -> float:
    """How long to wait before the start after the n-th death in a row (from 1)."""
    return min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2.0 ** min(deaths - 1, 16))


class Supervised:
    """One process and what happened to it. ``ready`` is set once it has been ready for the first time."""

    def __init__(self, process: Process, *, say: Callable[[str], None], restart: bool) -> None:
        self.process = process
        self.ready = asyncio.Event()
        self._say = say
        self._restart = restart
        self._deaths = 0
        self._spawned = asyncio.Event()
        self._start_now = asyncio.Event()
        self._ended_on_purpose = False

    async def keep_running(self) -> None:
        """Run until cancelled; the process goes on then.

        Raises:
            NeverReady: there is no use in starting it again.
        """
        while True:
            started = time.monotonic()
            pid = None
            try:
                if self.process.pid is None:
                    await self.process.spawn()
                pid = self.process.pid
                self._say(self.status_line())
                self._spawned.set()
                await self.process.until_ready()
                self.ready.set()
            except (HoldfastError, OSError) as failed:
                if pid is None:  # else it has ended, which comes next
                    self._say(str(failed))
            code = await self.process.exited() if pid is not None else None
            await self._after_end(pid, code, lived_s=time.monotonic() - started)

    async def restart(self, *, ready_timeout_s: float) -> None:
        """End the process in good order and start it again at once, in place of ``keep_running``'s own back-off.

        Raises:
            ProcessStartFailed: the new one has died, or is not ready in time; ``keep_running`` goes on with it.
        """
        self._spawned.clear()
        if self.process.pid is None:
            self._start_now.set()
        else:
            self._ended_on_purpose = True
            await self.process.stop()
        try:
            async with asyncio.timeout(ready_timeout_s):
                await self._spawned.wait()
                await self.process.until_ready()
        except TimeoutError as late:
            raise ProcessStartFailed(f"{self.process.name} is not ready after {ready_timeout_s:.0f} s") from late

    def status_line(self) -> str:
        """Name, process id, address, log."""
        process = self.process
        return f"{process.name:<12} pid {process.pid or '-':<8} {process.where:<24} {process.log_path}"

    async def _after_end(self, pid: int | None, code: int | None, *, lived_s: float) -> None:
        """Return when it should be started again."""
        if self._ended_on_purpose:
            self._ended_on_purpose = False
            return
        self._deaths = 1 if lived_s >= SETTLED_AFTER_S else self._deaths + 1
        how = "could not be started" if code is None else f"ended: {describe_exit(code)}"
        line = f"{self.process.name} (pid {pid or '-'}) {how}"
        if not self.ready.is_set() and (
            not self._restart or code == EXIT_CONFIG or self._deaths >= DEATHS_BEFORE_READY_MAX
        ):
            raise NeverReady(f"{line}; the end of {self.process.log_path}:\n{log_tail(self.process.log_path)}")
        if not self._restart:
            self._say(f"{line}; it stays down (--no-restart)")
            await self._start_now.wait()
        else:
            delay_s = back_off_s(self._deaths)
            self._say(f"{line}; starting it again in {delay_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._start_now.wait(), delay_s)
        self._start_now.clear()
