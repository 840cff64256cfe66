"""Holdfast as one of pydantic_ai's durable execution engines: the capability that one call of an agent in a run is given."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic_ai.durable_exec import JSON_CODEC, BaseDurabilityCapability, DurabilityEngineSpec
from pydantic_ai.messages import (
    AgentStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.models import Model
from pydantic_ai.output import OutputContext
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext

from holdfast_agent.failures import PermanentError
from holdfast_agent.pydantic_ai import model_step
from holdfast_agent.pydantic_ai.deferred import answers_to
from holdfast_agent.pydantic_ai.seamless import Continuing, Prefix
from holdfast_agent.pydantic_ai.steps import StepBackend
from holdfast_agent.retry import Retry
from holdfast_agent.run import Run


class HoldfastDurability(BaseDurabilityCapability[Any]):
    """Routes one call of an agent through the steps of a run.

    Args:
        run: the run.
        model_retry: of model requests.
        seamless: go on with a cut answer where it was cut.
        stream: show the model's words as they come; off for models that cannot stream.
        models: those besides the agent's own that a request may go to, by a name for the journal.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="Holdfast",
        durable_unit_noun="step",
        durable_container_noun="run",
        codec=JSON_CODEC,
        serialization_failure=lambda error: PermanentError(f"it cannot be journalled: {error}", code="not_json"),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        tool_config_key="holdfast",
    )

    def __init__(
        self, run: Run, *, model_retry: Retry, seamless: bool, stream: bool, models: Mapping[str, Model] | None
    ) -> None:
        async def show(_: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
            async for event in events:
                _show(run, event)

        super().__init__(name=run.agent, models=models, event_stream_handler=show if stream else None)
        self._run = run
        self._call = str(run.uuid())
        prefix = Prefix() if seamless else None
        self._prefix = prefix
        self._backend = StepBackend(
            run, agent_name=run.agent, call=self._call[:8], model_retry=model_retry, prefix=prefix
        )

    @property
    def in_durable_context(self) -> bool:
        """Within a step's work an agent is part of that work: no steps of its own."""
        return self._run.backend.here is None

    def get_durable_operation_backend(self) -> StepBackend:
        """See the base class."""
        return self._backend

    def get_default_run_id(self) -> str | None:
        """The same at each replay."""
        return self._call

    def get_default_conversation_id(self, run_id: str) -> str | None:  # noqa: ARG002
        """The thread's."""
        return self._run.thread_id

    async def get_run_start_time(self, run_id: str) -> datetime | None:  # noqa: ARG002
        """The same at each replay."""
        return self._run.now()

    def get_wrapper_model(self, model: Model) -> Model | None:
        """The model that sends a request: without its SDK's own retries, and able to go on from a prefix."""
        model_step.without_own_retries(model)
        return Continuing(model, self._prefix) if self._prefix is not None else None

    async def wrap_output_process(
        self,
        ctx: RunContext[Any],
        *,
        output_context: OutputContext,
        output: Any,
        handler: Callable[[Any], Awaitable[Any]],
    ) -> Any:
        """An output function works as a tool does, and is a step as a tool is."""
        if not output_context.has_function or ctx.partial_output or not self.in_durable_context:
            return await handler(output)
        return await self._backend.process_output(output_context, output, lambda: handler(output))

    async def handle_deferred_tool_calls(
        self,
        ctx: RunContext[Any],  # noqa: ARG002
        *,
        requests: DeferredToolRequests,
    ) -> DeferredToolResults | None:
        """Approvals and outside results are asked for, and the agent goes on with the answers."""
        return await answers_to(self._run, requests)


def _show(run: Run, event: AgentStreamEvent) -> None:
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            run.emit_text(text)
        case (
            PartStartEvent(part=ThinkingPart(content=text))
            | PartDeltaEvent(delta=ThinkingPartDelta(content_delta=text))
        ):
            run.emit_reasoning(text or "")
        case _:
            pass
