"""An agent whose tool says far more than a message of the event log holds."""

from __future__ import annotations

from holdfast_agent import Run, agent

SAID = '"\n' * (512 * 1024)


@agent("escapes")
async def escapes(run: Run) -> int:
    """Runs a tool that answers with a MiB of characters which JSON has to escape."""

    async def spill() -> str:
        run.emit_text("here it comes ")
        return SAID

    said = await run.step("spill", spill)
    run.emit("echoed", said[:100_000])
    return len(said)
