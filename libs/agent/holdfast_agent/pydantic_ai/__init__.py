"""Any ``pydantic_ai.Agent`` as a Holdfast agent, whose model requests and tool calls are journalled steps.

import pydantic_ai
from holdfast_agent.pydantic_ai import durable

guide = durable(pydantic_ai.Agent("openai:gpt-5-mini", tools=[look_up]), name="guide")

``durability`` and ``steps`` are the engine (pydantic_ai's public ``durable_exec`` hooks), ``calling`` calls an agent
within a run, ``wrapper`` makes a Holdfast agent of one. The rest is pure: shapes of steps, what is hashed, the thread's messages.
"""

from holdfast_agent.pydantic_ai.calling import run_agent
from holdfast_agent.pydantic_ai.conversation import messages_of
from holdfast_agent.pydantic_ai.current import current_run
from holdfast_agent.pydantic_ai.tool_step import ToolStep, tool_step
from holdfast_agent.pydantic_ai.wrapper import durable

__all__ = ["ToolStep", "current_run", "durable", "messages_of", "run_agent", "tool_step"]
