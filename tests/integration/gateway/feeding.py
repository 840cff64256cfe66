"""What tests of the feed follow and change: one tenant of a gateway's, its runs, and the state that its events make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID, uuid4, uuid5

from holdfast.runs import Lease, OnBusy, Outcome, Owner
from holdfast.store import Database, caller, owner, stranger
from holdfast_gateway.auth import make_key
from tests.integration.gateway.stream import Stream
from tests.support.wait import wait_until

_OVER = {"completed", "failed", "cancelled", "deleted"}


@dataclass(frozen=True)
class Said:
    """An event of the feed; those of pods have no id."""

    id: str | None
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, frame: bytes) -> Said:
        """Read a frame."""
        lines = dict(line.split(": ", 1) for line in frame.decode().removesuffix("\n\n").split("\n"))
        return cls(lines.get("id"), lines["event"], json.loads(lines["data"]))


class FeedStream(Stream):
    """``said`` as it came; ``runs`` (those that are active) and ``pods`` as a client folds them."""

    def __init__(self, *args: Any) -> None:
        self.said: list[Said] = []
        self.runs: dict[str, str] = {}
        self.pods: dict[str, dict[str, Any]] | None = None
        super().__init__(*args)

    def _take(self, frame: bytes) -> None:
        if frame.startswith(b":"):
            super()._take(frame)
            return
        self.frames.append(frame)
        said = Said.of(frame)
        self.said.append(said)
        data = said.data
        match said.type:
            case "snapshot":
                self.runs = {run["id"]: run["status"] for run in data["runs"]}
                self.pods = {pod["pod"]: pod for pod in data["pods"]} if data["pods"] is not None else None
            case "run.changed" if data["status"] in _OVER:
                self.runs.pop(data["run_id"], None)
            case "run.changed":
                self.runs[data["run_id"]] = data["status"]
            case "pods":
                self.pods = {pod["pod"]: pod for pod in data["pods"]}
            case "pod.changed":
                assert self.pods is not None
                self.pods[data["pod"]] = data
            case "pod.gone":
                assert self.pods is not None
                if self.pods.get(data["pod"], {}).get("boot") == data["boot"]:
                    del self.pods[data["pod"]]

    @property
    def of_runs(self) -> list[bytes]:
        """The frames that have an id."""
        return [frame for frame in self.frames if frame.startswith(b"id: ")]

    @property
    def cursors(self) -> list[str]:
        """The ids of them."""
        return [said.id for said in self.said if said.id is not None]

    def told_of(self, run_id: UUID) -> list[str]:
        """What became of a run, in few words."""
        return [
            f"{said.data['status']} {said.data['attempt']}" + (" cancelling" if said.data["cancelling"] else "")
            for said in self.said
            if said.type == "run.changed" and said.data["run_id"] == str(run_id)
        ]

    async def until_said(self, event_type: str, *, count: int = 1) -> None:
        """Wait until so many events of a type have come."""
        await wait_until(
            lambda: [said.type for said in self.said].count(event_type) >= count,
            description=f"{count} x {event_type} in {[said.type for said in self.said]}",
        )

    async def until_status(self, run_id: UUID, status: str) -> None:
        """Wait until a run has become this."""
        await wait_until(
            lambda: any(said.startswith(status) for said in self.told_of(run_id)),
            description=f"run {run_id} to be {status} in {self.told_of(run_id)}",
        )


class Tenant:
    """A tenant of its own, with a key; acts on its runs by the store, as gateways, runners and reapers do."""

    def __init__(self, db: Database, name: str, key: str) -> None:
        self.db, self.name, self.key = db, name, key
        self._streams: list[FeedStream] = []

    @classmethod
    async def make(cls, db: Database, *, operator: bool = False) -> Self:
        """Make one."""
        name = f"t-{uuid4().hex[:8]}"
        key, _ = await make_key(db, name, name="", operator=operator)
        return cls(db, name, key)

    async def feed(self, url: str, after: str | None = None, *, header: bool = True) -> FeedStream:
        """Follow its feed at a gateway, from a cursor on."""
        headers = {"Authorization": f"Bearer {self.key}"}
        if after is not None and header:
            headers["Last-Event-ID"] = after
        query = f"?after={after}" if after is not None and not header else ""
        stream = await FeedStream.open(f"{url}/v1/feed{query}", headers=headers)
        assert stream.answer.status_code == 200
        self._streams.append(stream)
        return stream

    async def close(self) -> None:
        """Close its streams."""
        for stream in self._streams:
            await stream.close()

    def request(self, thread: str | None = None, **fields: Any) -> caller.Submit:
        """A request for a run."""
        made: dict[str, Any] = {
            "run_id": uuid4(),
            "agent": "echo",
            "pool": "default",
            "input": {"messages": []},
            "metadata": {},
        }
        thread_id = thread or f"t-{uuid4().hex[:8]}"
        body = {"tenant_id": self.name, "thread_id": thread_id, "make_thread": True, "on_busy": OnBusy.ENQUEUE}
        return caller.Submit(**(made | body | fields))

    async def submit(self, thread: str | None = None, **fields: Any) -> UUID:
        """A queued run."""
        return (await caller.submit(self.db, self.request(thread, **fields))).run.id

    async def claim(self, run_id: UUID, pod: str = "a") -> Lease:
        """A runner claims it."""
        who = Owner(pod, uuid4())
        claimed = await owner.claim(self.db, run_id, who, {"echo": "1"})
        assert claimed is not None
        return Lease(run_id, who, claimed.run.attempt)

    async def wait(self, lease: Lease) -> UUID:
        """It waits for an answer; returns the question."""
        question = uuid5(lease.run_id, "0")
        await owner.open_wait(
            self.db, lease, wait_id=question, position="0", kind="ask", name="ask", input_hash=b"h", question={"text": "?"}
        )  # fmt: skip
        at = f"{lease.attempt}-2"
        await owner.suspend(
            self.db, lease, waits=[(question, at, at)], next_event_id=f"{lease.attempt}-3", shown_text="", finish_id=at,
            last_event_id=at,
        )  # fmt: skip
        return question

    async def answer(self, run_id: UUID, question: UUID) -> None:
        """A person answers."""
        assert await caller.answer(self.db, self.name, run_id, question, answer=1, status="completed", output=1)

    async def cancel(self, run_id: UUID) -> None:
        """A client cancels it."""
        await stranger.cancel(self.db, self.name, run_id)

    async def finish(self, lease: Lease) -> str:
        """Its owner ends it."""
        ended = await owner.finish(
            self.db, lease, outcome=Outcome.COMPLETED, output=1, error=None, terminal_event_id=f"{lease.attempt}-9",
            shown_text="",
        )  # fmt: skip
        return ended.status

    async def whole_life(self) -> UUID:
        """A run goes through most of what there is, and is deleted."""
        run_id = await self.submit(thread := f"t-{uuid4().hex[:8]}")
        lease = await self.claim(run_id)
        await self.answer(run_id, await self.wait(lease))
        lease = await self.claim(run_id)
        await stranger.reclaim(self.db, lease.owner, [(run_id, lease.attempt)])
        lease = await self.claim(run_id, "b")
        await self.cancel(run_id)
        assert await self.finish(lease) == "cancelled"
        assert await caller.delete_thread(self.db, self.name, thread)
        return run_id


WHOLE_LIFE = [
    "queued 0", "running 1", "waiting 1", "queued 1", "running 2", "queued 2", "running 3", "running 3 cancelling",
    "cancelled 3", "deleted 3",
]  # fmt: skip
