"""What is compared: a system that takes jobs and ends each of them durably, and what one turn of it has shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.runs.used import Split
from holdfast_local.child import Child
from tests.support.wait import wait_until

PATIENCE_S = 180.0
PAUSE_S = 0.004  # between two looks at what is measured: the error of its end
_LEFT_TO_TELL = 0.2
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Taken:
    """One turn: ``jobs`` in ``wall_s`` seconds from the first submit to the last durable end; the last submit was answered
    after ``submit_s``, when ``left`` jobs had not ended. ``used`` is computing time by part of the system, in seconds."""

    jobs: int
    wall_s: float
    submit_s: float
    left: int
    used: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Jobs per second, end to end."""
        return self.jobs / self.wall_s

    @property
    def submit_rate(self) -> float:
        """Jobs per second that its own submitter could submit, while the workers were at work."""
        return self.jobs / self.submit_s

    @property
    def drain_rate(self) -> float | None:
        """Jobs per second that the workers ended when nobody submitted any more; None when too few were left to tell."""
        return self.left / (self.wall_s - self.submit_s) if self.left >= self.jobs * _LEFT_TO_TELL else None

    def each_us(self) -> dict[str, float]:
        """Microseconds of computing time for each job, by part."""
        return {part: used / self.jobs * 1e6 for part, used in self.used.items()}

    def in_short(self) -> str:
        """On a line."""
        parts = ", ".join(f"{part} {us:,.0f}" for part, us in self.each_us().items())
        total = sum(self.each_us().values())
        return (
            f"{self.rate:,.0f} jobs/s ({self.jobs:,} in {self.wall_s:.2f} s; submitted at {self.submit_rate:,.0f}/s); "
            f"computing {total:,.0f} µs each: {parts}"
        )


class Program:
    """A process of the bench's own. Its output goes to a file; the last line of it that is JSON is its result."""

    def __init__(self, command: Sequence[str], log_path: Path) -> None:
        self._log_path = log_path
        self._log_path.unlink(missing_ok=True)
        self._child = Child(command, log_path=log_path, cwd=_ROOT)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def kill(self) -> None:
        """End it, however it is."""
        self._child.kill()

    def said(self) -> str:
        """What it has printed."""
        return self._log_path.read_text(errors="replace")

    async def result(self) -> dict[str, Any]:
        """Wait until it has printed its result; it may still be tidying up then.

        Raises:
            RuntimeError: it has ended without one, or takes too long; the message is the end of what it has printed.
        """
        patience_ends_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < patience_ends_at:
            exit_code = self._child.exit_code
            whole_lines = self.said().rpartition("\n")[0].splitlines()
            for line in reversed(whole_lines):
                if line.startswith("{"):
                    return dict(json.loads(line))
            if exit_code is not None:
                break
            await asyncio.sleep(PAUSE_S)
        raise RuntimeError(f"{self._log_path.stem} has no result: {self.said()[-2000:]}")

    async def succeeded(self) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: it failed; the message is the end of what it has printed.
        """
        async with asyncio.timeout(PATIENCE_S):
            code = await self._child.exited()
        if code != 0:
            raise RuntimeError(f"{self._log_path.stem} ended with {code}: {self.said()[-2000:]}")

    async def until_says(self, word: str) -> None:
        """Wait until it has printed ``word``."""

        def has_said() -> bool:
            assert self._child.exit_code is None, f"{self._log_path.stem} has ended: {self.said()[-2000:]}"
            return word in self.said()

        await wait_until(has_said, description=f"{self._log_path.stem} says {word}", timeout_s=60.0)


class Record(Protocol):
    """What a system's own record says."""

    async def ended(self) -> int:
        """How many jobs have ended well, of all that there ever were."""

    async def some_left(self) -> bool:
        """Whether there is one that has not ended."""


async def all_ended(start: Callable[[], Program], jobs: int, record: Record, split: Split) -> Taken:
    """Start a submitter; wait until it has submitted all and the record says that none is left, then until it has ended well.

    Raises:
        RuntimeError: not all of them have ended well.
    """
    before = await record.ended()
    submitter = start()
    try:
        submitted = await submitter.result()
        left = jobs - (await record.ended() - before)
        async with asyncio.timeout(PATIENCE_S):
            while await record.some_left():  # noqa: ASYNC110 - the record of another process sets no event here
                await asyncio.sleep(PAUSE_S)
        ended_ns = time.monotonic_ns()
        used = {**split.since(), "submitter": float(submitted["cpu_s"])}
        await submitter.succeeded()
    finally:
        submitter.kill()
    if (ended := await record.ended() - before) != jobs:
        raise RuntimeError(f"{ended} of {jobs} jobs have ended well in the record")
    first_ns, last_ns = submitted["first_ns"], submitted["last_ns"]
    return Taken(jobs, (ended_ns - first_ns) / 1e9, (last_ns - first_ns) / 1e9, left, used)
