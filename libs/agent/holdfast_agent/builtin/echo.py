"""``echo``: says back what the user said last. For trying things out; it needs no model."""

from __future__ import annotations

from holdfast_agent.agent import agent
from holdfast_agent.builtin.chat_input import CHAT_INPUT, last_user_text
from holdfast_agent.run import Run


@agent("echo", input_schema=CHAT_INPUT)
async def echo(run: Run) -> dict[str, str]:
    """Says back what the user said last."""
    text = last_user_text(run.input)
    run.emit_text(text)
    return {"text": text}
