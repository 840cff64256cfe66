"""The life of a run by the store's own calls, in turn on databases that differ in what else is in them.

What it costs is Postgres's computing time, of the sessions that work and of nothing else, and the time on the wall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from bench.growth.filling import Filling, fill
from holdfast.runs import Lease, OnBusy, Outcome, Owner
from holdfast.store import Database, caller, feed, owner, retention, stranger
from holdfast.store.migrate import migrate
from holdfast_local.servers import PostgresServer

_RUNS_AT_ONCE = 4
_SWEEP_BATCH = 500
_AGENTS = {"echo": "1"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one thing that was done."""

    computing_us: float
    wall_us: float


@dataclass(frozen=True, slots=True)
class Filled:
    """A database with what :class:`Filling` says in it, and calls to it."""

    db: Database
    url: str

    async def cost(self, work: Callable[[], Awaitable[object]], times: int) -> Cost:
        """Of one of ``times`` that ``work`` was done, so many at a time. Sessions must be open before."""
        places = asyncio.Semaphore(_RUNS_AT_ONCE)

        async def one() -> None:
            async with places:
                await work()

        sessions = await self._sessions()
        began_ns, computed_ns = time.monotonic_ns(), sum(map(_computed_ns, sessions))
        await asyncio.gather(*(one() for _ in range(times)))
        wall_ns, computing_ns = time.monotonic_ns() - began_ns, sum(map(_computed_ns, sessions)) - computed_ns
        return Cost(computing_ns / 1000 / times, wall_ns / 1000 / times)

    async def _sessions(self) -> list[int]:
        """The processes of this database's sessions."""
        rows = await self.db.run(
            lambda connection: connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holdfast'"
            )
        )
        return [row["pid"] for row in rows]

    async def run(self) -> None:
        """Submit, claim, one step, the end."""
        run_id, who = await self.submit(f"bench-{uuid4()}"), Owner("bench", UUID(int=2))
        claimed = await owner.claim(self.db, run_id, who, _AGENTS)
        assert claimed is not None
        lease = Lease(run_id, who, claimed.run.attempt)
        await owner.intend(self.db, lease, position="0", kind="model", name="chat", input_hash=b"h", tries=1)
        await owner.checkpoint(
            self.db, lease, position="0", output={"text": "hi"}, shown_text="hi", last_event_id="1-3"
        )
        await owner.finish(
            self.db, lease, outcome=Outcome.COMPLETED, output={"text": "hi"}, terminal_event_id="1-4", shown_text=""
        )

    async def submit(self, thread: str) -> UUID:
        """A queued run."""
        [row] = await self.db.fetch("id_fresh")
        run_id = UUID(str(row["id"]))
        request = caller.Submit(
            run_id=run_id, tenant_id="default", thread_id=thread, make_thread=True, agent="echo", pool="default",
            input={"messages": [{"role": "user", "content": "hi"}]}, metadata={}, on_busy=OnBusy.ENQUEUE,
            idempotency_key=str(run_id), fingerprint=b"f",
        )  # fmt: skip
        await caller.submit(self.db, request)
        return run_id

    async def sweep(self) -> None:
        """One look of each of a reaper's sweeps."""
        await stranger.owners(self.db)
        await stranger.claimable(self.db, after=stranger.START, older_than_s=2.0, limit=_SWEEP_BATCH)
        await stranger.cancels_due(self.db, grace_s=10.0, limit=_SWEEP_BATCH)
        await stranger.wake(self.db, run_ids=None, limit=_SWEEP_BATCH)
        await stranger.due_in(self.db)
        await stranger.expiring(self.db, limit=_SWEEP_BATCH)
        await stranger.orphans(self.db, limit=_SWEEP_BATCH)
        await feed.forget(self.db, keep_s=30 * 86400.0, limit=_SWEEP_BATCH)
        await retention.forget_keys(self.db, keep_s=30 * 86400.0, limit=_SWEEP_BATCH)
        await retention.over(self.db, after=retention.START, keep_s=365 * 86400.0, limit=_SWEEP_BATCH)

    async def lists(self) -> None:
        """The first page of each list that people look at."""
        some: dict[str, Any] = {"before": None, "thread_id": None, "agent": None, "limit": 50}
        await caller.runs(self.db, "default", statuses=None, **some)
        await caller.runs(self.db, "default", statuses=["failed", "running"], **some)
        await caller.threads(self.db, "default", before=2**62, limit=50)
        await feed.standing(self.db, "default", limit=50)


@asynccontextmanager
async def filled(fillings: Sequence[Filling]) -> AsyncIterator[list[Filled]]:
    """A server with a database for each, vacuumed, and all sessions open."""
    with TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder) / "postgres")
        await server.start()
        ready: list[Filled] = []
        try:
            for number, filling in enumerate(fillings):
                url = await _database(server.url, f"bench_{number}")
                await asyncio.to_thread(migrate, url)
                await fill(url, filling)
                await _execute(url, "VACUUM (ANALYZE)")
                ready.append(
                    Filled(Database(url, pool_size=_RUNS_AT_ONCE, timeout_s=30.0, kept_open=_RUNS_AT_ONCE), url)
                )
            await _execute(server.url, "CHECKPOINT")
            yield ready
        finally:
            for each in ready:
                await each.db.close()
            server.kill()


async def _database(server_url: str, name: str) -> str:
    await _execute(server_url, f"CREATE DATABASE {name}")
    return server_url.rsplit("/", 1)[0] + "/" + name


async def _execute(url: str, statement: str) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _computed_ns(pid: int) -> int:
    """What a process has computed, by the scheduler's own count."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
