"""A runner's hands on one run: what an owner writes to the log and to the record, one act at a time, by a test's will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID, uuid4, uuid5

from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.errors import BusUnavailable
from holdfast.runs import EventId, Lease, Outcome, Owner
from holdfast.store import Database, owner
from holdfast.wire import events
from holdfast_gateway.picture import Picture, in_order, take_picture
from tests.support.wait import wait_until


class Hands:
    """Holds a run. ``emit`` appends one event; ``step`` does a whole step; ``suspend`` and ``finish`` leave the run."""

    def __init__(self, db: Database, client: Client, lease: Lease, seq: int) -> None:
        self.lease = lease
        self.shown = ""
        self._since_step = ""
        self._open: list[dict[str, Any]] = []
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
            await hands._show_copied(await take_picture(db, run_id))
            return hands
        journal = await owner.journal(db, run_id)
        kept = in_order(journal.steps, journal.kept)
        hands.shown = "".join(each.shown_text for each in kept)
        ids = [EventId.parse(each.last_event_id) for each in kept if each.last_event_id]
        resumed = {
            "run_id": str(run_id),
            "attempt": run.attempt,
            "pod": pod,
            "from_pod": claimed.from_pod,
            "reason": claimed.from_why,
            "keep_through": str(max(ids)) if ids else None,
        }
        await hands.emit("run.resumed", resumed)
        for step in journal.steps:
            if step.finished and not step.told:
                await hands.emit("step.completed", {"position": step.position, "output": step.output})
        return hands

    async def _show_copied(self, picture: Picture) -> None:
        """A fork's owner begins with a snapshot of what was copied."""
        if picture.kept:
            await self.append(picture.frame(self._next))
            self._next = self._next.next()

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

    async def mend(self, **unfinished: str) -> EventId:
        """The log is not the one that was written: as soon as there is one, replace what was in it.

        ``unfinished`` is the text of steps that are under way: ``step_1="tw"``.
        """
        await wait_until(self._finds_the_end, description="there is a log again")
        picture = await take_picture(self._db, self.lease.run_id)
        partial = [{"position": name.removeprefix("step_"), "text": text} for name, text in unfinished.items()]
        return await self.emit("snapshot", {**events.decode(picture.frame(self._next)).data, "partial": partial})

    async def _finds_the_end(self) -> bool:
        try:
            self._seq = (await event_log.end(self._client, self.lease.run_id)).seq
        except BusUnavailable:
            return False
        return True

    async def text(self, position: str | None, *words: str) -> None:
        """Show words, one event each."""
        for word in words:
            await self.emit("text.delta", {"position": position, "text": word})
            self.shown += word
            self._since_step += word

    async def begin_step(self, position: str, *, kind: str = "model", tries: int = 1, **known: Any) -> None:
        """The intent, and step.started."""
        name = "chat" if kind == "model" else "send_mail"
        at: dict[str, Any] = {"position": position, "kind": kind, "name": name}
        await owner.intend(self._db, self.lease, **at, input_hash=b"h", tries=tries, **known)
        await self.emit("step.started", at)

    async def open(self, position: str, kind: str, *, seconds: float | None = None, **asked: Any) -> UUID:
        """Journal something that the run waits for; returns its id. ``asked``: ``question``, ``schema``, ``child``."""
        wait_id = uuid5(self.lease.run_id, f"{position}/1")
        at: dict[str, Any] = {"position": position, "kind": kind, "name": kind}
        await owner.open_wait(self._db, self.lease, wait_id=wait_id, **at, input_hash=b"h", seconds=seconds, **asked)
        self._open.append({"position": position, "kind": kind, "question_id": str(wait_id)})
        return wait_id

    async def tell_waits(self) -> None:
        """A run.waiting for each."""
        for wait in self._open:
            wait["finish_id"] = await self.emit("run.waiting", wait)

    async def suspend(self, *, tell: bool = True) -> str:
        """Leave the run to wait for what was opened. Returns its status."""
        if tell:
            await self.tell_waits()
        ids = [(UUID(wait["question_id"]), str(wait["finish_id"]), str(wait["finish_id"])) for wait in self._open]
        left = await owner.suspend(
            self._db,
            self.lease,
            waits=ids,
            next_event_id=str(self._next),
            shown_text=self._since_step,
            finish_id=ids[-1][1],
            last_event_id=ids[-1][2],
        )
        return left.status

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
            shown_text=self._since_step,
        )
        data: dict[str, Any] = {"output": ended.output} if ended.status == "completed" else {}
        if ended.status == "failed":
            data = {"error": ended.error}
        if ended.status == "interrupted":
            data = {"reason": error}
        frame = self.make(f"run.{ended.status}", data)
        if tell:
            await self.append(frame)
        return ended.status
