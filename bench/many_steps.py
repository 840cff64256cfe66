"""An agent for the bench: as many steps as its input says, then one that waits for a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast_agent import Run, agent


@agent("many-steps")
async def many_steps(run: Run) -> int:
    """Does small steps."""
    for number in range(run.input["steps"]):
        await run.step("small", small, number, idempotent=True)
    await run.step("last", until_there, run.input["flag"], idempotent=True)
    return int(run.input["steps"])


async def small(number: int) -> int:
    """Nearly nothing."""
    return number


async def until_there(path: str) -> None:
    """Wait for the file: the bench is another process."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
