"""What a runner gives to a :class:`~holdfast_agent.run.Run`: the seam between an agent's author and the journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from holdfast_agent.retry import ONCE, Retry


class OnUnknown(StrEnum):
    """What becomes of a step whose work was begun and whose outcome nobody knows (its pod died in it, or it timed out)."""

    RETRY = "retry"
    FAIL = "fail"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step as its author asks for it.

    Attributes:
        kind: ``model``, ``tool``, or another word of its own.
        name: what it is called in the journal.
        request: what is asked (JSON value): a replay compares its hash with the journal's.
        input: what viewers and people are shown of it (JSON value); None: nothing.
        call_id: the id of the tool call that it answers. Steps with one may run side by side: their place in the journal is
            found by it, within the group of keyed steps that stand between two others.
        idempotent: doing it twice is the same as doing it once.
        on_unknown: None: ``retry`` for model calls and idempotent steps; for others the default of the run, of the agent, then
            ``ask``.
        retry: which failures are tried again, and how.
        timeout_s: for one try; one that takes longer has an unknown outcome.
        result_schema: JSON schema of a result that a person gives for it; None: any.
    """

    kind: str
    name: str
    request: Any
    input: Any = None
    call_id: str | None = None
    idempotent: bool = False
    on_unknown: OnUnknown | None = None
    retry: Retry = field(default=ONCE)
    timeout_s: float | None = None
    result_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StepAt:
    """The step whose work runs here. ``tries`` counts from 1; above 1 an earlier try may have happened, in whole or in part."""

    position: str
    tries: int


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child run ended: ``status`` is completed, failed or cancelled."""

    run_id: str
    status: str
    output: Any
    error: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the thread: ``role`` is user, assistant, system or tool; ``status`` complete, incomplete or failed.

    Parts of type ``text`` hold ``text``; ``tool-call`` ``tool_call_id, tool_name, input``; ``tool-result`` ``tool_call_id,
    tool_name, status`` (completed, failed, unknown or cancelled) with ``output`` or ``error``; ``error`` ``code, message``. Every
    tool call has its result behind it, in the same message.
    """

    role: str
    parts: Sequence[Mapping[str, Any]]
    status: str = "complete"

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")


class RecordedStep(Protocol):
    """A step of the journal. ``status`` is started (its outcome is unknown), retry, completed or failed."""

    @property
    def position(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def call_id(self) -> str | None: ...
    @property
    def input(self) -> Any: ...
    @property
    def output(self) -> Any: ...
    @property
    def error(self) -> Mapping[str, str] | None: ...


class Backend(Protocol):
    """Everything here is replayed: what the journal has is given back, and nothing is done."""

    @property
    def here(self) -> StepAt | None:
        """The step whose work the caller runs in; None outside any."""

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Show an event to viewers; ``position`` is filled in. May be called from a step's thread."""

    async def step(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do durable work: journalled before and after. ``work`` returns a JSON value.

        Raises:
            AgentFailed: it failed for good, now or in an earlier attempt; it was ``diverged``; ``steps_overlap``.
        """

    async def ask(self, name: str, question: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        """Ask a person; returns the answer. The run waits without a slot, and comes back by replay."""

    async def sleep(self, seconds: float) -> None:
        """Wait without a slot."""

    async def call(self, agent: str, run_input: Any, metadata: Mapping[str, Any]) -> ChildEnd:
        """Run another agent as a child run, and wait for its end without a slot."""

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        """Run branches side by side, each with positions of its own; results and exceptions in their order."""

    def record(self, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once and is the same at each replay."""

    async def history(self, limit: int) -> Sequence[Said]:
        """What was said on the thread before this run."""

    async def partial_text(self) -> str:
        """Within a step's work: what viewers were shown by a try of it that was cut off in an earlier attempt. Empty: nothing."""

    async def recorded(self) -> Sequence[RecordedStep]:
        """The journal as this attempt found it, in order."""
