"""A runner's hands on one run: what an owner writes to the log and to the record, one act at a time, by a test's will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID, uuid4

from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.runs import EventId, Lease, Outcome, Owner
from holdfast.store import Database, owner
from holdfast.wire import events


class Hands:
    """Holds a run. ``emit`` appends one event; ``step`` does a whole step; ``finish`` ends the run in the record."""

    def __init__(self, db: Database, client: Client, lease: Lease, seq: int) -> None:
        self.lease = lease
        self.shown = ""
        self._since_step = ""
        self._db, self._client = db, client
        self._seq = seq
        self._next = EventId(lease.attempt, 1)

    @classmethod
    async def claim(cls, db: Database, client: Client, run_id: UUID, pod: str) -> Self:
        """Claim, and emit run.started or run.resumed."""
        claimed = await owner.claim(db, run_id, Owner(pod, uuid4()), {"echo": "v1"})
        assert claimed is not None, "not claimed"
        run = claimed.run
        assert run.run_owner_boot is not None
        lease = Lease(run_id, Owner(pod, run.run_owner_boot), run.attempt)
        hands = cls(db, client, lease, (await event_log.end(client, run_id)).seq)
        if claimed.from_pod is None:
            await hands.emit("run.started", {"run_id": str(run_id), "attempt": run.attempt, "pod": pod})
            return hands
        kept = [step for step in await owner.journal(db, run_id) if step.status == "completed"]
        hands.shown = "".join(step.shown_text for step in kept)
        ids = [EventId.parse(step.last_event_id) for step in kept if step.last_event_id]
        resumed = {
            "run_id": str(run_id),
            "attempt": run.attempt,
            "pod": pod,
            "from_pod": claimed.from_pod,
            "reason": claimed.from_why,
            "keep_through": str(max(ids)) if ids else None,
        }
        await hands.emit("run.resumed", resumed)
        return hands

    @property
    def next_id(self) -> EventId:
        """The id that the next event will have."""
        return self._next

    def make(self, event_type: str, data: Mapping[str, Any]) -> bytes:
        """The next event, not appended."""
        frame = events.frame(self._next, event_type, data)
        self._next = self._next.next()
        return frame

    async def append(self, *frames: bytes) -> None:
        """Append events as one message."""
        self._seq = await event_log.append(
            self._client,
            self.lease.run_id,
            b"".join(frames),
            last_id=events.frame_id(frames[-1]),
            boot=self.lease.owner.boot,
            expected_seq=self._seq,
        )

    async def emit(self, event_type: str, data: Mapping[str, Any]) -> EventId:
        """Append the next event."""
        await self.append(self.make(event_type, data))
        return EventId(self._next.attempt, self._next.n - 1)

    async def text(self, position: str | None, *words: str) -> None:
        """Show words, one event each."""
        for word in words:
            await self.emit("text.delta", {"position": position, "text": word})
            self.shown += word
            self._since_step += word

    async def begin_step(self, position: str) -> None:
        """The intent, and step.started."""
        await owner.intend(self._db, self.lease, position=position, kind="model", name="chat", input_hash=b"h", tries=1)
        await self.emit("step.started", {"position": position, "kind": "model", "name": "chat"})

    async def end_step(self, position: str) -> EventId:
        """step.completed, then the checkpoint."""
        event_id = await self.emit("step.completed", {"position": position, "output": {"at": position}})
        await self.checkpoint(position, event_id)
        return event_id

    async def checkpoint(self, position: str, event_id: EventId | None) -> None:
        """A step's result in the record."""
        await owner.checkpoint(
            self._db,
            self.lease,
            position=position,
            output={"at": position},
            shown_text=self._since_step,
            last_event_id=str(event_id) if event_id is not None else None,
        )
        self._since_step = ""

    async def step(self, position: str, *words: str) -> EventId:
        """A whole step."""
        await self.begin_step(position)
        await self.text(position, *words)
        return await self.end_step(position)

    async def finish(self, outcome: Outcome = Outcome.COMPLETED, *, tell: bool = True, error: str | None = None) -> str:
        """End the run in the record, and in the log too unless the runner is to die in between. Returns the status."""
        failure = {"code": error, "message": "it went wrong"} if error else None
        ended = await owner.finish(
            self._db,
            self.lease,
            outcome=outcome,
            output={"text": self.shown} if outcome is Outcome.COMPLETED else None,
            error=failure,
            terminal_event_id=str(self._next),
            shown_text=self.shown,
        )
        data: dict[str, Any] = {"output": ended.output} if ended.status == "completed" else {}
        if ended.status == "failed":
            data = {"error": ended.error}
        frame = self.make(f"run.{ended.status}", data)
        if tell:
            await self.append(frame)
        return ended.status
