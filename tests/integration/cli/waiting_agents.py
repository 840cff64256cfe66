"""Agents that ask, and that take as long as a test wants: loaded by the runners of the CLI's tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from holdfast_agent import Run, agent


@agent("painter")
async def painter(run: Run) -> Any:
    """Asks for a colour, and whether it may paint with it."""
    colour = await run.ask("Which colour?", schema={"type": "string", "enum": ["red", "blue"]})
    decision = await run.approve("paint", {"colour": colour})
    said = f"painted it {decision.arguments['colour']}" if decision.approved else f"not painted: {decision.reason}"
    run.emit_text(said)
    return {"said": said}


async def _until_there(path: str) -> None:
    while not await asyncio.to_thread(Path(path).exists):  # noqa: ASYNC110 - the test makes it, in another process
        await asyncio.sleep(0.02)


def _count(path: str) -> int:
    with Path(path).open("a") as file:
        file.write("x")
    return len(Path(path).read_text())


@agent("digger")
async def digger(run: Run) -> Any:
    """Counts its first step in one file, and then waits for another one: the run's message names both."""
    counted, awaited = run.input["messages"][-1]["content"].split()
    count = await run.step("count", _count, counted)
    run.emit_text(f"dug {count}")
    await run.step("wait", _until_there, awaited, idempotent=True)
    run.emit_text(", done")
    return {"count": count}
