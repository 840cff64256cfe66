"""A model that says what a script tells it: one entry per request, as a list of what it streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel


def call(index: int, name: str, arguments: str, ident: str) -> DeltaToolCalls:
    """One tool call, in one piece."""
    return {index: DeltaToolCall(name=name, json_args=arguments, tool_call_id=ident)}


@dataclass
class Script:
    """``answers[n]`` is streamed when the history holds n answers; an exception in it is raised. ``asked`` keeps the requests."""

    answers: Sequence[Sequence[Any]]
    asked: list[list[ModelMessage]] = field(default_factory=list)

    def model(self) -> FunctionModel:
        """The model."""
        return FunctionModel(stream_function=self._stream)

    async def _stream(self, messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
        self.asked.append(messages)
        for piece in self.answers[sum(message.kind == "response" for message in messages)]:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def results(messages: Sequence[ModelMessage]) -> list[tuple[str, str, Any]]:
    """The results of tool calls in some messages: ``(tool, outcome, content)``."""
    return [
        (part.tool_name, part.outcome, part.content)
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
