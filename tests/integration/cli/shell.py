"""``holdfast …`` as a process of its own, in a folder of its own: to its end, or watched; in a pipe, or on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.wait import wait_until


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Running:
    """A command that runs. ``out`` and ``err`` grow; on a terminal ``out`` is the screen, and ``err`` is empty."""

    process: asyncio.subprocess.Process
    out: str = ""
    err: str = ""
    reading: list[asyncio.Task[None]] = field(default_factory=list)

    async def says(self, text: str, *, timeout_s: float = 30.0) -> None:
        """Wait for words on standard error, or on the terminal."""
        await wait_until(
            lambda: text in self.err + self.out,
            description=f"{text!r} from a command that has said {(self.out, self.err)}",
            timeout_s=timeout_s,
        )

    async def run_id(self) -> str:
        """The id of the run that ``holdfast run`` has submitted."""
        await self.says("— run ")
        return (self.err + self.out).partition("— run ")[2].split(" ")[0]

    async def end(self, *, timeout_s: float = 60.0) -> Ran:
        """Wait for its end."""
        async with asyncio.timeout(timeout_s):
            code = await self.process.wait()
            await asyncio.gather(*self.reading)
        return Ran(code, self.out, self.err)


@dataclass
class Shell:
    """``cwd`` is where commands look for the ``.holdfast`` of a ``holdfast up``; ``env`` is added to the environment."""

    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    async def __call__(self, *arguments: str, timeout_s: float = 60.0, **env: str) -> Ran:
        """Run to the end."""
        return await (await self.start(*arguments, **env)).end(timeout_s=timeout_s)

    async def start(self, *arguments: str, **env: str) -> Running:
        """Start one with pipes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast_local", *arguments,
            cwd=self.cwd, env=self._environment(env), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        running = Running(process)
        assert process.stdout is not None
        assert process.stderr is not None
        for name, stream in (("out", process.stdout), ("err", process.stderr)):
            running.reading.append(asyncio.create_task(_read(running, name, stream)))
        self.started.append(running)
        return running

    async def start_on_a_terminal(self, *arguments: str) -> Running:
        """Start one whose standard output and error are a terminal."""
        ours, its = os.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "holdfast_local", *arguments,
                cwd=self.cwd, env=self._environment({"NO_COLOR": "1"}), stdin=its, stdout=its, stderr=its,
            )  # fmt: skip
        finally:
            os.close(its)
        running = Running(process)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
        )
        running.reading.append(asyncio.create_task(_read(running, "out", reader)))
        self.started.append(running)
        return running

    async def close(self) -> None:
        """End what still runs."""
        for running in self.started:
            if running.process.returncode is None:
                running.process.kill()
            await running.end()

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return {**inherited, **self.env, **env}


async def _read(running: Running, name: str, stream: asyncio.StreamReader) -> None:
    decoded = b""
    with contextlib.suppress(OSError):  # how a terminal ends whose last process has ended
        while chunk := await stream.read(65536):
            decoded += chunk
            setattr(running, name, decoded.decode(errors="replace").replace("\r\n", "\n"))
