"""Agents of these tests, beside the built-in ones: one that asks in plain words, and one that does several things at once."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast_agent import Run, agent


@agent("asks")
async def asks(run: Run) -> dict[str, Any]:
    """Asks which size, then may do something."""
    run.emit_text("Let me ask. ")
    size = await run.ask("Which size?", schema={"enum": ["S", "M", "L"]})
    run.emit_text(f"Size {size}. ")
    approval = await run.approve("ship", {"size": size})
    run.emit_text("Shipped." if approval.approved else f"Not shipped: {approval.reason}.")
    return {"size": size, "shipped": approval.approved}


@agent("sideways")
async def sideways(run: Run) -> str:
    """Two steps side by side that say something by turns; the second one is through first. Then a short sleep."""
    first_has_begun, second_is_done = asyncio.Event(), asyncio.Event()

    async def left() -> str:
        run.emit_text("left-1 ")
        first_has_begun.set()
        await second_is_done.wait()
        run.emit_text("left-2 ")
        return "left"

    async def right() -> str:
        run.emit_text("right-1 ")
        run.emit("mark", {"n": 1})
        await first_has_begun.wait()
        run.emit_text("right-2 ")
        return "right"

    async def right_and_tell() -> None:
        await run.step("right", right)
        second_is_done.set()

    await run.gather(run.step("left", left), right_and_tell())
    await run.sleep(0.2)
    run.emit_text("over.")
    return "over"


@agent("meanwhile")
async def meanwhile(run: Run) -> str:
    """Asks for an approval, and says something while it waits for that."""

    async def later() -> None:
        await run.sleep(0.1)
        run.emit_text("Meanwhile. ")

    approval, _ = await run.gather(run.approve("ship", {}), later())
    run.emit_text("Approved." if approval.approved else "Denied.")
    return "over"
