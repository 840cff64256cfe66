"""The chat-completions protocol: the shapes that are answered, and the rules about messages that real providers enforce.

Pure. Shapes after OpenAI's API reference, "Chat Completions" (object ``chat.completion`` and ``chat.completion.chunk``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast_local.mock_model.hints import ToolRequest

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
MODELS = ("mock", "mock-large")

Json = dict[str, Any]


class BadRequest(Exception):
    """The request breaks a rule of the protocol; answered with 400."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def error(message: str, *, kind: str = "invalid_request_error", param: str | None = None) -> Json:
    """An error's body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def check_messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The request's messages.

    Raises:
        BadRequest: they are no messages, or a tool call is left without its result, or a result without its call.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' has to be a list of at least one message", param="messages")
    awaited: set[str] = set()
    for index, message in enumerate(messages):
        param = f"messages.[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadRequest(f"{param} is not a message: its role is one of {', '.join(sorted(ROLES))}", param=param)
        if message["role"] == "tool":
            if message.get("tool_call_id") not in awaited:
                raise BadRequest(
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
                    param=param,
                )
            awaited.discard(message["tool_call_id"])
            continue
        _refuse_dangling(awaited)
        if message["role"] == "assistant":
            awaited = {str(call.get("id")) for call in message.get("tool_calls") or []}
    _refuse_dangling(awaited)
    return messages


def _refuse_dangling(awaited: set[str]) -> None:
    if awaited:
        raise BadRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: " + ", ".join(sorted(awaited)),
            param="messages",
        )


def last_user_text(messages: object) -> str:
    """The text of the last user message, its parts joined; empty when there is none, or ``messages`` is no such list."""
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def turns_done(messages: Sequence[Mapping[str, Any]]) -> int:
    """How often tools were asked for since the last user message."""
    turns = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        turns += bool(message["role"] == "assistant" and message.get("tool_calls"))
    return turns


def beginning(messages: Sequence[Mapping[str, Any]]) -> str:
    """The beginning of the answer that is to be gone on with: the text of a trailing message of the assistant."""
    last = messages[-1]
    return _text_of(last.get("content")) if last["role"] == "assistant" else ""


def count_input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Words, which is near enough and can be foretold."""
    return sum(len(_text_of(message.get("content")).split()) for message in messages)


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def usage(input_tokens: int, output_tokens: int) -> Json:
    """Token counts of one call."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


@dataclass(frozen=True)
class Answer:
    """One answer's frame: what all its chunks share. ``created`` in seconds, ``call`` counts from 1."""

    call: int
    created_ms: int
    model: str

    @property
    def ident(self) -> str:
        """Carries the time of the call and its number."""
        return f"chatcmpl-{self.created_ms}-{self.call}"

    def chunk(self, delta: Json, *, finish_reason: str | None = None) -> Json:
        """A streamed chunk with one choice."""
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])

    def usage_chunk(self, tokens: Json) -> Json:
        """The last chunk, when the caller asked for usage: no choices."""
        return {**self._chunk([]), "usage": tokens}

    def completion(self, message: Json, *, finish_reason: str, tokens: Json) -> Json:
        """The whole answer at once."""
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {**self._chunk([choice]), "object": "chat.completion", "usage": tokens}

    def tool_calls(self, tools: Sequence[ToolRequest]) -> list[Json]:
        """The calls as a message has them; ids are unique over all calls of this server."""
        return [
            {
                "id": f"call_{self.call}_{index}",
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments},
            }
            for index, tool in enumerate(tools)
        ]

    def _chunk(self, choices: list[Json]) -> Json:
        return {
            "id": self.ident,
            "object": "chat.completion.chunk",
            "created": self.created_ms // 1000,
            "model": self.model,
            "choices": choices,
        }
