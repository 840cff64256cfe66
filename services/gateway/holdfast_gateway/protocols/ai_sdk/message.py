"""The parts of a message as the AI SDK's client holds them, and the chunks that draw each of them. Pure.

A chunk is a JSON object of the UI message stream v1 (npm ``ai``, ``uiMessageChunkSchema``). A part is drawn once, grows by
further chunks, and is drawn again from its beginning after a ``reset-step``, which drops all parts since the last ``start-step``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.runs import EventId

Chunk = dict[str, Any]


@dataclass(eq=False, slots=True)
class Words:
    """Text or reasoning. ``position`` is its step, None outside any; ``kept``: no takeover can drop it any more.

    ``pieces`` are what events brought, each with the event's id; ``ended``: nothing more will be appended.
    """

    kind: Literal["text", "reasoning"]
    id: str
    position: str | None
    pieces: list[tuple[EventId, str]]
    kept: bool = False
    ended: bool = False

    @property
    def began_at(self) -> EventId:
        """The event of its first words."""
        return self.pieces[0][0]

    def draw(self) -> Iterator[Chunk]:
        """From its beginning."""
        yield {"type": f"{self.kind}-start", "id": self.id}
        yield self.delta("".join(text for _, text in self.pieces))
        if self.ended:
            yield self.end()

    def delta(self, text: str) -> Chunk:
        """It goes on."""
        return {"type": f"{self.kind}-delta", "id": self.id, "delta": text}

    def end(self) -> Chunk:
        """It is over."""
        return {"type": f"{self.kind}-end", "id": self.id}


@dataclass(eq=False, slots=True)
class Data:
    """Something of the agent's own, or of Holdfast's (a question). With an ``id``, a later one of the same id takes its place."""

    name: str
    at: EventId
    position: str | None
    value: Any
    id: str | None = None
    kept: bool = False

    @property
    def began_at(self) -> EventId:
        """The event that brought it."""
        return self.at

    def draw(self) -> Iterator[Chunk]:
        """All of it."""
        named = {"id": self.id} if self.id is not None else {}
        yield {"type": f"data-{self.name}", **named, "data": self.value}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, for the part of the call. ``position`` is the step that says so, None: no step does."""

    kind: Literal["available", "error", "denied"]
    value: Any
    at: EventId
    position: str | None = None

    def chunk(self, tool_call_id: str) -> Chunk:
        """The chunk that says so."""
        told: Mapping[str, Any] = {
            "available": {"output": self.value},
            "error": {"errorText": self.value},
            "denied": {},
        }[self.kind]
        return {"type": f"tool-output-{self.kind}", "toolCallId": tool_call_id, **told}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is asked about a call: for its approval, or for its result. ``position`` is the wait's."""

    question_id: str
    position: str
    at: EventId
    approval: bool


@dataclass(eq=False, slots=True)
class Tool:
    """A tool call. ``id`` is the SDK's ``toolCallId``: the call's own, or the question's where no call is behind it.

    ``position`` is the step that brought it, ``step`` the one that makes the call, once that has begun. ``by_client``: its
    result is to come from the client (``addToolOutput``), all others are made by the server. ``closed``: it stands in an SDK step
    that is over, which no ``reset-step`` reaches; then it can only be told how it ended.
    """

    id: str
    call_id: str | None
    name: str
    input: Any
    at: EventId
    position: str | None
    kept: bool = False
    step: str | None = None
    asked: Asked | None = None
    approved: Any = None
    outcome: Outcome | None = None
    by_client: bool = False
    closed: bool = False

    @property
    def began_at(self) -> EventId:
        """The event that brought it."""
        return self.at

    def draw(self) -> Iterator[Chunk]:
        """From its beginning."""
        yield {"type": "tool-input-start", "toolCallId": self.id, "toolName": self.name, **self._executed()}
        yield self.available()
        if self.asked is not None and self.asked.approval:
            yield self.request(self.asked)
        if self.outcome is not None:
            yield self.outcome.chunk(self.id)

    def available(self) -> Chunk:
        """The call with all of its input."""
        return {
            "type": "tool-input-available",
            "toolCallId": self.id,
            "toolName": self.name,
            "input": self.input,
            **self._executed(),
        }

    def request(self, asked: Asked) -> Chunk:
        """A person is asked for an approval."""
        return {"type": "tool-approval-request", "approvalId": asked.question_id, "toolCallId": self.id}

    def _executed(self) -> dict[str, Any]:
        return {"providerExecuted": not self.by_client}


Part = Words | Data | Tool
