"""Agents for the bench of waiting runs: two that wait, and one that tells what its runner holds."""

from __future__ import annotations

import asyncio
import gc
import os

from holdfast_agent import Run, agent


@agent("asks")
async def asks(run: Run) -> str:
    """Wait for an answer."""
    return str(await run.ask("Which?"))


@agent("sleeps")
async def sleeps(run: Run) -> None:
    """Wait for a point of time, in seconds since 1970."""
    await run.sleep(max(0.0, run.input["until"] - run.now().timestamp()))


@agent("census")
async def census(_: Run) -> dict[str, int | str]:
    """How many tasks and objects the process has that runs this, garbage left out."""
    await asyncio.sleep(0.1)  # what its submit and claim have set going is over by then
    gc.collect()
    return {"pod": os.environ["POD_NAME"], "tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}
