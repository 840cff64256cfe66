"""What the record's statements return, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

from holdfast.runs import Owner

T = TypeVar("T")


class Columns(Protocol):
    """A row of the driver: values by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@cache
def _names(cls: Hashable) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cast(Any, cls)))


def row_as(cls: type[T], row: Columns) -> T:
    """A dataclass from the columns of the same names; other columns are left out."""
    return cls(**{name: row[name] for name in _names(cast(Hashable, cls))})


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, as the record holds it."""

    id: UUID
    tenant_id: str
    thread_id: str
    agent: str
    pool: str
    status: str
    attempt: int
    run_owner_pod: str | None
    run_owner_boot: UUID | None
    crashes: int
    max_crashes: int
    on_owner_lost: str
    input: Any
    output: Any
    error: Mapping[str, str] | None
    metadata: Mapping[str, Any]
    created_at: datetime
    queued_at: datetime
    claimed_at: datetime | None
    last_progress_at: datetime | None
    cancel_requested_at: datetime | None
    finished_at: datetime | None
    terminal_event_id: str | None
    deadline_at: datetime | None = None
    idle_timeout_s: int = 600
    on_unknown: str | None = None
    parent_run_id: UUID | None = None
    parent_position: str | None = None
    forked_from: UUID | None = None
    history_until: int | None = None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An interrupted run that a later run's claim gave up: its terminal event is still to be told."""

    id: UUID
    terminal_event_id: str
    error: Mapping[str, str]
    keep_through: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that was just claimed. ``from_pod`` tells of the attempt before, ``from_why`` how the run came back to the queue
    (released, owner_lost, answered, woken, resumed); None for the first."""

    run: RunRow
    from_pod: str | None
    from_why: str | None
    abandoned: tuple[Abandoned, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What an owner's last write made of its run, and the run that wants a request now: the thread's next one, or itself when
    it is queued again."""

    status: str
    output: Any
    error: Mapping[str, str] | None
    next_id: UUID | None
    next_pool: str | None
    parent_run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that somebody who is not its owner moved on. For a terminal status an event is still to be told."""

    id: UUID
    status: str
    pool: str
    attempt: int
    error: Mapping[str, str] | None
    terminal_event_id: str | None
    keep_through: str | None
    next_id: UUID | None
    next_pool: str | None
    parent_run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class TailRow:
    """What a tail needs to know of the run that it follows."""

    id: UUID
    status: str
    attempt: int
    terminal_event_id: str | None
    output: Any
    error: Mapping[str, str] | None
    run_owner_pod: str | None
    keep_through: str | None


@dataclass(frozen=True, slots=True)
class JournalStep:
    """One step of a run's journal.

    Attributes:
        status: ``started``; ``retry`` (its outcome was unknown, and a person said: run it again); ``completed``; ``failed``.
        errors: of each try that failed: ``{try, code, message, at}``, in order.
        recorded, emits: the runner's own, kept for replays.
        finish_id: of its ``step.completed`` or ``step.failed``, also when the log lost that; ``last_event_id`` is then None.
        told: False when it was finished while nobody owned the run: the next owner tells viewers.
    """

    position: str
    kind: str
    name: str
    input_hash: bytes
    status: str
    tries: int
    attempt: int
    output: Any
    error: Mapping[str, str] | None
    shown_text: str
    last_event_id: str | None
    started_at: datetime
    finished_at: datetime | None
    call_id: str | None = None
    input: Any = None
    code_version: str = ""
    timeout_s: float | None = None
    errors: list[Mapping[str, Any]] = field(default_factory=list)
    recorded: list[Any] = field(default_factory=list)
    emits: Any = None
    finish_id: str | None = None
    told: bool = True

    @property
    def finished(self) -> bool:
        """Its result is known and final."""
        return self.status in ("completed", "failed")


@dataclass(frozen=True, slots=True)
class KeptText:
    """What an attempt that suspended had shown outside of steps since the last finished one: viewers keep it."""

    attempt: int
    shown_text: str
    finish_id: str | None
    last_event_id: str | None
    emits: Any


def in_snapshot(kept: JournalStep | KeptText) -> dict[str, Any]:
    """An entry of a ``snapshot`` event's ``steps``: a finished step, or text that was shown outside any (``position`` null)."""
    if isinstance(kept, KeptText):
        return {
            "position": None,
            "kind": "text",
            "name": "",
            "status": "completed",
            "output": None,
            "error": None,
            "text": kept.shown_text,
            "last_event_id": kept.last_event_id,
        }
    return {
        "position": kept.position,
        "kind": kept.kind,
        "call_id": kept.call_id,
        "input": kept.input,
        "name": kept.name,
        "status": kept.status,
        "output": kept.output,
        "error": kept.error,
        "text": kept.shown_text,
        "last_event_id": kept.last_event_id,
    }


@dataclass(frozen=True, slots=True)
class WaitRow:
    """What a run waits for: ``kind`` is ask, sleep, child or unknown (a step whose outcome a person is asked for).

    ``id`` is the question's id. It can be answered once ``suspended``; ``done_at`` says that it has its answer.
    """

    id: UUID
    run_id: UUID
    position: str
    kind: str
    question: Any
    schema: Any
    wake_at: datetime | None
    child_run_id: UUID | None
    opened_at: datetime
    suspended: bool
    done_at: datetime | None
    answer: Any
    recorded: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Journaled:
    """All that a replay needs: steps in order, kept texts in order of attempts, waits (done ones too) in the order of opening."""

    steps: list[JournalStep]
    kept: list[KeptText]
    waits: list[WaitRow]


@dataclass(frozen=True, slots=True)
class Woken:
    """A run that went back to the queue because its time has come or its child has ended."""

    id: UUID
    pool: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A run whose question has its answer now; ``status`` is ``queued`` when it wants a request."""

    id: UUID
    status: str
    pool: str
    attempt: int
    parent_run_id: UUID | None


@dataclass(frozen=True, slots=True)
class Expiring:
    """A run to be expired; ``why`` is ``deadline`` or ``stalled``. ``owner`` is None unless it is running."""

    run_id: UUID
    attempt: int
    owner: Owner | None
    why: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of a run."""

    attempt: int
    pod: str
    boot: UUID
    code_version: str
    started_at: datetime
    ended_at: datetime | None
    ended_why: str | None


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """A thread; ``seq`` is its place in lists."""

    id: str
    metadata: Mapping[str, Any]
    created_at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message of a thread's transcript; ``seq`` is its place. ``replaced_by`` is the fork whose answer stands for this one."""

    id: UUID
    run_id: UUID
    seq: int
    role: str
    parts: list[Mapping[str, Any]]
    status: str
    created_at: datetime
    replaced_by: UUID | None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent that a runner has loaded."""

    name: str
    pod: str
    boot: UUID
    pool: str
    version: str
    description: str
    input_schema: Mapping[str, Any]
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key, without the key."""

    id: UUID
    tenant_id: str
    name: str
    prefix: str
    operator: bool
    created_at: datetime
    revoked_at: datetime | None
