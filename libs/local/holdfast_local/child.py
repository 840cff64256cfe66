"""One OS process of ours, tethered so that it ends with us, and the signals for it and for its own children.

Start children from a thread that lives as long as they should (on Linux the tether is tied to the thread). A ``Child`` is not
bound to an event loop: one loop may start it and another wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from holdfast_local import tether

_POLL_INTERVAL_S = 0.05
_KILL_WAIT_S = 10.0
_TAIL_BYTES = 8 * 1024


class Child:
    """A running (or ended) process. Its standard output and error are appended to ``log_path``; its input is empty."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        identity: str = "same",
    ) -> None:
        """Start ``command`` (its first word an absolute path) in a session of its own.

        A terminal's Ctrl-C therefore reaches only us, and the process's group id is its pid. ``identity``: see ``tether``.
        """
        self._group_ended = False
        launcher = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), identity]
        with log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - commands are ours
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id; it stays unused by others until ``exit_code`` has been seen."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, then its exit code, or minus the signal that ended it."""
        return self._popen.poll()

    async def exited(self) -> int:
        """Wait for its end, and end what it left in its process group. The answer is ``exit_code``."""
        while (code := self.exit_code) is None:
            await _something_may_have_happened(self.pid)
        self._kill_group()
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the process alone; nothing happens when it has ended."""
        self._popen.send_signal(number)

    def pause(self) -> None:
        """Freeze it and its children, wherever they are (Postgres's leave the process group). The leader first: it then
        starts no more of them."""
        self.signal(signal.SIGSTOP)
        self._signal_children(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it and its children go on."""
        self._signal_children(signal.SIGCONT)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL it, its children and what else is in its process group, and wait until the process is gone."""
        if self.exit_code is None:
            self.pause()
            self._signal_children(signal.SIGKILL)
            self.signal(signal.SIGKILL)
            self._popen.wait(timeout=_KILL_WAIT_S)
        self._kill_group()

    def _kill_group(self) -> None:
        """Once, right after its end: later the number may belong to somebody else's group."""
        if not self._group_ended:
            self._group_ended = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal_children(self, number: int) -> None:
        if self.exit_code is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


async def _something_may_have_happened(pid: int) -> None:
    """Return at once when the process ends where the system can tell (a pidfd), else after a short while."""
    if not hasattr(os, "pidfd_open"):
        await asyncio.sleep(_POLL_INTERVAL_S)
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        loop.add_reader(fd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def describe_exit(code: int) -> str:
    """``exit code 3``, or ``killed by SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def log_tail(log_path: Path, *, lines_max: int = 15) -> str:
    """The last lines of a log, for an error that has to explain itself."""
    try:
        with log_path.open("rb") as log:
            log.seek(max(0, log_path.stat().st_size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines_max:])
    except OSError:
        return ""
