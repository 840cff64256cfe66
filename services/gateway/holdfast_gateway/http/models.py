"""What the API takes and answers, as frozen models. They change only by addition; the OpenAPI page is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from holdfast.runs import OnBusy, Status
from holdfast.store import AgentRow, AttemptRow, JournalStep, MessageRow, RunRow, ThreadRow
from holdfast.wire.messages import Heartbeat

M = TypeVar("M")

_ID = "A-Za-z0-9_:@-"
THREAD_ID_PATTERN = rf"^([{_ID}][.{_ID}]{{0,127}}|\.[{_ID}][.{_ID}]{{0,126}}|\.\.[.{_ID}]{{1,126}})$"
"""Letters, digits and ``._:@-``, 128 at the most; not ``.`` and ``..``, which clients take out of a path."""
ThreadId = Annotated[str, Field(pattern=THREAD_ID_PATTERN, examples=["chat-42"])]
AgentName = Annotated[str, Field(min_length=1, max_length=200, examples=["assistant"])]
Metadata = Annotated[dict[str, Any], Field(description="yours; kept as it is")]

_RUN_ID = "019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a"
_CHAT_INPUT: JsonDict = {"messages": [{"role": "user", "content": "Hello"}]}


class Taken(BaseModel):
    """A request's body: a field that is not known is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answered(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True)


class Page(Answered, Generic[M]):
    """A page of a list."""

    items: list[M]
    next_cursor: str | None = Field(
        default=None, description="for the next page's `?cursor=`; null: this is the last one"
    )


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


class RunWanted(Taken):
    """A submit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"agent": "assistant", "input": _CHAT_INPUT, "on_busy": "enqueue", "metadata": {"user": "7"}}]
        }
    )

    agent: AgentName
    input: Annotated[Any, AfterValidator(_not_null)] = Field(
        description='what the agent takes; of the built-in ones `{"messages": [{role, content}]}`'
    )
    on_busy: OnBusy = Field(
        default=OnBusy.ENQUEUE,
        description="the thread has an active run: `enqueue` behind it, `reject` with 409, or `replace` it",
    )
    metadata: Metadata = {}


class RunOnNewThreadWanted(RunWanted):
    """A submit that makes its thread."""

    thread_id: ThreadId | None = Field(default=None, description="the thread; made if it is not there. None: a new one")


class ThreadWanted(Taken):
    """A thread to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "chat-42", "metadata": {"user": "7"}}]})

    id: ThreadId | None = Field(default=None, description="yours to choose; none: one is made up")
    metadata: Metadata = {}
    if_exists: Literal["raise", "use"] = Field(default="raise", description="409, or 200 with the thread that there is")


class ErrorShown(Answered):
    """Why a run failed. ``code`` is stable."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    message: str


class Run(Answered):
    """A run, as the record holds it. Times are UTC."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _RUN_ID,
                    "thread_id": "chat-42",
                    "agent": "assistant",
                    "pool": "default",
                    "status": "completed",
                    "attempt": 2,
                    "crashes": 0,
                    "max_crashes": 5,
                    "on_owner_lost": "resume",
                    "run_owner_pod": None,
                    "input": _CHAT_INPUT,
                    "output": {"text": "Hello!"},
                    "error": None,
                    "metadata": {},
                    "created_at": "2026-11-20T10:00:00.000000Z",
                    "queued_at": "2026-11-20T10:00:03.500000Z",
                    "claimed_at": "2026-11-20T10:00:04.000000Z",
                    "last_progress_at": "2026-11-20T10:00:07.000000Z",
                    "cancel_requested_at": None,
                    "finished_at": "2026-11-20T10:00:07.000000Z",
                }
            ]
        }
    )

    id: UUID
    thread_id: str
    agent: str
    pool: str
    status: Status
    attempt: int = Field(description="how often it was claimed, or moved on by somebody who is not its owner")
    crashes: int = Field(description="owners that it lost since it last finished a step")
    max_crashes: int
    on_owner_lost: str
    run_owner_pod: str | None
    input: Any
    output: Any
    error: ErrorShown | None
    metadata: dict[str, Any]
    created_at: datetime
    queued_at: datetime
    claimed_at: datetime | None
    last_progress_at: datetime | None
    cancel_requested_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: RunRow) -> Run:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Thread(Answered):
    """A conversation."""

    id: str
    metadata: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, row: ThreadRow) -> Thread:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Message(Answered):
    """A message of a thread's durable transcript. A run's error is one of its parts."""

    id: UUID
    run_id: UUID
    role: Literal["system", "user", "assistant", "tool"]
    parts: list[dict[str, Any]] = Field(examples=[[{"type": "text", "text": "Hello"}]])
    created_at: datetime
    status: Literal["complete", "incomplete", "failed"]

    @classmethod
    def of(cls, row: MessageRow) -> Message:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Step(Answered):
    """A step of a run's journal. ``text`` is what viewers were shown of it."""

    position: str
    kind: str
    name: str
    status: Literal["started", "completed", "failed"]
    tries: int
    attempt: int
    output: Any
    error: dict[str, Any] | None
    text: str
    last_event_id: str | None
    started_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: JournalStep) -> Step:
        """A row, as it is shown."""
        return cls(
            position=row.position,
            kind=row.kind,
            name=row.name,
            status=row.status,
            tries=row.tries,
            attempt=row.attempt,
            output=row.output,
            error=dict(row.error) if row.error is not None else None,
            text=row.shown_text,
            last_event_id=row.last_event_id,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )


class Attempt(Answered):
    """One pod's hold on a run."""

    attempt: int
    pod: str
    boot: UUID
    code_version: str
    started_at: datetime
    ended_at: datetime | None
    ended_why: str | None = Field(examples=["owner_lost"])

    @classmethod
    def of(cls, row: AttemptRow) -> Attempt:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Agent(Answered):
    """An agent that runners have loaded."""

    name: str
    pool: str
    version: str
    description: str
    input_schema: dict[str, Any]
    seen_at: datetime

    @classmethod
    def of(cls, row: AgentRow) -> Agent:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Pod(Answered):
    """A live runner. ``host`` and ``pid`` are there for an operator's key alone."""

    pod: str
    boot: UUID
    pool: str
    slots: int
    running: int
    draining: bool
    version: str
    started_at: str
    last_seen: datetime | None = Field(default=None, description="when its newest heartbeat was written")
    host: str | None = None
    pid: int | None = None

    @classmethod
    def of(cls, beat: Heartbeat, *, last_seen: str | None, operator: bool) -> Pod:
        """A heartbeat, as it is shown."""
        return cls(
            pod=beat.pod,
            boot=beat.boot,
            pool=beat.pool,
            slots=beat.slots,
            running=beat.running,
            draining=beat.draining,
            version=beat.version,
            started_at=beat.started_at,
            last_seen=datetime.fromisoformat(last_seen) if last_seen is not None else None,
            host=beat.host if operator else None,
            pid=beat.pid if operator else None,
        )
