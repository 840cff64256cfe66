"""A child process with pipes, in a process group of its own: how it is started, interrupted and killed.

Nothing of it outlives the runner, not even a runner killed with SIGKILL: see ``launcher.py``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from acp import default_environment

from holdfast.errors import AgentFailed
from holdfast_agent.acp.updates import cleaned

_LAUNCHER = Path(__file__).with_name("launcher.py")
_STDERR_LINES_MAX = 20
_STDERR_LINE_CHARS_MAX = 500
_SWEEP_S_MAX = 4.0
"""How long the launcher may take to kill everything: more than it gives itself, since it alone finds what left the group."""
_KILL_S_MAX = 1.0
_READ_BYTES = 64 * 1024


class ChildProcess:
    """One child. Its stdin and stdout are ``writer`` and ``reader``; of its stderr the last lines are kept."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("started with pipes")
        self._process = process
        self._lifeline: int | None = lifeline
        self.writer = process.stdin
        self.reader = process.stdout
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES_MAX)
        self._reading = asyncio.create_task(self._read_stderr(process.stderr), name=f"stderr of {process.pid}")

    @classmethod
    async def start(cls, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> ChildProcess:
        """Start a command. Of the runner's own environment it has HOME, LOGNAME, PATH, SHELL, TERM and USER, and no more.

        Raises:
            AgentFailed: ``bad_command``: there is no such command or folder.
        """
        environment = {**default_environment(), **env}
        if not os.path.isdir(cwd):  # noqa: PTH112, ASYNC240 - one look at a local folder
            raise AgentFailed("bad_command", f"cannot start {command[0]!r}: there is no folder {str(cwd)!r}")
        found = shutil.which(command[0], path=environment.get("PATH"))
        if "/" in command[0] and found is None:
            found = shutil.which(str(cwd / command[0]))
        if found is None:
            raise AgentFailed("bad_command", f"cannot start {command[0]!r}: no such command, or it may not be executed")
        ours, theirs = os.pipe()[::-1]
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_LAUNCHER), str(theirs), found, *command[1:],
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                cwd=cwd, env=environment, start_new_session=True, pass_fds=(theirs,),
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Of the launcher, which leads the process group."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last lines of stderr, as the record can hold them."""
        return str(cleaned("\n".join(self._stderr)))

    async def exited(self, timeout_s: float) -> int | None:
        """The exit code, negative for a signal; None when it has not ended within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                code = await self._process.wait()
                await asyncio.wait({self._reading}, timeout=0.2)
                return code
        except TimeoutError:
            return None

    def interrupt(self) -> None:
        """SIGINT to its process group."""
        self._signal(signal.SIGINT)

    def let_go(self) -> None:
        """Have the launcher kill everything, at once and without waiting for it. Safe to repeat."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def kill(self) -> None:
        """SIGKILL to everything that it has started. Returns when it is gone."""
        self.let_go()
        try:
            if await self.exited(_SWEEP_S_MAX) is None:
                self._signal(signal.SIGKILL)
                await self.exited(_KILL_S_MAX)
        finally:
            self._reading.cancel()
            self.writer.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last lines, however much it says."""
        rest = ""
        while read := await stderr.read(_READ_BYTES):
            lines = (rest + read.decode(errors="replace")).split("\n")
            rest = lines.pop()[-_STDERR_LINE_CHARS_MAX:]
            self._stderr.extend(line[:_STDERR_LINE_CHARS_MAX] for line in lines if line.strip())
        if rest.strip():
            self._stderr.append(rest)
