"""pydantic_ai's units of work as steps of a Holdfast run.

====================================  ==========================================================================================
model request                         a step of kind ``model``; its text, reasoning and usage are shown as they come
tool call                             a step of kind ``tool``, keyed by the tool call's id, so that calls may run side by side
arguments' validation by a function,  a keyed step that may be repeated
listing of an MCP server's tools
an output function                    a keyed step of kind ``output``; of unknown outcome it is asked about like a tool
an operation of a capability          a keyed step; of unknown outcome it is asked about like a tool
what an event handler does            no step: viewers have the events already
====================================  ==========================================================================================

This module decides what a step is called, asks and keeps. What the work is, is pydantic_ai's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_ai.durable_exec import (
    CapabilityOperationId,
    DurableOperationId,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelCancelSuspendedResponseId,
    ModelCompactMessagesId,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    ToolsetValidateToolArgumentsId,
    record_durable_unit,
)
from pydantic_ai.exceptions import ModelRetry, ToolRetryError
from pydantic_ai.output import OutputContext
from pydantic_ai.tools import RunContext

from holdfast.errors import AgentFailed
from holdfast_agent.backend import StepSpec
from holdfast_agent.codec import from_record, to_record
from holdfast_agent.pydantic_ai import fingerprint, model_step, tool_result
from holdfast_agent.pydantic_ai.journal_json import escaped, mended, unescaped
from holdfast_agent.pydantic_ai.seamless import Prefix
from holdfast_agent.pydantic_ai.tool_step import METADATA_KEY, PLAIN, ToolStep
from holdfast_agent.retry import Retry
from holdfast_agent.run import Run

Body = Callable[[], Awaitable[Any]]


class StepBackend(JournalCallableOperationBackend[ToolStep]):
    """Executes units as steps of one run, for one call of an agent.

    Args:
        run: the run.
        agent_name: for pydantic_ai's own messages.
        call: tells this call of an agent from others in the same run; the same at each replay.
        model_retry: of model requests.
        prefix: how a cut answer is gone on with; None: it is asked anew.
    """

    def __init__(self, run: Run, *, agent_name: str, call: str, model_retry: Retry, prefix: Prefix | None) -> None:
        super().__init__(
            agent_name=agent_name,
            config=RoleBasedOperationConfig(
                model=PLAIN, event=PLAIN, capability=PLAIN, tool=PLAIN, resolve_tool=_tool_config
            ),
        )
        self._run = run
        self._call = call
        self._model_retry = model_retry
        self._prefix = prefix
        self._asked: Counter[str] = Counter()

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Body,
        cache_key: tuple[object, ...],
        config: ToolStep,
    ) -> object:
        """Run one unit: done now, or given back from the journal."""
        match operation_id:
            case EventStreamHandlerId():
                return await body()
            case ModelRequestId():
                return await self._request(operation_id, body, cache_key)
            case ModelCompactMessagesId() | ModelCancelSuspendedResponseId():
                spec = StepSpec(
                    "model", _last(name), fingerprint.unit(cache_key), idempotent=True, retry=self._model_retry
                )
                return await self._step(spec, _told(body))
            case ToolsetCallToolId():
                return await self._call_tool(body, cache_key, config)
            case ToolsetValidateToolArgumentsId():
                tool, asked, shown, ctx = _tool_key(cache_key)
                spec = StepSpec("check", tool, asked, shown, f"check:{ctx.tool_call_id}")
                return await self._step(replace(spec, idempotent=True), body)
            case CapabilityOperationId():
                return await self._step(self._keyed("capability", _last(name), cache_key), body)
            case _:
                return await self._step(replace(self._keyed("tools", _last(name), cache_key), idempotent=True), body)

    async def _request(self, operation: ModelRequestId, body: Body, cache_key: tuple[Any, ...]) -> Any:
        model_id, messages, settings, parameters, _ = cache_key
        model = model_id or operation.model_name
        not_tools = frozenset(tool.name for tool in parameters.output_tools)

        async def work() -> Any:
            prefix = await self._prefix.found(self._run) if self._prefix is not None else ""
            self._run.emit_text(prefix)
            payload: Any = await _told(body)()
            if not operation.streaming:
                _show_whole(self._run, payload)
            if prefix:  # which viewers have already
                payload = model_step.with_prefix(payload, prefix)
            usage = payload["usage"]
            self._run.emit_usage(input_tokens=usage["input_tokens"], output_tokens=usage["output_tokens"])
            return model_step.output_of(payload, not_tools)

        asked = {"model": model, "asked": fingerprint.model_request(messages, settings, parameters)}
        spec = StepSpec("model", "chat", asked, {"model": model}, idempotent=True, retry=self._model_retry)
        try:
            return model_step.response_of(await self._step(spec, work))
        except AgentFailed as failed:
            if failed.code not in model_step.CODES:
                raise
            raise model_step.ModelFailedError(model, failed) from failed

    async def _call_tool(self, body: Body, cache_key: tuple[Any, ...], config: ToolStep) -> Any:
        tool, asked, shown, ctx = _tool_key(cache_key)

        async def work() -> Any:
            return tool_result.to_output(await body())

        spec = StepSpec(
            "tool",
            tool,
            asked,
            shown,
            ctx.tool_call_id or self._key(tool),
            idempotent=config.idempotent,
            on_unknown=config.on_unknown,
            retry=config.retry,
            timeout_s=config.timeout_s,
        )
        return tool_result.from_output(await self._step(spec, work))

    async def process_output(self, context: OutputContext, given: Any, process: Callable[[], Awaitable[Any]]) -> Any:
        """Call an output function, and the validators behind it. ``given`` is what it is asked.

        Raises:
            ModelRetry: it asks the model for something better; the same at each replay.
        """
        name = context.function_name or "output"
        if context.tool_call is not None:
            asked: Any = model_step.arguments_of(context.tool_call.args)
            key = f"output:{context.tool_call.tool_call_id}"
        else:
            # a value has been through a validator, which may fill in others each time; the model's step before it says enough
            asked, key = given if isinstance(given, str) else None, self._key(f"output:{name}")

        async def work() -> Any:
            try:
                payload = {"kind": "tool_return", "result": await process()}
            except ModelRetry as retry:
                payload = {"kind": "model_retry", "message": retry.message}
            except (ToolRetryError, ValidationError) as retry:
                payload = {"kind": "model_retry", "message": str(retry)}
            return tool_result.to_output(payload)

        shown = mended(fingerprint.jsonable(given if asked is None else asked))
        done = await self._step(StepSpec("output", name, {"asked": fingerprint.digest(asked)}, shown, key), work)
        payload = tool_result.from_output(done)
        if payload["kind"] == "model_retry":
            raise ModelRetry(payload["message"])
        return payload["result"]

    def _keyed(self, kind: str, name: str, cache_key: tuple[object, ...]) -> StepSpec:
        asked = fingerprint.unit(cache_key)
        return StepSpec(kind, name, asked, call_id=self._key(f"{name}:{asked[:12]}"))

    def _key(self, what: str) -> str:
        """A key for a unit that has none: what it is, and how often this call of the agent has asked for the same before."""
        self._asked[what] += 1
        return f"{what}#{self._call}.{self._asked[what]}"

    async def _step(self, spec: StepSpec, body: Body) -> Any:
        done_now = False

        async def work() -> Any:
            nonlocal done_now
            done_now = True
            return to_record(escaped(mended(await body())), what=f"the output of step {spec.name!r}")

        output = await self._run.backend.step(spec, work)
        record_durable_unit(executed=done_now)
        return unescaped(from_record(output, what=f"the output of step {spec.name!r}"))


def _tool_config(_operation_id: DurableOperationId, tool: Any, _tool_name: str) -> Any:
    """What a tool's metadata says; False: it is called outside any step."""
    metadata = tool.tool_def.metadata if tool is not None else None
    said = (metadata or {}).get(METADATA_KEY)
    return False if said is False else ToolStep.of(said)


def _tool_key(cache_key: tuple[Any, ...]) -> tuple[str, Any, Any, RunContext[Any]]:
    """A tool's name, what it is asked (to be compared at a replay), what people are shown of that, and the call's context."""
    name, arguments, ctx, _ = cache_key
    asked = {"arguments": fingerprint.call(ctx.messages, ctx.tool_call_id, arguments)}
    return name, asked, mended(fingerprint.jsonable(arguments)), ctx


def _last(name: str) -> str:
    """pydantic_ai's names begin with the agent's, which the run has already."""
    return name.partition("__")[2] or name


def _told(body: Body) -> Body:
    """With a model's failures as those of steps, so that the journal knows which are worth another try."""

    async def told() -> Any:
        try:
            return await body()
        except Exception as error:
            if (failure := model_step.failure_of(error)) is None:
                raise
            raise failure from error

    return told


def _show_whole(run: Run, payload: Mapping[str, Any]) -> None:
    for part in payload["parts"]:
        if part["part_kind"] == "thinking":
            run.emit_reasoning(part["content"])
        elif part["part_kind"] == "text":
            run.emit_text(part["content"])
