"""The model of a record: runs on threads, moved by the pure ``transition`` alone, and commands that can be sent to either.

A command's answer is a plain value, the same from the model as from Postgres. What the pure table does not know (the queue of a
thread, the journal, read-back ends) is stated here, in Python, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from holdfast.errors import LostOwnership
from holdfast.runs import TERMINAL, Command, Lease, Outcome, Owner, Refusal, RunState, Status, transition
from holdfast.store import caller, stranger
from tests.integration.store.record import TENANT, Record

OWNERS = tuple(Owner(pod, UUID(int=boot)) for pod, boot in (("a", 1), ("a", 2), ("b", 3), ("c", 4)))
LOST = "lost"
ASKED_AT = "7"
NO_ROW = None
_BLOCKING = {Status.RUNNING, Status.WAITING}
_WITH_TERMINAL_EVENT = {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.INTERRUPTED}

Answer = Any


@dataclass(frozen=True)
class Step:
    """A row of the journal."""

    status: str
    attempt: int
    tries: int
    last_event_id: str | None = None


@dataclass(frozen=True)
class Wait:
    """A row of the waits."""

    suspended: bool = False
    done: bool = False
    last_event_id: str | None = None


@dataclass(frozen=True)
class Run:
    """A run, and what hangs on it. ``ended`` maps its claimed attempts to why they ended, None while they go on."""

    thread: str
    rank: int
    state: RunState
    terminal_event_id: str | None = None
    error_code: str | None = None
    steps: Mapping[str, Step] = field(default_factory=dict)
    ended: Mapping[int, tuple[Owner, str | None]] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    requeued_why: str | None = None

    def moved(
        self,
        state: RunState,
        *,
        terminal_event_id: str | None = None,
        error_code: str | None = None,
        why: str,
        requeued_why: str | None = None,
    ) -> Run:
        """After a command that took it from its owner, or ended it; ``why`` closes the owner's attempt, if there is one."""
        ended = {attempt: (owner, was or why) for attempt, (owner, was) in self.ended.items()}
        if state.status not in _WITH_TERMINAL_EVENT:
            terminal_event_id = None
        return replace(
            self,
            state=state,
            ended=ended,
            terminal_event_id=terminal_event_id,
            error_code=error_code if state.status in (Status.FAILED, Status.INTERRUPTED) else None,
            requeued_why=requeued_why if state.status is Status.QUEUED else self.requeued_why,
        )

    def moved_by_stranger(
        self, state: RunState, *, error_code: str | None = None, why: str, requeued_why: str | None = None
    ) -> Run:
        """Its event, if it makes one, is the first of the attempt that the stranger took."""
        return self.moved(
            state, terminal_event_id=f"{state.attempt}-1", error_code=error_code, why=why, requeued_why=requeued_why
        )


World = Mapping[UUID, Run]


@dataclass(frozen=True)
class Claim:
    run_id: UUID
    owner: Owner

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.run_id]
        others = {id_: other for id_, other in world.items() if other.thread == run.thread and id_ != self.run_id}
        if any(other.state.status in _BLOCKING for other in others.values()) or any(
            other.state.status is Status.QUEUED and other.rank < run.rank for other in others.values()
        ):
            return world, NO_ROW
        claimed = transition(run.state, Command.CLAIM, owner=self.owner)
        if isinstance(claimed, Refusal):
            return world, NO_ROW
        after = dict(world)
        passed_over = [id_ for id_, other in others.items() if other.state.status is Status.INTERRUPTED]
        for id_ in passed_over:
            abandoned = transition(others[id_].state, Command.ABANDON)
            assert isinstance(abandoned, RunState)
            after[id_] = others[id_].moved_by_stranger(abandoned, error_code="abandoned", why="")
        before = run.ended[max(run.ended)] if run.ended else (None, None)
        ended = {**run.ended, claimed.attempt: (self.owner, None)}
        after[self.run_id] = replace(run, state=claimed, ended=ended, requeued_why=None)
        return after, (claimed.attempt, before[0].pod if before[0] else None, run.requeued_why, sorted(passed_over))

    async def send(self, record: Record) -> Answer:
        claimed = await record.claim(self.run_id, self.owner)
        if claimed is None:
            return NO_ROW
        return claimed.run.attempt, claimed.from_pod, claimed.from_why, sorted(each.id for each in claimed.abandoned)


