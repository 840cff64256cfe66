"""Two statements interleaved on purpose: one is done but not committed, another runs into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from holdfast.store import Database
from holdfast.store.database import Connection, Row, connect
from tests.integration.store.record import Record
from tests.support.wait import wait_until

T = TypeVar("T")


class _OneTransaction(Database):
    """A database whose every statement runs in one open transaction."""

    def __init__(self, connection: Any) -> None:
        super().__init__("", pool_size=1, timeout_s=5.0)
        self._connection_held = connection

    async def run(self, work: Callable[[Connection[Row]], Awaitable[T]]) -> T:
        return await work(self._connection_held)


@asynccontextmanager
async def uncommitted(url: str, *, undone: bool = False) -> AsyncIterator[Record]:
    """A record whose writes are committed together at the end of the block; ``undone``: rolled back, as by a writer's death."""
    connection = await connect(url, timeout_s=10.0)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield Record(_OneTransaction(connection))
        await (transaction.rollback() if undone else transaction.commit())
    finally:
        await connection.close()


@asynccontextmanager
async def colliding(
    url: str, first: Callable[[Record], Awaitable[object]], *others: Coroutine[Any, Any, T], undone: bool = False
) -> AsyncIterator[list[asyncio.Task[T]]]:
    """Carry out ``first``, start ``others``, end ``first``'s transaction when all of them wait for its locks; then yield them.

    Raises:
        AssertionError: they did not collide.
    """
    async with uncommitted(url, undone=undone) as before:
        await first(before)
        tasks = [asyncio.create_task(other) for other in others]

        async def all_blocked() -> bool:
            # not pg_stat_activity, which shows a transaction the same picture until its end
            [row] = await before.raw("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            return bool(row["count"] == len(tasks))

        await wait_until(all_blocked, description="the statements to run into the first one's locks", timeout_s=3.0)
    yield tasks
