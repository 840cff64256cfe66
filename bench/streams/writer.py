"""The owner's side: runs that are claimed, and their events, appended to the log at a pace, or as fast as they are read."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx2
from nats.aio.client import Client

from holdfast.bus import event_log, names
from holdfast.runs import EventId, Lease, Owner
from holdfast.store import Database, owner
from holdfast.wire import events

MARK = b"~"  # once in each event of the bench that is counted, and nowhere else
STAMP = b'"at":'
AGENT = "bench-stream"
_PAUSE_S = 0.0005
_TOGETHER = 8
_AT_ONCE_MAX = 16


def _frame(event_id: EventId) -> bytes:
    """One piece of a model's answer, about 110 bytes, with the time at which it is made."""
    text = f"~chunk-{event_id.n} "
    return events.frame(event_id, "text.delta", {"position": "0", "text": text, "at": time.monotonic_ns()})


@dataclass(slots=True)
class Log:
    """One run, claimed, and where its log ends."""

    lease: Lease
    seq: int
    next_id: EventId

    async def append(self, client: Client) -> None:
        """Append the next event as an owner does it: fenced, and acknowledged."""
        self.seq = await event_log.append(
            client,
            self.lease.run_id,
            _frame(self.next_id),
            last_id=self.next_id,
            boot=self.lease.owner.boot,
            expected_seq=self.seq,
        )
        self.next_id = self.next_id.next()

    async def send(self, client: Client) -> None:
        """Append the next event without the fence and without waiting: with many in flight no end is known to name."""
        headers = {
            names.ATTEMPT_HEADER: str(self.next_id.attempt),
            names.LAST_HEADER: str(self.next_id),
            names.BOOT_HEADER: str(self.lease.owner.boot),
        }
        await client.publish(names.events_subject(self.lease.run_id), _frame(self.next_id), headers=headers)
        self.next_id = self.next_id.next()

    async def catch_up(self, client: Client) -> None:
        """Learn the log's end again, after :meth:`send`."""
        self.seq = (await event_log.end(client, self.lease.run_id)).seq


async def begin_runs(count: int, *, url: str, db: Database, client: Client) -> list[Log]:
    """Submit runs, claim them and write their ``run.started``: viewers find them running."""
    holder = Owner("bench", uuid4())
    await owner.say_agents(db, holder, "default", [(AGENT, "v1", "is written by the bench", {})])
    places = asyncio.Semaphore(_AT_ONCE_MAX)

    async def begin(http: httpx2.AsyncClient) -> Log:
        async with places:
            answer = await http.post(f"{url}/v1/runs", json={"agent": AGENT, "input": {}})
            answer.raise_for_status()
            run_id = UUID(answer.json()["id"])
            claimed = await owner.claim(db, run_id, holder, {AGENT: "v1"})
            assert claimed is not None, "nobody else is there to claim it"
            first = EventId(claimed.run.attempt, 1)
            started = {"run_id": str(run_id), "attempt": first.attempt, "pod": holder.pod}
            begun = Log(Lease(run_id, holder, first.attempt), (await event_log.end(client, run_id)).seq, first.next())
            frame = events.frame(first, "run.started", started)
            begun.seq = await event_log.append(
                client, run_id, frame, last_id=first, boot=holder.boot, expected_seq=begun.seq
            )
            return begun

    async with httpx2.AsyncClient(timeout=30.0) as http:
        return await asyncio.gather(*(begin(http) for _ in range(count)))


async def once(client: Client, logs: Sequence[Log]) -> None:
    """One event for each run."""
    places = asyncio.Semaphore(_AT_ONCE_MAX)

    async def one(log: Log) -> None:
        async with places:
            await log.append(client)

    await asyncio.gather(*(one(log) for log in logs))


async def paced(client: Client, logs: Sequence[Log], *, count: int, over_s: float) -> None:
    """``count`` events, one run after the other, evenly over the time. One that is late is not waited for by the others."""
    began_at = time.monotonic()
    async with asyncio.TaskGroup() as group:
        busy: dict[int, asyncio.Task[None]] = {}
        for n in range(count):
            await asyncio.sleep(max(0.0, began_at + n * over_s / count - time.monotonic()))
            which = n % len(logs)
            if which in busy:
                await busy[which]  # the appends of one run are ordered
            busy[which] = group.create_task(logs[which].append(client))


async def flood(client: Client, logs: Sequence[Log], *, window: int, for_s: float, arrived: Callable[[], float]) -> int:
    """Events without a pause, never more than ``window`` ahead of what has ``arrived``. Returns how many there were."""
    ends_at = time.monotonic() + for_s
    before = arrived()
    sent = 0
    for log in itertools.cycle(logs):
        while sent - (arrived() - before) >= window:  # noqa: ASYNC110 - another process counts what arrives
            await asyncio.sleep(_PAUSE_S)
        if time.monotonic() >= ends_at:
            break
        await log.send(client)
        sent += 1
        if sent % _TOGETHER == 0:
            await asyncio.sleep(0)
    await client.flush()
    for log in logs if len(logs) == 1 else ():
        await log.catch_up(client)
    return sent