@dataclass(frozen=True)
class Fenced:
    """What an owner writes. ``lease`` may be anybody's."""

    lease: Lease

    def _move(
        self, run: Run, command: Command, outcome: Outcome | None = None, *, over: bool = False
    ) -> RunState | Refusal:
        owner, attempt = self.lease.owner, self.lease.attempt
        return transition(run.state, command, owner=owner, attempt=attempt, outcome=outcome, over=over)


@dataclass(frozen=True)
class Intend(Fenced):
    position: str
    tries: int

    def apply(self, world: World) -> tuple[World, Answer]:
        run, step = world[self.lease.run_id], world[self.lease.run_id].steps.get(self.position)
        if isinstance(self._move(run, Command.CHECKPOINT), Refusal):  # the same fence
            return world, LOST
        mine = (self.lease.attempt, self.tries)
        if step is not None and (step.status != "started" or (step.attempt, step.tries) > mine):
            return world, LOST
        steps = {**run.steps, self.position: Step("started", *mine)}
        return {**world, self.lease.run_id: replace(run, steps=steps)}, "done"

    async def send(self, record: Record) -> Answer:
        try:
            await record.intend(self.lease, self.position, tries=self.tries)
        except LostOwnership:
            return LOST
        return "done"


@dataclass(frozen=True)
class Checkpoint(Fenced):
    position: str
    last_event_id: str
    fails: bool

    def apply(self, world: World) -> tuple[World, Answer]:
        run, step = world[self.lease.run_id], world[self.lease.run_id].steps.get(self.position)
        moved = self._move(run, Command.CHECKPOINT)
        if isinstance(moved, Refusal) or step is None or step.attempt != self.lease.attempt:
            return world, LOST
        done = replace(step, status="failed" if self.fails else "completed", last_event_id=self.last_event_id)
        if step not in (done, replace(done, status="started", last_event_id=None)):
            return world, LOST
        return {**world, self.lease.run_id: replace(run, state=moved, steps={**run.steps, self.position: done})}, "done"

    async def send(self, record: Record) -> Answer:
        result: dict[str, Any] = {"error": {"code": "x", "message": "y"}} if self.fails else {}
        try:
            await record.checkpoint(self.lease, self.position, last_event_id=self.last_event_id, **result)
        except LostOwnership:
            return LOST
        return "done"


@dataclass(frozen=True)
class Finish(Fenced):
    outcome: Outcome

    def apply(self, world: World) -> tuple[World, Answer]:
        run, event_id = world[self.lease.run_id], f"{self.lease.attempt}-90"
        moved = self._move(run, Command.FINISH, self.outcome)
        if isinstance(moved, Refusal):  # an end of this attempt is read back
            return world, str(run.state.status) if run.terminal_event_id == event_id else LOST
        after = run.moved(moved, terminal_event_id=event_id, error_code="agent_error", why=str(moved.status))
        return {**world, self.lease.run_id: after}, str(moved.status)

    async def send(self, record: Record) -> Answer:
        try:
            return (await record.finish(self.lease, self.outcome)).status
        except LostOwnership:
            return LOST


@dataclass(frozen=True)
class Release(Fenced):
    def apply(self, world: World) -> tuple[World, Answer]:
        run, event_id = world[self.lease.run_id], f"{self.lease.attempt}-80"
        moved = self._move(run, Command.RELEASE)
        if isinstance(moved, Refusal):
            if run.ended.get(self.lease.attempt) == (self.lease.owner, "released"):
                return world, "queued"
            return world, str(run.state.status) if run.terminal_event_id == event_id else LOST
        why = "released" if moved.status is Status.QUEUED else str(moved.status)
        after = run.moved(moved, terminal_event_id=event_id, why=why, requeued_why="released")
        return {**world, self.lease.run_id: after}, str(moved.status)

    async def send(self, record: Record) -> Answer:
        try:
            return (await record.release(self.lease)).status
        except LostOwnership:
            return LOST


