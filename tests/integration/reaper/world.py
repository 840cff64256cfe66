"""The world of a reaper's test: real servers, fake pods that own real runs, and reapers in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from prometheus_client import Counter

from holdfast.bus import event_log, names, topology
from holdfast.bus.connection import Link, close, connect
from holdfast.runs import EventId, Lease
from holdfast.settings import ReaperSettings
from holdfast.store import Database, Finished, RunRow, caller, owner
from holdfast.wire.events import Event as RunEvent
from holdfast.wire.events import decode, frame, split
from holdfast_local.servers import NatsServer
from holdfast_reaper.detector import DetectorSettings, detect
from holdfast_reaper.evidence import Beat, Event
from holdfast_reaper.service import Reaper
from tests.support.pods import FakePod
from tests.support.wait import wait_until

INTERVAL_S = 0.4
TTL_S = 2


class World:
    """What a test needs of it, in few words."""

    def __init__(self, nats: NatsServer, postgres_url: str, folder: Path) -> None:
        self.nats = nats
        self.postgres_url = postgres_url
        self.folder = folder
        self.db = Database(postgres_url, pool_size=4, timeout_s=5.0)
        self._link = Link("test")
        self._client: Client | None = None
        self._pods: list[FakePod] = []

    async def close(self) -> None:
        """Kill the pods, close what is open."""
        for pod in self._pods:
            await pod.kill()
        if self._client is not None:
            await close(self._client)
        await self.db.close()

    async def client(self) -> Client:
        """The test's own connection, once NATS is there."""
        if self._client is None:
            self._client = await connect([self.nats.url], self._link)
            await topology.ensure(self._client, replicas=1)
        await wait_until(lambda: self._link.up, description="the test's connection to NATS")
        return self._client

    def settings(self, **changes: Any) -> ReaperSettings:
        """A reaper's settings, quick ones."""
        quick: dict[str, Any] = {
            "postgres_url": self.postgres_url,
            "nats_url": (self.nats.url,),
            "heartbeat_interval_s": INTERVAL_S,
            "heartbeat_ttl_s": TTL_S,
            "probe_window_s": 0.5,
            "sweep_interval_s": 0.3,
            "wake_interval_s": 0.3,
        }
        return ReaperSettings(**(quick | changes))

    async def pod(
        self, name: str, *, nats_url: str | None = None, postgres_url: str | None = None, boot: UUID | None = None
    ) -> FakePod:
        """A pod that lives."""
        pod = FakePod(
            name,
            nats_url=nats_url or self.nats.url,
            postgres_url=postgres_url or self.postgres_url,
            interval_s=INTERVAL_S,
            ttl_s=TTL_S,
            boot=boot,
        )
        self._pods.append(pod)
        return await pod.start()

    async def submit(self, *, thread: str | None = None, max_crashes: int = 5, **policies: Any) -> UUID:
        """A queued run, of whose request nothing was published. ``policies`` are further fields of :class:`caller.Submit`."""
        request = caller.Submit(
            run_id=uuid4(),
            tenant_id="default",
            thread_id=thread or f"t-{uuid4().hex}",
            make_thread=True,
            agent="echo",
            pool="default",
            input={"messages": [{"role": "user", "content": "hi"}]},
            metadata={},
            max_crashes=max_crashes,
            **policies,
        )
        return (await caller.submit(self.db, request)).run.id

    async def running(self, by: FakePod, *, thread: str | None = None, max_crashes: int = 5, **policies: Any) -> UUID:
        """A run that the pod has claimed."""
        run_id = await self.submit(thread=thread, max_crashes=max_crashes, **policies)
        await self.claim(run_id, by)
        return run_id

    async def claim(self, run_id: UUID, by: FakePod) -> Lease:
        """The pod claims a queued run."""
        claimed = await owner.claim(self.db, run_id, by.owner, {"echo": "1"})
        assert claimed is not None
        return Lease(run_id, by.owner, claimed.run.attempt)

    async def suspend(
        self, lease: Lease, kind: str, *, seconds: float | None = None, child: UUID | None = None
    ) -> Finished:
        """The owner has its run wait at position 0: for an answer, a time, or a child that it makes."""
        wait_id = uuid5(lease.run_id, "0/1")
        made = owner.Child(child, "echo", "default", {"messages": []}, {}) if child is not None else None
        await owner.open_wait(
            self.db, lease, wait_id=wait_id, position="0", kind=kind, name=kind, input_hash=b"h",
            question={"text": "?"} if kind == "ask" else None, seconds=seconds, child=made,
        )  # fmt: skip
        event_id = f"{lease.attempt}-2"
        await self.write_event(lease.run_id, f"{lease.attempt}-1", "run.started", boot=lease.owner.boot)
        await self.write_event(lease.run_id, event_id, "run.waiting", boot=lease.owner.boot)
        return await owner.suspend(
            self.db, lease, waits=[(wait_id, event_id, event_id)], next_event_id=f"{lease.attempt}-3", shown_text="",
            finish_id=None, last_event_id=event_id,
        )  # fmt: skip

    async def waiting(
        self, by: FakePod, kind: str, *, seconds: float | None = None, child: UUID | None = None, **policies: Any
    ) -> UUID:
        """A run that waits."""
        run_id = await self.submit(**policies)
        finished = await self.suspend(await self.claim(run_id, by), kind, seconds=seconds, child=child)
        assert finished.status == "waiting"
        return run_id

    async def run(self, run_id: UUID) -> RunRow:
        """What the record says of a run."""
        return await caller.run(self.db, "default", run_id)

    async def status(self, run_id: UUID) -> str:
        """Its status alone."""
        return (await self.run(run_id)).status

    async def until_status(self, run_id: UUID, status: str, *, timeout_s: float = 15.0) -> None:
        """Wait for a status."""

        async def reached() -> bool:
            return await self.status(run_id) == status

        await wait_until(reached, description=f"run {run_id} to be {status}", timeout_s=timeout_s)

    async def request_of(self, run_id: UUID) -> int | None:
        """The stream sequence of a run's request; None: it has none."""
        context = (await self.client()).jetstream(timeout=2.0)
        try:
            message = await context.get_last_msg(names.REQUESTS_STREAM, names.request_subject("default", run_id))
        except NotFoundError:
            return None
        return message.seq

    async def until_requested(self, *run_ids: UUID) -> None:
        """Wait until each has a request."""

        async def all_there() -> bool:
            return all([await self.request_of(run_id) is not None for run_id in run_ids])

        await wait_until(all_there, description=f"{len(run_ids)} requests in the stream")

    async def lose_request(self, run_id: UUID) -> None:
        """Its request is gone from the stream, as after a message that was taken and thrown away."""
        seq = await self.request_of(run_id)
        assert seq is not None
        assert await (await self.client()).jetstream().delete_msg(names.REQUESTS_STREAM, seq)

    async def events(self, run_id: UUID) -> list[RunEvent]:
        """Its log."""
        client = await self.client()
        return [decode(each) async for entry in event_log.read(client, run_id, 0) for each in split(entry.payload)]

    async def until_told(self, run_id: UUID, event_type: str) -> RunEvent:
        """Wait until the log ends with an event of this type."""

        async def told() -> bool:
            log = await self.events(run_id)
            return bool(log) and log[-1].type == event_type

        await wait_until(told, description=f"{event_type} in the log of {run_id}")
        return (await self.events(run_id))[-1]

    async def write_event(self, run_id: UUID, event_id: str, event_type: str, *, boot: UUID) -> None:
        """An owner's event, at the end of the log."""
        client = await self.client()
        at = EventId.parse(event_id)
        payload = frame(at, event_type, {})
        end = await event_log.end(client, run_id)
        await event_log.append(client, run_id, payload, last_id=at, boot=boot, expected_seq=end.seq)

    async def sql(self, statement: str, *args: object) -> Any:
        """A statement that Holdfast does not have; the first value of its first row."""
        connection = await asyncpg.connect(self.postgres_url)
        try:
            return await connection.fetchval(statement, *args)
        finally:
            await connection.close()


