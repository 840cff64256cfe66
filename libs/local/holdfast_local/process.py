"""A process that is of use once it is ready: started until it answers, stopped in good order, killed, started again.

What all of ours have in common, the embedded servers and the services. Not safe for concurrent ``start`` and ``stop``.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from abc import ABC, abstractmethod
from pathlib import Path

from holdfast.errors import Terminal
from holdfast_local.child import Child, describe_exit, log_tail

_READY_POLL_MIN_S = 0.02
_READY_POLL_MAX_S = 0.1
_PROBE_TIMEOUT_S = 1.0


class ProcessStartFailed(Terminal):
    """A process did not come up; the message carries the tail of its log."""


class Process(ABC):
    """One OS process. ``where`` says to a person where it can be reached."""

    stop_signal: int = signal.SIGTERM
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._child: Child | None = None

    @property
    @abstractmethod
    def where(self) -> str:
        """Its address, for a person."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid if self._child is not None and self._child.exit_code is None else None

    async def start(self) -> None:
        """Start it and return when it really answers; nothing happens when it runs.

        Raises:
            ProcessStartFailed: it died or did not answer in time; nothing of it is left running.
        """
        await self.spawn()
        try:
            async with asyncio.timeout(self.start_timeout_s):
                await self.until_ready()
        except TimeoutError as late:
            self.kill()
            raise ProcessStartFailed(self._why(f"did not answer within {self.start_timeout_s:.0f} s")) from late
        except BaseException:
            self.kill()
            raise

    async def spawn(self) -> None:
        """Start it without waiting for more than its pid."""
        if self.pid is None:
            await self._prepare()
            self._child = self._spawn()

    async def until_ready(self) -> None:
        """Return when the running process answers, however long that takes.

        Raises:
            ProcessStartFailed: it has ended.
        """
        pause_s = _READY_POLL_MIN_S
        while True:
            if self._child is None:
                raise ProcessStartFailed(f"{self.name} was never started")
            if (code := self._child.exit_code) is not None:
                raise ProcessStartFailed(self._why(f"ended at its start ({describe_exit(code)})"))
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                if await asyncio.wait_for(self._is_ready(), _PROBE_TIMEOUT_S):
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _READY_POLL_MAX_S)

    async def stop(self) -> bool:
        """End it in good order, by force when that takes longer than ``stop_timeout_s``. Safe to repeat.

        Returns:
            False when force was needed.
        """
        if self._child is None or self.pid is None:
            return True
        self._child.signal(self.stop_signal)
        self._child.resume()  # a frozen process would not see the signal
        try:
            await asyncio.wait_for(self._child.exited(), self.stop_timeout_s)
        except TimeoutError:
            self.kill()
            return False
        return True  # and nothing more: whoever watches it may have started the next one already

    def kill(self) -> None:
        """SIGKILL to all of its processes; returns when it is gone."""
        if self._child is not None and self.pid is not None:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP to all of its processes: connections stay open and nothing answers."""
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        """SIGCONT to all of its processes."""
        if self._child is not None:
            self._child.resume()

    async def exited(self) -> int:
        """Wait until the process has ended; its exit code, or minus the number of the signal that ended it.

        Raises:
            RuntimeError: it was never started.
        """
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return await self._child.exited()

    async def _prepare(self) -> None:
        """Whatever has to be there before it can start."""
        return

    @abstractmethod
    def _spawn(self) -> Child:
        """Start the process."""

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Connect and ask. OSError and a broken answer mean: not yet."""

    def _why(self, what: str) -> str:
        tail = log_tail(self.log_path)
        return f"{self.name} {what}; the end of {self.log_path}:\n{tail}" if tail else f"{self.name} {what}"
