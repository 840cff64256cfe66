"""Agents for the bench that do nothing but small steps: a number of them, or one after the other for ever."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

from holdfast_agent import Run, agent


@agent("many-steps")
async def many_steps(run: Run) -> int:
    """As many small steps as its input says, then one that waits for a file."""
    for number in range(run.input["steps"]):
        await run.step("small", small, number, idempotent=True)
    await run.step("last", until_there, run.input["flag"], idempotent=True)
    return int(run.input["steps"])


@agent("paced-steps")
async def paced_steps(run: Run) -> None:
    """Steps that take as long as its input says."""
    for number in count():
        await run.step("paced", paced, number, run.input["pause_s"], idempotent=True)


async def small(number: int) -> int:
    """Nearly nothing."""
    return number


async def paced(number: int, pause_s: float) -> int:
    """Nearly nothing, slowly."""
    await asyncio.sleep(pause_s)
    return number


async def until_there(path: str) -> None:
    """Wait for the file: the bench is another process."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