@dataclass(frozen=True)
class Ask(Fenced):
    """Open a question, at the one position where there are questions."""

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.lease.run_id]
        if isinstance(self._move(run, Command.CHECKPOINT), Refusal):  # the same fence
            return world, LOST
        step = run.steps.get(ASKED_AT, Step("started", self.lease.attempt, 1))
        if step.status == "started":
            step = replace(step, attempt=self.lease.attempt)
        waits = {ASKED_AT: Wait()} | dict(run.waits)
        after = replace(run, steps={**run.steps, ASKED_AT: step}, waits=waits)
        return {**world, self.lease.run_id: after}, waits[ASKED_AT].done

    async def send(self, record: Record) -> Answer:
        try:
            return (await record.ask(self.lease, ASKED_AT)).done_at is not None
        except LostOwnership:
            return LOST


@dataclass(frozen=True)
class Suspend(Fenced):
    """Wait for the answer. Nothing keeps an owner from waiting for what it has not opened: that waits until it is cancelled."""

    def apply(self, world: World) -> tuple[World, Answer]:
        run, event_id = world[self.lease.run_id], f"{self.lease.attempt}-70"
        wait = run.waits.get(ASKED_AT)
        moved = self._move(run, Command.SUSPEND, over=wait is not None and wait.done)
        if isinstance(moved, Refusal):
            if run.ended.get(self.lease.attempt) == (self.lease.owner, "waiting"):
                return world, "queued" if run.state.status is Status.QUEUED else "waiting"
            return world, str(run.state.status) if run.terminal_event_id == event_id else LOST
        why = "cancelled" if moved.status is Status.CANCELLED else "waiting"
        after = run.moved(moved, terminal_event_id=event_id, why=why, requeued_why="answered")
        if wait is not None and not wait.done:
            marked = Wait(suspended=True, last_event_id=f"{self.lease.attempt}-60")
            after = replace(after, waits={**run.waits, ASKED_AT: marked})
        return {**world, self.lease.run_id: after}, str(moved.status)

    async def send(self, record: Record) -> Answer:
        try:
            return (await record.suspend(self.lease, ASKED_AT)).status
        except LostOwnership:
            return LOST


@dataclass(frozen=True)
class GiveAnswer:
    """Wakes the run if it waits; in any other active status it only completes the step."""

    run_id: UUID

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.run_id]
        wait = run.waits.get(ASKED_AT)
        if wait is None or wait.done or not wait.suspended or run.state.status in TERMINAL:
            return world, NO_ROW
        done = Step("completed", run.state.attempt, run.steps[ASKED_AT].tries, wait.last_event_id)
        after = replace(
            run, waits={**run.waits, ASKED_AT: replace(wait, done=True)}, steps={**run.steps, ASKED_AT: done}
        )
        if run.state.status is Status.WAITING:
            woken = transition(run.state, Command.WAKE)
            assert isinstance(woken, RunState)
            after = replace(after, state=woken, requeued_why="answered")
        return {**world, self.run_id: after}, (str(after.state.status), after.state.attempt)

    async def send(self, record: Record) -> Answer:
        answered = await record.answer(Lease(self.run_id, OWNERS[0], 0), ASKED_AT)
        return (answered.status, answered.attempt) if answered is not None else NO_ROW


@dataclass(frozen=True)
class Resume:
    run_id: UUID

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.run_id]
        moved = transition(run.state, Command.RESUME)
        if isinstance(moved, Refusal):
            return world, NO_ROW
        after = replace(run, state=moved, terminal_event_id=None, error_code=None, requeued_why="resumed")
        return {**world, self.run_id: after}, (str(moved.status), moved.attempt)

    async def send(self, record: Record) -> Answer:
        row = await caller.resume(record.db, TENANT, self.run_id)
        return (row.status, row.attempt) if row is not None else NO_ROW


