"""A frozen Postgres: every call answers in time that it is unavailable, and all is well once it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.errors import StoreUnavailable
from holdfast.runs import Lease, OnBusy
from holdfast.store import Database, caller, owner, schema, stranger
from holdfast.store.database import connect
from holdfast_local.servers import PostgresServer
from tests.integration.store.record import TENANT, Record, boot, request
from tests.support.wait import wait_until

_TIMEOUT_S = 0.5
_BOUND_S = _TIMEOUT_S + 0.5

# every kind of call: reads, writes, transactions, those that translate an outcome
_CALLS: dict[str, Callable[[Record, Lease], Awaitable[object]]] = {
    "ping": lambda record, lease: caller.ping(record.db),
    "submit": lambda record, lease: caller.submit(record.db, request(on_busy=OnBusy.REPLACE, idempotency_key="k")),
    "claim": lambda record, lease: record.claim(lease.run_id, lease.owner),
    "intend": lambda record, lease: record.intend(lease, "1"),
    "checkpoint": lambda record, lease: record.checkpoint(lease),
    "finish": lambda record, lease: record.finish(lease),
    "release": lambda record, lease: record.release(lease),
    "progress": lambda record, lease: owner.progress(record.db, lease),
    "owned": lambda record, lease: owner.owned(record.db, lease.owner, limit=10),
    "reclaim": lambda record, lease: record.reclaim(lease),
    "cancel": lambda record, lease: record.cancel(lease.run_id),
    "claimable": lambda record, lease: stranger.claimable(record.db, after=stranger.START, older_than_s=0, limit=1),
    "delete_thread": lambda record, lease: caller.delete_thread(record.db, TENANT, "t"),
    "missing": lambda record, lease: schema.missing(record.db),
}
_POOL_SIZE = len(_CALLS)  # so that each is sent on a connection of its own
_MANY = 2 * _POOL_SIZE


@asynccontextmanager
async def _frozen(server: PostgresServer) -> AsyncIterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def _unavailable_in_time(call: Awaitable[object]) -> None:
    async with asyncio.timeout(_BOUND_S):
        with pytest.raises(StoreUnavailable):
            await call


async def _answers(db: Database) -> None:
    async def does() -> bool:
        try:
            await caller.ping(db)
        except StoreUnavailable:
            return False
        return True

    await wait_until(does, description="the record to answer again", timeout_s=5.0)


@pytest.fixture
async def hasty(url: str) -> AsyncIterator[Record]:
    db = Database(url, pool_size=_POOL_SIZE, timeout_s=_TIMEOUT_S)
    yield Record(db)
    await db.close()


async def test_every_call_answers_in_time_and_all_is_well_afterwards(
    record: Record, hasty: Record, postgres: PostgresServer
) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    await asyncio.gather(*(_answers(hasty.db) for _ in range(_MANY)))  # every connection is open
    async with _frozen(postgres):
        await asyncio.gather(*(_unavailable_in_time(call(hasty, lease)) for call in _CALLS.values()))
        await asyncio.gather(
            *(_unavailable_in_time(caller.ping(hasty.db)) for _ in range(_MANY))
        )  # all are stuck by now
    await asyncio.gather(*(_answers(hasty.db) for _ in range(_MANY)))


async def test_the_first_call_of_all_answers_in_time_too(hasty: Record, postgres: PostgresServer) -> None:
    async with _frozen(postgres):
        for _ in range(2):
            await _unavailable_in_time(caller.ping(hasty.db))
    await _answers(hasty.db)


async def test_so_does_a_connection_outside_the_pool(url: str, postgres: PostgresServer) -> None:
    async with _frozen(postgres):
        await _unavailable_in_time(connect(url, timeout_s=_TIMEOUT_S))
    await (await connect(url, timeout_s=5.0)).close()


async def test_a_database_closes_while_postgres_is_frozen(url: str, postgres: PostgresServer) -> None:
    db = Database(url, pool_size=_POOL_SIZE, timeout_s=_TIMEOUT_S)
    await asyncio.gather(*(caller.ping(db) for _ in range(_MANY)))
    async with _frozen(postgres):
        await asyncio.gather(*(_unavailable_in_time(caller.ping(db)) for _ in range(_MANY)))
        async with asyncio.timeout(2.0):
            await db.close()


async def test_a_caller_that_gives_up_itself_leaves_nothing_stuck(hasty: Record, postgres: PostgresServer) -> None:
    await caller.ping(hasty.db)
    async with _frozen(postgres):
        task = asyncio.create_task(caller.ping(hasty.db))
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.gather(*(_answers(hasty.db) for _ in range(_MANY)))


async def test_a_killed_postgres_is_unavailable_at_once_and_then_back(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path)
    await server.start()
    db = Database(server.url, pool_size=_POOL_SIZE, timeout_s=_TIMEOUT_S)
    try:
        await asyncio.gather(*(caller.ping(db) for _ in range(_MANY)))
        server.kill()
        await asyncio.gather(*(_unavailable_in_time(caller.ping(db)) for _ in range(_MANY)))
        await server.start()
        await _answers(db)
    finally:
        await db.close()
        server.kill()
