"""Short words for what the tests do to a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4, uuid5

from holdfast.runs import Lease, OnBusy, OnOwnerLost, Outcome, Owner
from holdfast.store import (
    Answered,
    Claimed,
    Database,
    Ended,
    Finished,
    JournalStep,
    WaitRow,
    caller,
    owner,
    stranger,
)

TENANT = "default"
AGENTS = {"echo": "v1"}


def boot(pod: str = "a") -> Owner:
    """A pod that has just started."""
    return Owner(pod, uuid4())


def request(thread: str = "t", said: str = "hi", **fields: Any) -> caller.Submit:
    """A request for a run of ``echo``."""
    body: dict[str, Any] = {
        "run_id": uuid4(), "tenant_id": TENANT, "thread_id": thread, "make_thread": True, "agent": "echo", "pool": "default",
        "input": {"messages": [{"role": "user", "content": said}]}, "metadata": {}, "on_busy": OnBusy.ENQUEUE,
    }  # fmt: skip
    return caller.Submit(**(body | fields))


def question(lease: Lease, position: str = "7") -> UUID:
    """The id of the question at a position."""
    return uuid5(lease.run_id, position)


@dataclass(frozen=True)
class Record:
    """The record under test."""

    db: Database

    async def raw(self, statement: str, *args: object) -> list[Any]:
        """Any SQL."""
        return await self.db.run(lambda connection: connection.fetch(statement, *args))

    async def submit(self, thread: str = "t", *, policy: OnOwnerLost = OnOwnerLost.RESUME, **fields: Any) -> UUID:
        """A queued run."""
        return (await caller.submit(self.db, request(thread, on_owner_lost=policy, **fields))).run.id

    async def claim(self, run_id: UUID, who: Owner) -> Claimed | None:
        """Claim it for a runner that has ``echo``."""
        return await owner.claim(self.db, run_id, who, AGENTS)

    async def claimed(self, who: Owner, thread: str = "t", **fields: Any) -> Lease:
        """Submit a run and claim it."""
        run_id = await self.submit(thread, **fields)
        claimed = await self.claim(run_id, who)
        assert claimed is not None
        return Lease(run_id, who, claimed.run.attempt)

    async def intend(self, lease: Lease, position: str = "0", *, tries: int = 1) -> None:
        """The intent of a model call."""
        await owner.intend(self.db, lease, position=position, kind="model", name="chat", input_hash=b"h", tries=tries)

    async def checkpoint(self, lease: Lease, position: str = "0", *, said: str = "", **fields: Any) -> None:
        """The result of it."""
        result: dict[str, Any] = {"output": {"text": said}, "last_event_id": f"{lease.attempt}-9"} | fields
        await owner.checkpoint(self.db, lease, position=position, shown_text=said, **result)

    async def step(self, lease: Lease, position: str = "0", *, said: str = "", **fields: Any) -> None:
        """Both."""
        await self.intend(lease, position)
        await self.checkpoint(lease, position, said=said, **fields)

    async def finish(self, lease: Lease, outcome: Outcome = Outcome.COMPLETED, *, said: str = "") -> Finished:
        """The owner's end, at event 90 of its attempt."""
        error = (
            {"code": "agent_error", "message": "it broke"} if outcome in (Outcome.FAILED, Outcome.INTERRUPTED) else None
        )
        return await owner.finish(
            self.db, lease, outcome=outcome, output={"text": said}, error=error,
            terminal_event_id=f"{lease.attempt}-90", shown_text=said,
        )  # fmt: skip

    async def release(self, lease: Lease, *, said: str = "") -> Finished:
        """Give it back; a cancel would end it at event 80 of the attempt."""
        return await owner.release(self.db, lease, next_event_id=f"{lease.attempt}-80", shown_text=said)

    async def ask(self, lease: Lease, position: str = "7", **fields: Any) -> WaitRow:
        """Open a wait, for an answer unless ``fields`` say otherwise."""
        body: dict[str, Any] = {
            "wait_id": question(lease, position), "position": position, "kind": "ask", "name": "ask", "input_hash": b"q",
            "question": {"text": "May I?"}, "schema": {"type": "boolean"},
        }  # fmt: skip
        return await owner.open_wait(self.db, lease, **(body | fields))

    async def suspend(self, lease: Lease, *positions: str, said: str = "") -> Finished:
        """Wait for what was opened at these positions; a cancel would end it at event 70 of the attempt."""
        waits = [
            (question(lease, at), f"{lease.attempt}-{60 + n}", f"{lease.attempt}-{60 + n}")
            for n, at in enumerate(positions or ("7",))
        ]
        return await owner.suspend(
            self.db, lease, waits=waits, next_event_id=f"{lease.attempt}-70", shown_text=said,
            finish_id=waits[-1][1], last_event_id=waits[-1][2], emits={"": 1} if said else None,
        )  # fmt: skip

    async def waiting(self, who: Owner, thread: str = "t", *, said: str = "", **fields: Any) -> Lease:
        """A run that waits for an answer; the lease is the one that it gave up."""
        lease = await self.claimed(who, thread, **fields)
        await self.ask(lease)
        assert (await self.suspend(lease, said=said)).status == "waiting"
        return lease

    async def answer(
        self,
        lease: Lease,
        position: str = "7",
        *,
        answer: Any = True,
        status: Literal["completed", "failed", "retry"] = "completed",
    ) -> Answered | None:
        """A person's."""
        return await caller.answer(
            self.db, TENANT, lease.run_id, question(lease, position), answer=answer, status=status, output=answer
        )

    async def again(self, lease: Lease, who: Owner | None = None) -> Lease:
        """Claim the run once more."""
        claimed = await self.claim(lease.run_id, who or lease.owner)
        assert claimed is not None
        return Lease(lease.run_id, who or lease.owner, claimed.run.attempt)

    async def journal(self, run: Lease | UUID) -> dict[str, JournalStep]:
        """Its steps by position."""
        run_id = run.run_id if isinstance(run, Lease) else run
        return {step.position: step for step in (await owner.journal(self.db, run_id)).steps}

    async def reclaim(self, *leases: Lease) -> list[Ended]:
        """A reaper's, of one dead owner."""
        return await stranger.reclaim(self.db, leases[0].owner, [(each.run_id, each.attempt) for each in leases])

    async def cancel(self, run_id: UUID) -> Ended | None:
        """A client's."""
        return await stranger.cancel(self.db, TENANT, run_id)

    async def force_cancel(self, lease: Lease, *, grace_s: float = 0.0) -> Ended | None:
        """A reaper's."""
        return await stranger.force_cancel(self.db, lease.run_id, lease.attempt, lease.owner, grace_s=grace_s)

    async def row(self, run_id: UUID) -> dict[str, Any]:
        """Every column of a run."""
        rows = await self.raw("SELECT * FROM runs WHERE id = $1", run_id)
        return dict(rows[0])

    async def status(self, run_id: UUID) -> str:
        """Its status."""
        return str((await self.row(run_id))["status"])

    async def brought_to(self, status: str, thread: str = "t") -> UUID:
        """A run in this status, by the shortest way there is."""
        if status == "queued":
            return await self.submit(thread)
        if status == "interrupted":
            lease = await self.claimed(boot(), thread, policy=OnOwnerLost.INTERRUPT)
            await self.reclaim(lease)
            return lease.run_id
        lease = await self.claimed(boot(), thread)
        if status == "waiting":
            await self.ask(lease)
            await self.suspend(lease)
        elif status == "cancelled":
            await self.cancel(lease.run_id)
            await self.finish(lease)
        elif status != "running":
            await self.finish(lease, Outcome(status))
        assert await self.status(lease.run_id) == status
        return lease.run_id
