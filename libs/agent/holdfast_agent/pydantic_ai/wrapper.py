"""A ``pydantic_ai`` agent as a Holdfast agent."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.models import Model
from pydantic_core import PydanticSerializationError, to_jsonable_python

from holdfast.errors import AgentFailed
from holdfast_agent.agent import Agent
from holdfast_agent.agent import agent as holdfast_agent
from holdfast_agent.backend import OnUnknown
from holdfast_agent.builtin.chat_input import CHAT_INPUT
from holdfast_agent.pydantic_ai import model_step
from holdfast_agent.pydantic_ai.calling import run_agent
from holdfast_agent.pydantic_ai.chat import asked_of
from holdfast_agent.retry import Retry
from holdfast_agent.run import Run

Deps = TypeVar("Deps")


def durable(
    agent: AbstractAgent[Deps, Any],
    name: str | None = None,
    *,
    deps: Callable[[Run], Deps] | None = None,
    description: str | None = None,
    version: str | None = None,
    on_unknown: OnUnknown | str | None = None,
    model_retry: Retry = model_step.RETRY,
    seamless: bool | None = None,
    stream: bool = True,
    models: Mapping[str, Model] | None = None,
) -> Agent:
    """Make a Holdfast agent of a pydantic_ai agent.

        agent = pydantic_ai.Agent("openai:gpt-5-mini", instructions="Be brief.")

        @agent.tool_plain(metadata=tool_step(idempotent=True))
        def look_up(city: str) -> str: ...

        guide = durable(agent, name="guide")

    Its input is a chat: ``{"messages": [{"role": "user", "content": "…"}]}``; what was said on the thread before comes first. Its
    output is the agent's, as JSON. Calls that need an approval, or a result from outside, are asked for while the run waits.

    Args:
        agent: the agent; it is not changed, and may still be used as it is.
        name: what clients ask for; the agent's own name when left out.
        deps: makes the agent's dependencies for a run. It is called at each attempt and must have no effects.
        description: one line for people; the agent's own when left out.
        version: of the code; a hash of the file that calls this when left out.
        on_unknown: ``retry``, ``fail`` or ``ask``, for tools of unknown outcome that do not say themselves.
        model_retry: how often a retryable failure of a model request is tried again.
        seamless: see :func:`run_agent`.
        stream: show the model's words as they come; off for models that cannot stream.
        models: the models besides the agent's own that its capabilities may switch to, by a name for the journal.

    Raises:
        ValueError: there is no usable name.
    """
    called = name or agent.name
    if not called:
        raise ValueError("the agent has no name: say durable(agent, name=…)")

    async def wrapped(run: Run) -> Any:
        history, prompt = await asked_of(run)
        result = await run_agent(
            run,
            agent,
            prompt,
            history=history,
            deps=deps(run) if deps is not None else None,
            model_retry=model_retry,
            seamless=seamless,
            stream=stream,
            models=models,
        )
        output = _json(result.output)
        if result.response.tool_calls:
            # given by an output tool's call: no words of the model's, but the answer that viewers and the thread are to have
            run.emit_text(_text(output))
        return output

    return holdfast_agent(
        called,
        description=description if description is not None else _description(agent),
        input_schema=CHAT_INPUT,
        version=version or _file_version(sys._getframe(1).f_code.co_filename),
        on_unknown=on_unknown,
    )(wrapped)


def _json(output: Any) -> Any:
    try:
        return to_jsonable_python(output, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise AgentFailed(
            "not_json", f"the agent's output ({type(output).__name__}) has no form in JSON: {error}"
        ) from error


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _description(agent: AbstractAgent[Any, Any]) -> str:
    lines = (agent.description or "").splitlines()
    return lines[0] if lines else ""


def _file_version(file: str) -> str:
    """As ``holdfast_agent.agent.code_version`` has it, of the file that the agent was made in."""
    path = Path(file)
    return hashlib.sha256(path.read_bytes() if path.is_file() else file.encode()).hexdigest()[:12]
