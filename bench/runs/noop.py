"""An agent for the bench: one step that does nothing."""

from __future__ import annotations

from holdfast_agent import Run, agent


@agent("noop")
async def noop(run: Run) -> int:
    """Does nothing, durably."""
    return await run.step("nothing", _nothing, idempotent=True)


async def _nothing() -> int:
    return 1
