"""What a gateway answers, as frozen models. A field that a newer gateway adds is kept; one that an older lacks has a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from holdfast.runs import TERMINAL, Status

M = TypeVar("M", bound=BaseModel)
_ENDED = frozenset(status.value for status in TERMINAL)
_ASKING = frozenset({"ask", "unknown"})


class Answered(BaseModel):
    """The root of what is answered. ``as_json`` gives back what the gateway sent."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)  # a command needs one of them, if any

    def as_json(self) -> dict[str, Any]:
        """The JSON that this was made from."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ErrorShown(Answered):
    """Why a run failed, or was interrupted. ``code`` is stable."""

    code: str
    message: str = ""


class Wait(Answered):
    """Something that a run waits for. ``kind`` is ``ask``, ``unknown``, ``sleep`` or ``child``; the first two want an answer."""

    kind: str
    position: str
    question_id: str
    question: Any = None
    answer_schema: Any = Field(default=None, alias="schema", description="JSON schema of the answer; None: anything")
    until: datetime | None = None
    child_run_id: str | None = None
    since: datetime | None = None

    @property
    def is_question(self) -> bool:
        """A person can answer it; a timer and a child run end by themselves."""
        return self.kind in _ASKING


class RunState(Answered):
    """A run, as the record held it when it was asked."""

    id: str
    thread_id: str
    agent: str
    status: str
    attempt: int = 0
    pool: str = "default"
    crashes: int = 0
    max_crashes: int | None = None
    on_owner_lost: str | None = None
    on_unknown: str | None = None
    idle_timeout_s: int | None = None
    deadline_at: datetime | None = None
    parent_run_id: str | None = None
    forked_from: str | None = None
    waiting: tuple[Wait, ...] = ()
    run_owner_pod: str | None = None
    input: Any = None
    output: Any = None
    error: ErrorShown | None = None
    metadata: Mapping[str, Any] = {}
    created_at: datetime | None = None
    queued_at: datetime | None = None
    claimed_at: datetime | None = None
    last_progress_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """It is completed, failed or cancelled, and stays so."""
        return self.status in _ENDED

    @property
    def stopped(self) -> bool:
        """Its stream has an end: it has ended, or is interrupted."""
        return self.ended or self.status == Status.INTERRUPTED.value

    @property
    def questions(self) -> tuple[Wait, ...]:
        """What a person is asked."""
        return tuple(wait for wait in self.waiting if wait.is_question)


class Step(Answered):
    """A step of a run's journal."""

    position: str
    kind: str
    name: str
    status: str
    unknown: bool = False
    tries: int = 0
    attempt: int = 0
    call_id: str | None = None
    input: Any = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    text: str = ""
    code_version: str | None = None
    last_event_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Attempt(Answered):
    """One runner's hold on a run."""

    attempt: int
    pod: str
    boot: str
    code_version: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended_why: str | None = None


class Thread(Answered):
    """A conversation."""

    id: str
    metadata: Mapping[str, Any] = {}
    created_at: datetime | None = None


class Message(Answered):
    """A message of a thread's durable transcript. A run's error is one of its parts."""

    id: str
    run_id: str
    role: str
    parts: Sequence[Mapping[str, Any]] = ()
    created_at: datetime | None = None
    status: str = "complete"
    replaced_by: str | None = None

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        return "".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")


class Agent(Answered):
    """An agent that live runners have loaded."""

    name: str
    pool: str = "default"
    version: str = ""
    description: str = ""
    input_schema: Mapping[str, Any] = {}
    seen_at: datetime | None = None


class Pod(Answered):
    """A live runner. ``host`` and ``pid`` are there for an operator's key alone."""

    pod: str
    boot: str
    pool: str = "default"
    slots: int = 0
    running: int = 0
    draining: bool = False
    version: str = ""
    started_at: datetime | None = None
    last_seen: datetime | None = None
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """A page of a list. ``next_cursor`` asks for the next one; None: this is the last."""

    items: tuple[M, ...]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[M]:
        """Its items, in order."""
        return iter(self.items)

    def __len__(self) -> int:
        """How many items are on it."""
        return len(self.items)