@dataclass(frozen=True)
class Expire:
    """By the deadline: here every run is born past it. Names what was seen; ``owner`` is None where nobody owns the run."""

    run_id: UUID
    attempt: int
    owner: Owner | None

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.run_id]
        moved = transition(run.state, Command.EXPIRE, owner=self.owner, attempt=self.attempt)
        if isinstance(moved, Refusal) or (self.owner, self.attempt) != (run.state.owner, run.state.attempt):
            return world, NO_ROW
        after = run.moved_by_stranger(moved, error_code="deadline", why=str(moved.status))
        return {**world, self.run_id: after}, (str(moved.status), moved.attempt, after.terminal_event_id)

    async def send(self, record: Record) -> Answer:
        ended = await stranger.expire(record.db, self.run_id, self.attempt, self.owner, "deadline")
        return (ended.status, ended.attempt, ended.terminal_event_id) if ended is not None else NO_ROW


@dataclass(frozen=True)
class Reclaim:
    """A reaper's, of all that it has seen with one owner."""

    leases: tuple[Lease, ...]

    def apply(self, world: World) -> tuple[World, Answer]:
        after, taken = dict(world), []
        for lease in self.leases:
            run = after[lease.run_id]
            moved = transition(run.state, Command.RECLAIM, owner=lease.owner, attempt=lease.attempt)
            if isinstance(moved, RunState):
                code = "owner_lost" if run.state.on_owner_lost == "fail" else "crash_loop"
                after[lease.run_id] = run.moved_by_stranger(
                    moved,
                    error_code=code
                    if moved.status is Status.FAILED
                    else "owner_lost"
                    if moved.status is Status.INTERRUPTED
                    else None,
                    why="owner_lost",
                    requeued_why="owner_lost",
                )
                taken.append((lease.run_id, str(moved.status), moved.attempt, after[lease.run_id].terminal_event_id))
        return after, sorted(taken)

    async def send(self, record: Record) -> Answer:
        return sorted(
            (each.id, each.status, each.attempt, each.terminal_event_id) for each in await record.reclaim(*self.leases)
        )


@dataclass(frozen=True)
class Cancel:
    run_id: UUID

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.run_id]
        moved = transition(run.state, Command.CANCEL)
        if isinstance(moved, Refusal):
            return world, NO_ROW
        marked = moved.status is Status.RUNNING
        after = replace(run, state=moved) if marked else run.moved_by_stranger(moved, why="cancelled")
        return {**world, self.run_id: after}, (str(moved.status), moved.attempt, after.terminal_event_id)

    async def send(self, record: Record) -> Answer:
        ended = await record.cancel(self.run_id)
        return (ended.status, ended.attempt, ended.terminal_event_id) if ended is not None else NO_ROW


@dataclass(frozen=True)
class ForceCancel:
    lease: Lease

    def apply(self, world: World) -> tuple[World, Answer]:
        run = world[self.lease.run_id]
        moved = transition(run.state, Command.FORCE_CANCEL, owner=self.lease.owner, attempt=self.lease.attempt)
        if isinstance(moved, Refusal):
            return world, NO_ROW
        after = run.moved_by_stranger(moved, why="cancelled")
        return {**world, self.lease.run_id: after}, (str(moved.status), moved.attempt, after.terminal_event_id)

    async def send(self, record: Record) -> Answer:
        ended = await record.force_cancel(self.lease)
        return (ended.status, ended.attempt, ended.terminal_event_id) if ended is not None else NO_ROW


AnyCommand = (
    Claim
    | Intend
    | Checkpoint
    | Finish
    | Release
    | Ask
    | Suspend
    | GiveAnswer
    | Resume
    | Expire
    | Reclaim
    | Cancel
    | ForceCancel
)
