"""What the record's statements return, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

T = TypeVar("T")


class Columns(Protocol):
    """A row of the driver: values by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@cache
def _names(cls: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cast(Any, cls)))


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


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An interrupted run that a later run's claim gave up: its terminal event is still to be told."""

    id: UUID
    terminal_event_id: str
    error: Mapping[str, str]
    keep_through: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that was just claimed. ``from_pod`` and ``from_why`` tell of the attempt before, None for the first."""

    run: RunRow
    from_pod: str | None
    from_why: str | None
    abandoned: tuple[Abandoned, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What an owner's last write made of its run, and the thread's next run that wants a request."""

    status: str
    output: Any
    error: Mapping[str, str] | None
    next_id: UUID | None
    next_pool: str | None


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
    """One step of a run's journal."""

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
    """A message of a thread's transcript; ``seq`` is its place."""

    id: UUID
    run_id: UUID
    seq: int
    role: str
    parts: list[Mapping[str, Any]]
    status: str
    created_at: datetime


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
