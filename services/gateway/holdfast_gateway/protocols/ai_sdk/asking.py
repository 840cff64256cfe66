"""What the AI SDK's clients send: the body of a chat's post, as the SDK makes it. Unknown fields are the page's own, and are left
alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.runs import OnBusy
from holdfast_gateway.http.wanted import AgentName, ThreadId

_ANSWERED = frozenset({"approval-responded", "output-available", "output-error", "output-denied"})


class Sent(BaseModel):
    """Something that the SDK sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class UIMessage(Sent):
    """A message as the SDK's client holds it. ``parts`` are as it has them."""

    id: str = Field(min_length=1, max_length=200)
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = Field(max_length=10_000)
    metadata: Any = None

    @property
    def text(self) -> str:
        """Its words."""
        said = (part.get("text") for part in self.parts if part.get("type") == "text")
        return "".join(text for text in said if isinstance(text, str))

    @property
    def seen_attempt(self) -> int | None:
        """Of an assistant's message: the attempt up to which the client has seen its run, as the stream told when it ended."""
        attempt = self.metadata.get("attempt") if isinstance(self.metadata, Mapping) else None
        return attempt if isinstance(attempt, int) and attempt > 0 else None

    @property
    def files(self) -> list[dict[str, Any]]:
        """Its files."""
        return [part for part in self.parts if part.get("type") == "file"]


class ChatPost(Sent):
    """A post to a chat."""

    id: ThreadId | None = Field(default=None, description="the chat's thread; none: the first message's id names it")
    messages: list[UIMessage] = Field(min_length=1, max_length=10_000)
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = Field(default=None, alias="messageId", max_length=200)
    agent: AgentName | None = Field(default=None, description="none: the setting `ai_sdk_agent`")
    on_busy: OnBusy | None = Field(default=None, description="as of a submit; none: `enqueue`")

    @property
    def last(self) -> UIMessage:
        """What was said last."""
        return self.messages[-1]

    @property
    def answering(self) -> UIMessage | None:
        """The assistant's message that this post answers questions of; None: the user says something."""
        if self.trigger != "submit-message":
            return None
        named = next((each for each in self.messages if each.id == self.message_id), None)
        if named is not None and named.role == "assistant":
            return named
        return self.last if self.last.role == "assistant" else None


BODY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "id": {"type": "string", "description": "the chat; it is a thread's id. None: the first message's id"},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "role", "parts"],
                "properties": {
                    "id": {"type": "string"},
                    "role": {"enum": ["system", "user", "assistant"]},
                    "parts": {"type": "array", "items": {"type": "object"}},
                },
            },
        },
        "trigger": {"enum": ["submit-message", "regenerate-message"]},
        "messageId": {"type": "string"},
        "agent": {"type": "string"},
        "on_busy": {"enum": ["enqueue", "reject", "replace"]},
    },
    "example": {
        "id": "chat-42",
        "trigger": "submit-message",
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
    },
}
"""For the OpenAPI page."""


async def chat_post(request: Request) -> ChatPost:
    """The body of a post. It is read as JSON whatever its type says: ``WorkflowChatTransport`` does not name one.

    Raises:
        RequestValidationError: it is none.
    """
    try:
        return ChatPost.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False, include_input=False)]
        ) from error


ChatPostOf = Annotated[ChatPost, Depends(chat_post)]


def unfit(why: str) -> RequestValidationError:
    """The last message cannot be answered."""
    return RequestValidationError([{"type": "value_error", "loc": ("body", "messages"), "msg": why, "input": None}])


def input_of(message: UIMessage, input_schema: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a run that answers a user's message.

    Raises:
        RequestValidationError: it holds files, and the agent does not say that it takes any; or it says nothing.
    """
    if message.files:
        if not _names_files(input_schema):
            raise unfit("this agent takes no files: its input schema names no part of type 'file'")
        parts = [part for part in message.parts if part.get("type") in ("text", "file")]
        return {"messages": [{"role": "user", "content": parts}]}
    if not message.text:
        raise unfit(f"message {message.id!r} has no text")
    return {"messages": [{"role": "user", "content": message.text}]}


def _names_files(schema: Any) -> bool:
    """Does a JSON schema name ``file`` as a value that something may have?"""
    if isinstance(schema, Mapping):
        named = schema.get("const") == "file" or "file" in (schema.get("enum") or ())
        return named or any(map(_names_files, schema.values()))
    return isinstance(schema, list) and any(map(_names_files, schema))


def answers_in(message: UIMessage, question_id: UUID, question: Any) -> Sequence[Any]:
    """What the client's message says to one question: nothing, or one answer.

    An approval is said by ``addToolApprovalResponse``, anything else by ``addToolOutput``.
    """
    asked = question if isinstance(question, Mapping) else {}
    for part in reversed(message.parts):  # a call's id may come again: the newest one is asked about
        state, approval = part.get("state"), part.get("approval")
        if isinstance(approval, Mapping) and approval.get("id") == str(question_id):
            answered = state in _ANSWERED and isinstance(approval.get("approved"), bool)
            return [_decision(approval)] if answered else []
        if asked.get("type") != "approval" and _is_about(part.get("toolCallId"), question_id, asked.get("call_id")):
            if state not in _ANSWERED:
                return []
            return [part.get("output")] if state == "output-available" else [{"error": part.get("errorText")}]
    return []


def _is_about(tool_call_id: Any, question_id: UUID, call_id: Any) -> bool:
    """Is this the id of the part that shows the question: its own, or its call's, which is numbered when it came again?"""
    if tool_call_id == str(question_id):
        return True
    named = isinstance(tool_call_id, str) and isinstance(call_id, str)
    return named and re.fullmatch(f"{re.escape(call_id)}(#[0-9]+)?", tool_call_id) is not None


def _decision(approval: Mapping[str, Any]) -> dict[str, Any]:
    said = {"reason": approval["reason"]} if isinstance(approval.get("reason"), str) else {}
    return {"decision": "approve" if approval["approved"] else "deny", **said}
