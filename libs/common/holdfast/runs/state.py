"""A run's life: one table of commands, and the pure function that applies a command to a run.

Python decides here, SQL guards in ``store``: each statement there is one row of this table, and tests hold the two
against each other. What the table does not list is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID


class Status(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
ACTIVE = frozenset(Status) - TERMINAL


class Command(StrEnum):
    """What may be asked of a run."""

    CLAIM = "claim"
    CHECKPOINT = "checkpoint"
    SUSPEND = "suspend"
    WAKE = "wake"
    RELEASE = "release"
    FINISH = "finish"
    RECLAIM = "reclaim"
    CANCEL = "cancel"
    FORCE_CANCEL = "force_cancel"
    RESUME = "resume"
    ABANDON = "abandon"
    EXPIRE = "expire"


class Outcome(StrEnum):
    """How an owner says that its run ended; interrupted is no end: its code changed under it, and it may be resumed."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class OnOwnerLost(StrEnum):
    """What becomes of a run whose owner died."""

    RESUME = "resume"
    INTERRUPT = "interrupt"
    FAIL = "fail"


class OnBusy(StrEnum):
    """What a submit does when its thread has an active run."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    REPLACE = "replace"


_S = Status
TABLE: Mapping[tuple[Command, Status], frozenset[Status]] = {
    (Command.CLAIM, _S.QUEUED): frozenset({_S.RUNNING}),
    (Command.CHECKPOINT, _S.RUNNING): frozenset({_S.RUNNING}),
    (Command.SUSPEND, _S.RUNNING): frozenset({_S.WAITING, _S.QUEUED, _S.CANCELLED}),
    (Command.WAKE, _S.WAITING): frozenset({_S.QUEUED, _S.CANCELLED}),
    (Command.RELEASE, _S.RUNNING): frozenset({_S.QUEUED, _S.CANCELLED}),
    (Command.FINISH, _S.RUNNING): frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.INTERRUPTED}),
    (Command.RECLAIM, _S.RUNNING): frozenset({_S.QUEUED, _S.INTERRUPTED, _S.FAILED, _S.CANCELLED}),
    (Command.CANCEL, _S.QUEUED): frozenset({_S.CANCELLED}),
    (Command.CANCEL, _S.WAITING): frozenset({_S.CANCELLED}),
    (Command.CANCEL, _S.INTERRUPTED): frozenset({_S.CANCELLED}),
    (Command.CANCEL, _S.RUNNING): frozenset({_S.RUNNING}),
    (Command.FORCE_CANCEL, _S.RUNNING): frozenset({_S.CANCELLED}),
    (Command.RESUME, _S.INTERRUPTED): frozenset({_S.QUEUED}),
    (Command.ABANDON, _S.INTERRUPTED): frozenset({_S.FAILED}),
    (Command.EXPIRE, _S.QUEUED): frozenset({_S.FAILED}),
    (Command.EXPIRE, _S.WAITING): frozenset({_S.FAILED}),
    (Command.EXPIRE, _S.RUNNING): frozenset({_S.FAILED, _S.CANCELLED}),
}
"""(command, from) -> the statuses that may follow. ``docs/run_life.md`` draws it; a test compares the two."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pod at one of its process starts."""

    pod: str
    boot: UUID


@dataclass(frozen=True, slots=True)
class Lease:
    """The proof that every write of an owner carries: the attempt is the fencing token."""

    run_id: UUID
    owner: Owner
    attempt: int


@dataclass(frozen=True, slots=True)
class RunState:
    """What of a run decides about commands. ``crashes`` counts reclaims since the last finished step."""

    status: Status = Status.QUEUED
    attempt: int = 0
    owner: Owner | None = None
    crashes: int = 0
    max_crashes: int = 5
    cancel_requested: bool = False
    on_owner_lost: OnOwnerLost = OnOwnerLost.RESUME


class Refusal(StrEnum):
    """Why a command was refused. ``LOST`` is the normal outcome of a write by somebody who is not the owner any more."""

    TERMINAL = "terminal"
    WRONG_STATUS = "wrong_status"
    LOST = "lost"
    NOT_REQUESTED = "not_requested"


