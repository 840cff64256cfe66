"""What the API answers, as frozen models. They change only by addition; the OpenAPI page is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from holdfast.runs import Status
from holdfast.store import AgentRow, AttemptRow, JournalStep, MessageRow, RunRow, ThreadRow, WaitRow
from holdfast.wire.messages import Heartbeat
from holdfast_gateway.http.wanted import CHAT_INPUT, QUESTION_ID

M = TypeVar("M")

_RUN_ID = "019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a"
_WITHOUT_WORK = frozenset({"ask", "sleep", "child"})  # steps that only wait: there is nothing that could be half done


class Answered(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(frozen=True)


class Page(Answered, Generic[M]):
    """A page of a list."""

    items: list[M]
    next_cursor: str | None = Field(
        default=None, description="for the next page's `?cursor=`; null: this is the last one"
    )


class Waiting(Answered):
    """Something that a run waits for. Only kinds `ask` and `unknown` want an answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "ask",
                    "position": "4",
                    "question_id": QUESTION_ID,
                    "question": {"type": "approval", "text": "May send_mail be called?", "tool": "send_mail"},
                    "schema": {"type": "object", "required": ["decision"]},
                    "until": None,
                    "child_run_id": None,
                    "since": "2026-11-20T10:00:07.000000Z",
                }
            ]
        }
    )

    kind: Literal["ask", "sleep", "child", "unknown"]
    position: str
    question_id: UUID
    question: Any = Field(description="what is asked; of kind `unknown` it shows the step")
    answer_schema: Any = Field(alias="schema", description="JSON schema of the answer; null: anything")
    until: datetime | None = Field(description="of kind `sleep`")
    child_run_id: UUID | None = Field(description="of kind `child`")
    since: datetime

    @classmethod
    def of(cls, row: WaitRow) -> Waiting:
        """A row, as it is shown."""
        return cls(
            kind=row.kind,
            position=row.position,
            question_id=row.id,
            question=row.question,
            schema=row.schema,
            until=row.wake_at,
            child_run_id=row.child_run_id,
            since=row.opened_at,
        )


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
                    "on_unknown": None,
                    "idle_timeout_s": 600,
                    "deadline_at": None,
                    "parent_run_id": None,
                    "forked_from": None,
                    "waiting": [],
                    "run_owner_pod": None,
                    "input": CHAT_INPUT,
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
    on_unknown: str | None = Field(description="null: what the step or its agent says")
    idle_timeout_s: int
    deadline_at: datetime | None
    parent_run_id: UUID | None = Field(description="the run that called this one, and ends it with itself")
    forked_from: UUID | None = Field(description="the run whose journal this one began with")
    waiting: list[Waiting] = Field(default=[], description="what it waits for")
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
    def of(cls, row: RunRow, waits: Sequence[WaitRow] = ()) -> Run:
        """A row and its open waits, as they are shown. What nobody can answer or wake yet is not shown as waiting."""
        run = cls.model_validate(row, from_attributes=True)
        waiting = [Waiting.of(wait) for wait in waits if wait.suspended]
        return run.model_copy(update={"waiting": waiting}) if waiting else run


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
    replaced_by: UUID | None = Field(description="the run, a fork on this thread, whose answer stands for this one")

    @classmethod
    def of(cls, row: MessageRow) -> Message:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class Step(Answered):
    """A step of a run's journal. ``text`` is what viewers were shown of it."""

    position: str
    kind: str
    name: str
    status: Literal["started", "retry", "completed", "failed"] = Field(
        description="`retry`: its outcome was not known, and a person said to run it again"
    )
    unknown: bool = Field(description="its work was begun, nobody is at it, and nobody knows what came of it")
    tries: int
    attempt: int
    call_id: str | None = Field(description="the tool call that it answers")
    input: Any = Field(description="what people are shown of what it was asked")
    output: Any
    error: dict[str, Any] | None
    errors: list[dict[str, Any]] = Field(
        description="of the tries that failed, in order",
        examples=[[{"try": 1, "code": "timeout", "message": "no answer", "at": "2026-11-20T10:00:05.000000Z"}]],
    )
    text: str
    code_version: str = Field(description="of the agent, when the step was begun")
    last_event_id: str | None
    started_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: JournalStep, run: RunRow) -> Step:
        """A row of this run, as it is shown."""
        at_work = run.status == "running" and run.attempt == row.attempt
        return cls(
            position=row.position,
            kind=row.kind,
            name=row.name,
            status=row.status,
            unknown=row.status == "started" and row.kind not in _WITHOUT_WORK and not at_work,
            tries=row.tries,
            attempt=row.attempt,
            call_id=row.call_id,
            input=row.input,
            output=row.output,
            error=dict(row.error) if row.error is not None else None,
            errors=[dict(each) for each in row.errors],
            text=row.shown_text,
            code_version=row.code_version,
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
