"""An agent that counts aloud, at the pace that a test wants. It needs no model, which takes seconds to import."""

from __future__ import annotations

import asyncio

from holdfast_agent import Run, agent


@agent("counter")
async def counter(run: Run) -> dict[str, int]:
    """Counts to a number: the message is ``<number>`` or ``<number>x<milliseconds>``."""
    count, _, pause_ms = run.input["messages"][-1]["content"].partition("x")
    for n in range(1, int(count) + 1):
        run.emit_text(f"chunk-{n} ")
        await asyncio.sleep(int(pause_ms or 0) / 1000)
    return {"counted": await run.step("count", int, count)}
