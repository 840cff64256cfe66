"""The run as its agent sees it: what was asked, what was said before, how to show things, how to do durable work.

An agent is replayed from its top on each attempt. What it does inside a step is journalled and not done again once finished; what
it does outside must give the same each time (no clock, no randomness, no I/O).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from holdfast_agent.retry import Retry


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the thread: ``role`` is user, assistant, system or tool; ``status`` complete, incomplete or failed."""

    role: str
    parts: Sequence[Mapping[str, Any]]
    status: str = "complete"

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")


class Backend(Protocol):
    """What a runner gives to a :class:`Run`."""

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Show an event to viewers; ``position`` is filled in."""

    async def step(self, kind: str, name: str, request: Any, work: Callable[[], Awaitable[Any]], retry: Retry) -> Any:
        """Do durable work: journalled before and after; replayed when finished."""

    async def history(self, limit: int) -> Sequence[Said]:
        """What was said on the thread before this run."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a run, in the hands of its agent.

    ``input`` is what the client sent; ``attempt`` counts from 1 and grows with every takeover.
    """

    id: UUID
    thread_id: str
    agent: str
    attempt: int
    input: Any
    metadata: Mapping[str, Any]
    backend: Backend

    def emit_text(self, text: str) -> None:
        """Show a piece of the answer's text."""
        if text:
            self.backend.emit("text.delta", {"text": text})

    def emit_reasoning(self, text: str) -> None:
        """Show a piece of the model's reasoning. It is not part of the transcript."""
        if text:
            self.backend.emit("reasoning.delta", {"text": text})

    def emit_usage(self, *, input_tokens: int, output_tokens: int) -> None:
        """Say what a model call used."""
        self.backend.emit("usage", {"input_tokens": input_tokens, "output_tokens": output_tokens})

    def emit(self, name: str, data: Any) -> None:
        """Show something of your own, as a ``custom`` event. ``data`` is any JSON value."""
        self.backend.emit("custom", {"name": name, "data": data})

    async def history(self, *, limit: int = 200) -> Sequence[Said]:
        """The newest ``limit`` messages that other runs left on the thread, oldest first."""
        return await self.backend.history(limit)

    async def model(
        self, name: str, request: Any, call: Callable[[], Awaitable[Any]], *, retry: Retry | None = None
    ) -> Any:
        """Call a model as one durable step.

        Args:
            name: what the step is called in the journal.
            request: what the model is asked (any JSON value): a replay compares its hash with the journal's.
            call: asks the model; may emit text while it streams; returns any JSON value. It runs again after a crash or a
                retryable failure, and viewers drop what the earlier try had shown.
            retry: how often a retryable failure is tried again; three tries with a back-off when left out.

        Returns:
            What ``call`` returned, now or in an earlier attempt.

        Raises:
            AgentFailed: the call failed for good; ``code`` says how.
        """
        return await self.backend.step("model", name, request, call, retry or Retry())
