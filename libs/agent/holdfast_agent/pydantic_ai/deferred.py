"""Deferred tool calls: approvals and results from outside, asked for while the run waits without a slot."""

from __future__ import annotations

from typing import Any

from pydantic_ai.messages import ToolCallPart, ToolReturn
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied

from holdfast.errors import AgentFailed
from holdfast_agent.approval import Approval
from holdfast_agent.backend import StepSpec
from holdfast_agent.failures import PermanentError
from holdfast_agent.pydantic_ai import model_step, tool_result
from holdfast_agent.pydantic_ai.tool_result import DENIED
from holdfast_agent.run import Run

_NO_REASON = "The tool call was denied."


async def answers_to(run: Run, requests: DeferredToolRequests) -> DeferredToolResults:
    """Ask for all of them at once, and wait. A denial and an outside result become the call's step, so that the thread knows."""
    calls = [*requests.approvals, *requests.calls]
    asked = [_approve(run, call, requests) for call in requests.approvals]
    asked += [_ask(run, call, requests) for call in requests.calls]
    answers = dict(zip((call.tool_call_id for call in calls), await run.gather(*asked), strict=True))
    results = DeferredToolResults(metadata={key: value for key, value in requests.metadata.items() if key in answers})
    for call in requests.approvals:
        results.approvals[call.tool_call_id] = await _decided(run, call, answers[call.tool_call_id])
    for call in requests.calls:
        results.calls[call.tool_call_id] = ToolReturn(await _given(run, call, answers[call.tool_call_id]))
    return results


def _arguments(call: ToolCallPart) -> dict[str, Any]:
    arguments = model_step.arguments_of(call.args)
    return arguments if isinstance(arguments, dict) else {"arguments": arguments}


async def _approve(run: Run, call: ToolCallPart, requests: DeferredToolRequests) -> Any:
    reason = requests.metadata.get(call.tool_call_id, {}).get("reason")
    text = f"May {call.tool_name} be called? {reason}" if reason else None
    return await run.approve(call.tool_name, _arguments(call), call_id=call.tool_call_id, text=text)


async def _ask(run: Run, call: ToolCallPart, requests: DeferredToolRequests) -> Any:
    arguments = _arguments(call)
    is_question = requests.kind(call.tool_call_id) == "question"
    asked = arguments.get("question") if is_question else None
    return await run.ask(
        {
            "type": "question" if is_question else "tool-result",
            "text": asked if isinstance(asked, str) else f"What is the result of {call.tool_name}?",
            "tool": call.tool_name,
            "arguments": arguments,
            "call_id": call.tool_call_id,
        }
    )


async def _decided(run: Run, call: ToolCallPart, approval: Approval) -> ToolApproved | ToolDenied:
    if approval.approved:
        edited = dict(approval.arguments)
        return ToolApproved(override_args=edited if edited != _arguments(call) else None)
    reason = approval.reason or _NO_REASON

    async def deny() -> Any:
        raise PermanentError(reason, code=DENIED)

    try:
        await run.backend.step(_outcome(call), deny)
    except AgentFailed as failed:
        if failed.code != DENIED:
            raise
    return ToolDenied(reason)


async def _given(run: Run, call: ToolCallPart, answer: Any) -> Any:
    async def give() -> Any:
        return tool_result.to_output({"kind": "tool_return", "result": answer})

    await run.backend.step(_outcome(call), give)
    return answer


def _outcome(call: ToolCallPart) -> StepSpec:
    """The step that keeps what became of a call that nobody here made."""
    arguments = _arguments(call)
    return StepSpec("tool", call.tool_name, {"arguments": arguments}, arguments, call.tool_call_id, idempotent=True)