class Watched:
    """A reaper in this process, and every event that its detector was given."""

    def __init__(self, reaper: Reaper) -> None:
        self.reaper = reaper
        self.trace: list[Event] = []
        reaper.senses.on_event = self.trace.append

    def beats(self, pod: FakePod) -> list[Beat]:
        """What it saw of a pod."""
        return [event for event in self.trace if isinstance(event, Beat) and event.boot == pod.boot]

    async def until_ready(self) -> None:
        """Wait until it can declare deaths."""

        async def ready() -> bool:
            return not await self.reaper.not_ready() and not self.reaper.senses.why_blind()

        await wait_until(ready, description="the reaper to see", timeout_s=20)

    async def until_beats(self, pods: Sequence[FakePod], more: int = 3) -> None:
        """Wait until it has seen ``more`` new beats of each pod."""
        seen = {pod.boot: len(self.beats(pod)) for pod in pods}
        await wait_until(
            lambda: all(len(self.beats(pod)) >= seen[pod.boot] + more for pod in pods),
            description=f"{more} more beats of each of {len(pods)} pods",
            timeout_s=20,
        )


@asynccontextmanager
async def reaping(settings: ReaperSettings, *, ready: bool = True) -> AsyncIterator[Watched]:
    """A reaper in this process; stopped at the end, which must not take long."""
    watched = Watched(Reaper(settings))
    stop = asyncio.Event()
    task = asyncio.create_task(watched.reaper.run(stop))
    try:
        if ready:
            await watched.until_ready()
        yield watched
        assert not task.done(), "the reaper ended by itself"
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task
    _assert_replays(watched, settings)


def _assert_replays(watched: Watched, settings: ReaperSettings) -> None:
    """Whom the reaper declared dead follows from what it observed, by the detector's rules and nothing else."""
    rules = DetectorSettings(
        heartbeat_interval_s=settings.heartbeat_interval_s,
        heartbeat_ttl_s=settings.heartbeat_ttl_s,
        probe_window_s=settings.probe_window_s,
        probe_sessions=settings.probe_sessions,
    )
    replayed = {(death.pod, death.boot) for death in detect(watched.trace, rules)}
    assert watched.reaper._judging._stages.keys() <= replayed


def counted(counter: Counter, **labels: str) -> float:
    """The value of a metric in this process: all of its labels together, or those named."""
    samples = [sample for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())
