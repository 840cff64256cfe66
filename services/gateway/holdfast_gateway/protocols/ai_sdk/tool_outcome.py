"""How a tool step's end is told to the AI SDK's client. Pure.

A plain output is shown as it is. pydantic_ai's agents put beside a result, under ``$pydantic_ai``, what else a tool may answer: a
retry that it asks of the model, a failure; see ``holdfast_agent.pydantic_ai.tool_result``, which writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.runs import EventId
from holdfast_gateway.protocols.ai_sdk.message import Outcome

_TAG = "$pydantic_ai"
_DENIED = "denied"
REFUSED = "the call was refused before it was made, and the model was told why"
NOT_RUN = "not run"
UNKNOWN = "nobody knows how it ended: it may or may not have been done"
UNANSWERED = "not answered"


def of_output(output: Any, at: EventId, position: str | None) -> Outcome:
    """Of a step that completed."""
    if not (isinstance(output, Mapping) and set(output) == {_TAG} and isinstance(output[_TAG], Mapping)):
        return Outcome("available", output, at, position)
    payload: Mapping[str, Any] = output[_TAG]
    match payload.get("kind"):
        case "tool_return" | "tool_content_result":
            result = payload.get("result")
            if isinstance(result, Mapping) and result.get("kind") == "tool-return":
                result = result.get("return_value")
            return Outcome("available", result, at, position)
        case "model_retry" | "tool_failed":
            return Outcome("error", str(payload.get("message", "")), at, position)
        case _:
            return Outcome("error", "it did not end as it should have", at, position)


def of_error(error: Mapping[str, Any] | None, at: EventId, position: str | None) -> Outcome:
    """Of a step that failed."""
    code, message = (error or {}).get("code"), (error or {}).get("message")
    if code == _DENIED:
        return Outcome("denied", None, at, position)
    return Outcome("error", str(message or code or "it failed"), at, position)
