"""Call a ``pydantic_ai`` agent within a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pydantic_ai
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.durable_exec import replay_scope
from pydantic_ai.messages import ModelMessage, UserContent
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests

from holdfast_agent.pydantic_ai import model_step
from holdfast_agent.pydantic_ai.current import working_for
from holdfast_agent.pydantic_ai.deferred import answers_to
from holdfast_agent.pydantic_ai.durability import HoldfastDurability
from holdfast_agent.pydantic_ai.threads import LoopThreads
from holdfast_agent.retry import Retry
from holdfast_agent.run import Run
from holdfast_agent.settings import SeamlessSettings

Deps = TypeVar("Deps")
Output = TypeVar("Output")


async def run_agent(
    run: Run,
    agent: AbstractAgent[Deps, Output],
    prompt: str | Sequence[UserContent] | None = None,
    *,
    history: Sequence[ModelMessage] = (),
    deps: Any = None,
    model_retry: Retry = model_step.RETRY,
    seamless: bool | None = None,
    stream: bool = True,
    models: Mapping[str, Model] | None = None,
) -> AgentRunResult[Output]:
    """Call an agent, with its model requests and tool calls as steps of this run. For agents that do more than call one.

        @holdfast_agent.agent("writer")
        async def writer(run: Run) -> str:
            draft = await run_agent(run, drafter, run.input["topic"])
            return (await run_agent(run, editor, draft.output)).output

    Args:
        run: the run.
        agent: the agent; it is not changed.
        prompt: what the user says; None when ``history`` ends with it.
        history: what was said before; :func:`messages_of` makes it from ``await run.history()``.
        deps: the agent's dependencies, for its tools. They are not journalled.
        model_retry: how often a retryable failure of a model request is tried again.
        seamless: an answer that was cut goes on where it was cut, with providers that continue a trailing assistant message.
            None: as ``HOLDFAST_SEAMLESS`` says.
        stream: show the model's words as they come; off for models that cannot stream.
        models: the models besides the agent's own that its capabilities may switch to, by a name for the journal.

    Returns:
        pydantic_ai's own result.

    Raises:
        AgentFailed: a step failed for good: ``model_unavailable``, ``model_refused``, ``step_error`` and others.
        pydantic_ai.exceptions.AgentRunError: the agent itself gave up, for example after too many retries of a tool.
    """
    go_on = seamless if seamless is not None else SeamlessSettings().seamless
    messages, deferred = list(history), None
    pydantic_ai.BANNER_ENABLED = False  # a server's output is its log
    with working_for(run), replay_scope(), AbstractAgent.using_thread_executor(LoopThreads()):
        while True:
            durability = HoldfastDurability(run, model_retry=model_retry, seamless=go_on, stream=stream, models=models)
            result: AgentRunResult[Any] = await agent.run(
                prompt,
                message_history=messages,
                deferred_tool_results=deferred,
                deps=deps,
                capabilities=[durability],
            )
            if not isinstance(result.output, DeferredToolRequests):
                return result
            # a call that was approved may be deferred again; the capability resolves only the first of them
            deferred = await answers_to(run, result.output)
            prompt, messages = None, result.all_messages()
