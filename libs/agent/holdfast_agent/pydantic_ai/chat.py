"""What a run of a chat agent is asked: the thread so far, and the words of its input."""

from __future__ import annotations

from pydantic_ai.messages import ModelMessage

from holdfast.errors import AgentFailed
from holdfast_agent.backend import Said
from holdfast_agent.builtin.chat_input import content_text
from holdfast_agent.pydantic_ai.conversation import messages_of
from holdfast_agent.run import Run


async def asked_of(run: Run) -> tuple[list[ModelMessage], str | None]:
    """The messages before the user's last one, and that one; None: the input ends with a system message, which is among them.

    Raises:
        AgentFailed: ``nothing_asked``: the input ends with words of the assistant.
    """
    asked = [
        Said(str(each["role"]), [{"type": "text", "text": content_text(each["content"])}])
        for each in run.input["messages"]
    ]
    if asked[-1].role == "assistant":
        raise AgentFailed("nothing_asked", "the last message is the assistant's own: there is nothing to answer")
    said = [*await run.history(), *asked]
    if asked[-1].role == "user":
        return messages_of(said[:-1]), asked[-1].text
    return messages_of(said), None
