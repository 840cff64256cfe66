"""A tool call's result as a step's output. Pure.

A plain result stands as it is, so that people and the transcript see what the tool returned, and so that a person who answers
"it was done, with this result" need know of nothing else. What pydantic_ai carries beside that (a retry that the tool asks of the
model, a deferral, a rich ``ToolReturn``) stands under ``$pydantic_ai``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

TAG = "$pydantic_ai"
DENIED = "denied"
"""The code of the failed step of a call that a person denied."""
Outcome = Literal["success", "failed", "denied", "interrupted"]
"""Of a call, as pydantic_ai's ``ToolReturnPart`` has it."""


def to_output(payload: Mapping[str, Any]) -> Any:
    """``payload`` is pydantic_ai's JSON form of a call's result: ``{"kind": "tool_return", "result": …}`` and others."""
    if payload.get("kind") == "tool_return":
        result = payload["result"]
        if not isinstance(result, Mapping) or (TAG not in result and result.get("kind") != "tool-return"):
            return result
    return {TAG: dict(payload)}


def from_output(output: Any) -> Mapping[str, Any]:
    """The payload that :func:`to_output` was given; of a plain value, the payload of a tool that returned it."""
    if isinstance(output, Mapping) and set(output) == {TAG} and isinstance(output[TAG], Mapping):
        return dict(output[TAG])
    return {"kind": "tool_return", "result": output}


def said_of(output: Any) -> tuple[Outcome, Any]:
    """What the next turn is told of it: how the call ended, and the content."""
    payload = from_output(output)
    match payload.get("kind"):
        case "tool_return" | "tool_content_result":
            result = payload.get("result")
            if isinstance(result, Mapping) and result.get("kind") == "tool-return" and payload["kind"] == "tool_return":
                result = result.get("return_value")
            return "success", result
        case "model_retry" | "tool_failed":
            return "failed", payload.get("message", "")
        case "validation_error":
            return "failed", "the arguments did not fit"
        case "approval_required" | "call_deferred":
            return "interrupted", "not run: nobody has answered yet"
        case _:
            return "interrupted", "it did not end as it should have"