_FENCED = frozenset(
    {
        Command.CHECKPOINT,
        Command.SUSPEND,
        Command.RELEASE,
        Command.FINISH,
        Command.RECLAIM,
        Command.FORCE_CANCEL,
    }
)


def transition(
    run: RunState,
    command: Command,
    *,
    owner: Owner | None = None,
    attempt: int | None = None,
    outcome: Outcome | None = None,
    over: bool = False,
) -> RunState | Refusal:
    """Apply a command.

    Args:
        run: the run as it is.
        command: what is asked.
        owner: who claims; for a fenced command the owner that the writer believes in.
        attempt: for a fenced command, the attempt that the writer believes in.
        outcome: for ``FINISH``, what the owner says.
        over: for ``SUSPEND``, what the run would wait for is over already: the answer came, the time has passed.

    Returns:
        The run after the command, or why it was refused. A refused command changes nothing.
    """
    if (command, run.status) not in TABLE:
        if command in _FENCED:
            return Refusal.LOST
        return Refusal.TERMINAL if run.status in TERMINAL else Refusal.WRONG_STATUS
    fenced = command in _FENCED or (command is Command.EXPIRE and run.status is Status.RUNNING)
    if fenced and (owner is None or run.owner != owner or run.attempt != attempt):
        return Refusal.LOST
    if command is Command.FORCE_CANCEL and not run.cancel_requested:
        return Refusal.NOT_REQUESTED
    return _apply(run, command, owner, outcome, over)


def _apply(run: RunState, command: Command, owner: Owner | None, outcome: Outcome | None, over: bool) -> RunState:
    match command:
        case Command.CLAIM:
            assert owner is not None
            return replace(run, status=Status.RUNNING, owner=owner, attempt=run.attempt + 1)
        case Command.CHECKPOINT:
            return replace(run, crashes=0)
        case Command.SUSPEND:
            left = _leave(run, Status.QUEUED if over else Status.WAITING)
            return replace(left, crashes=0) if left.status is Status.QUEUED else left
        case Command.RELEASE:
            return _leave(run, Status.QUEUED)
        case Command.FINISH:
            assert outcome is not None
            return _leave(run, Status(outcome))
        case Command.RECLAIM:
            return _reclaimed(replace(run, crashes=run.crashes + 1))
        case Command.CANCEL if run.status is Status.RUNNING:
            return replace(run, cancel_requested=True)
        case Command.WAKE:
            return (
                _ended_by_other(run, Status.CANCELLED)
                if run.cancel_requested
                else replace(run, status=Status.QUEUED, crashes=0)
            )
        case Command.RESUME:
            return replace(run, status=Status.QUEUED, crashes=0)
        case Command.CANCEL | Command.FORCE_CANCEL:
            return replace(_ended_by_other(run, Status.CANCELLED), cancel_requested=True)
        case Command.EXPIRE if run.cancel_requested and run.status is Status.RUNNING:
            return _ended_by_other(run, Status.CANCELLED)
        case Command.ABANDON | Command.EXPIRE:
            return _ended_by_other(run, Status.FAILED)


def _leave(run: RunState, status: Status) -> RunState:
    """The owner gives the run up itself; a requested cancel wins over whatever it wanted."""
    return replace(run, status=Status.CANCELLED if run.cancel_requested else status, owner=None)


def _reclaimed(run: RunState) -> RunState:
    """A dead owner's run, its crash already counted."""
    if run.cancel_requested:
        return _ended_by_other(run, Status.CANCELLED)
    if run.on_owner_lost is OnOwnerLost.FAIL or run.crashes >= run.max_crashes:
        return _ended_by_other(run, Status.FAILED)
    if run.on_owner_lost is OnOwnerLost.INTERRUPT:
        return _ended_by_other(run, Status.INTERRUPTED)
    return replace(run, status=Status.QUEUED, owner=None)


def _ended_by_other(run: RunState, status: Status) -> RunState:
    """Somebody who is not the owner makes an event: it takes a new attempt, so that each attempt has one writer."""
    return replace(run, status=status, owner=None, attempt=run.attempt + 1)
