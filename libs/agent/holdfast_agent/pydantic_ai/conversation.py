"""A thread's messages as pydantic_ai wants them. Pure.

Every provider refuses a tool call without its result, and a result without its call. The record gives every call its result;
whatever reaches this module, none leaves it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from holdfast_agent.backend import Said
from holdfast_agent.pydantic_ai import tool_result
from holdfast_agent.pydantic_ai.journal_json import unescaped
from holdfast_agent.pydantic_ai.tool_result import DENIED

_UNKNOWN: Mapping[str, Any] = {"status": "unknown"}
_WORDS = {
    "unknown": "nobody knows whether this was done: it was cut off",
    "cancelled": "not run: it was cancelled",
    "failed": "it failed",
}


def messages_of(said: Iterable[Said]) -> list[ModelMessage]:
    """What was said, oldest first; messages without words or calls are left out."""
    return [message for each in said for message in _message(each)]


def _message(said: Said) -> Iterator[ModelMessage]:
    if said.role == "assistant":
        yield from _answer(said.parts)
    elif said.role == "user" and said.text:
        yield ModelRequest(parts=[UserPromptPart(said.text)])
    elif said.role == "system" and said.text:
        yield ModelRequest(parts=[SystemPromptPart(said.text)])


def _answer(parts: Sequence[Mapping[str, Any]]) -> Iterator[ModelMessage]:
    """An answer is text and calls, by turns; each call is followed by its result."""
    results: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        if part.get("type") == "tool-result":
            results.setdefault(str(part["tool_call_id"]), []).append(part)
    open_parts: list[ModelResponsePart] = []
    for part in parts:
        if part.get("type") == "text" and part.get("text"):
            open_parts.append(TextPart(part["text"]))
        elif part.get("type") == "tool-call":
            call = ToolCallPart(
                part["tool_name"], _object(unescaped(part.get("input"))), tool_call_id=str(part["tool_call_id"])
            )
            yield ModelResponse(parts=[*open_parts, call])
            open_parts = []
            found = results.get(call.tool_call_id)
            yield ModelRequest(parts=[_result(call, found.pop(0) if found else _UNKNOWN)])
    if open_parts:
        yield ModelResponse(parts=open_parts)


def _object(arguments: Any) -> dict[str, Any]:
    return dict(arguments) if isinstance(arguments, Mapping) else {"arguments": arguments} if arguments else {}


def _result(call: ToolCallPart, result: Mapping[str, Any]) -> ToolReturnPart:
    status = str(result.get("status"))
    if status == "completed":
        outcome, content = tool_result.said_of(unescaped(result.get("output")))
        return ToolReturnPart(call.tool_name, content, call.tool_call_id, outcome=outcome)
    error = result.get("error") or {}
    words = error.get("message") or _WORDS.get(status, _WORDS["unknown"])
    return ToolReturnPart(call.tool_name, words, call.tool_call_id, outcome=_outcome(status, error.get("code")))


def _outcome(status: str, code: str | None) -> tool_result.Outcome:
    if status != "failed":
        return "interrupted"
    return "denied" if code == DENIED else "failed"
