"""What an agent's author imports.

from holdfast_agent import Run, agent

@agent("greeter")
async def greeter(run: Run) -> dict[str, str]:
    run.emit_text("Hello!")
    return {"said": "Hello!"}
"""

from holdfast.errors import AgentFailed
from holdfast_agent.agent import Agent, agent
from holdfast_agent.approval import Approval
from holdfast_agent.backend import OnUnknown, Said
from holdfast_agent.failures import ChildFailedError, NeedsPersonError, PermanentError, RetryableError
from holdfast_agent.retry import Retry
from holdfast_agent.run import Run

__all__ = [
    "Agent",
    "AgentFailed",
    "Approval",
    "ChildFailedError",
    "NeedsPersonError",
    "OnUnknown",
    "PermanentError",
    "Retry",
    "RetryableError",
    "Run",
    "Said",
    "agent",
]
