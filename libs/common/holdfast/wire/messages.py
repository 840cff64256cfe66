"""Messages between services, as frozen pydantic models. A golden file for each still parses (``tests/unit/wire``)."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A message: frozen, and tolerant of fields that a newer sender adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunRequest(Message):
    """ "This run wants a runner": only a wake-up, the record decides.

    ``log_seq`` is the place of the run's first event in the stream, if it is there and nothing else is: whoever claims the run
    need not ask where the log ends. Only a hint: an append that expects another end is refused, and the writer looks.
    """

    run_id: UUID
    traceparent: str | None = None
    log_seq: int | None = None


class Control(Message):
    """A word to the pod that owns a run, on ``pods.<pod>.control``."""

    action: Literal["cancel"]
    run_id: UUID
    attempt: int


class Heartbeat(Message):
    """A pod's life sign, the value of its key in the bucket. ``goodbye`` marks the deliberate last one."""

    pod: str
    boot: UUID
    kind: Literal["runner", "reaper"] = "runner"
    pool: str = "default"
    started_at: str
    pid: int
    host: str
    slots: int = Field(default=0, ge=0)
    running: int = Field(default=0, ge=0)
    draining: bool = False
    goodbye: bool = False
    version: str
