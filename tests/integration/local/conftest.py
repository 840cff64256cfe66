"""``holdfast up`` as a process that a test starts, reads and signals, over stand-ins for Holdfast's services."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.local.process_tree import family
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
STATUS_LINE = re.compile(r"(\S+) +pid (\d+) +(\S+).* (\S+\.log)$")


class UpProcess:
    """A running ``holdfast up`` and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return self.said("holdfast is up at ")[0].rpartition(" ")[2]

    def said(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]

    def pids(self) -> dict[str, int]:
        """Each process's id, as the last status line has it."""
        return {found[1]: int(found[2]) for line in self.lines if (found := STATUS_LINE.match(line))}

    def descendants(self) -> list[int]:
        return family(self.pid)[1:]

    async def says(self, text: str, *, times: int = 1, timeout_s: float = 30.0) -> None:
        """Wait for a line."""

        def done() -> bool:
            return len(self.said(text)) >= times or self._reading.done()

        await wait_until(done, description=f"a line with {text!r} after {self.lines}", timeout_s=timeout_s)
        assert len(self.said(text)) >= times, self.lines

    async def exit_code(self, *, timeout_s: float = 30.0) -> int:
        async with asyncio.timeout(timeout_s):
            await self._reading
            return await self.process.wait()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.exit_code()


StartUp = Callable[..., Awaitable[UpProcess]]


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder on the module path in which Holdfast's services are stand-ins; they keep their history there."""
    folder = tmp_path / "stand_ins"
    for kind in ("gateway", "runner", "reaper"):
        package = folder / f"holdfast_{kind}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(
            f"from tests.integration.local.stand_in_service import main\nmain({kind!r})\n"
        )
    return folder


@pytest.fixture
async def start_up(tmp_path: Path, stand_ins: Path) -> AsyncIterator[StartUp]:
    """Start ``holdfast up ARGUMENT…`` with its data in ``tmp_path/data``, a free port, and the stand-ins."""
    started: list[UpProcess] = []

    async def start(*arguments: str, data: Path | None = None, port: int = 0) -> UpProcess:
        path = [str(stand_ins), str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "STAND_IN_DIR": str(stand_ins)}
        options = ["--data", str(data or tmp_path / "data"), "--port", str(port), *arguments]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast_local", "up", *options,
            env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        started.append(UpProcess(process))
        return started[-1]

    yield start
    for up in started:
        await up.end()
