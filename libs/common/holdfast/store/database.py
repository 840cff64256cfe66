"""Connections to Postgres, bounded in time, with the driver's errors translated once.

No call outlasts ``timeout_s``, even against a frozen server: the driver itself waits for its own cancel request (measured:
6 s for a timeout of 3 s), so a call that is late is left to end in the background and the caller is told at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from pydantic_core import from_json, to_json

from holdfast.errors import HoldfastError, Misconfigured, Refused, StoreUnavailable
from holdfast.store.gathered import Gathered
from holdfast.store.queries import sql

Connection = asyncpg.pool.PoolConnectionProxy
Row = asyncpg.Record
T = TypeVar("T")

_TOGETHER_MAX = 64
_TOGETHER_BYTES_MAX = 1024 * 1024

# Errors after which the same statement may work: the connection is gone; the server is starting, stopping, full or a standby by
# now; a deadlock was broken here; a migration has changed what a prepared statement within a transaction returns.
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    ConnectionError,
    OSError,
    TimeoutError,
)


# Errors that no repetition mends: somebody has to change a setting.
_MISCONFIGURED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


def translate(error: Exception) -> HoldfastError | None:
    """The Holdfast error for a driver's error, or None for a bug that must stay visible."""
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Refused("invalid_value", str(error))  # an argument that the driver cannot send, such as no JSON
    if isinstance(error, _UNAVAILABLE):
        return StoreUnavailable(f"Postgres did not answer: {type(error).__name__}: {error}")
    if isinstance(error, _MISCONFIGURED):
        return Misconfigured(f"Postgres refuses: {error}: check HOLDFAST_POSTGRES_URL")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Refused(error.constraint_name or error.sqlstate, str(error))
    if isinstance(error, asyncpg.DataError):
        return Refused("invalid_value", str(error))
    return None


def _bytes_of(call: tuple[object, ...]) -> int:
    return sum(len(each) for each in call if isinstance(each, (str, bytes)))


async def _no_reset(_: Any) -> None:
    """Connections carry no session state, so nothing is reset on release: one round trip saved for each call."""


def json_text(value: object) -> str | None:
    """A JSON value as text, for a statement that takes arrays of them (a list in an array would be its second dimension).

    Raises:
        Refused: ``invalid_value``: it is no JSON.
    """
    try:
        return None if value is None else _encode(value)
    except ValueError as error:
        raise Refused("invalid_value", str(error)) from error


def _encode(value: object) -> str:
    return to_json(value, inf_nan_mode="null").decode()


async def _prepare(connection: Any) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            encoder=_encode,
            decoder=from_json,
            schema="pg_catalog",
        )
    await connection.execute(sql("connection_prepare"))


async def connect(url: str, *, timeout_s: float) -> asyncpg.Connection[asyncpg.Record]:
    """One connection of its own, outside any pool (an advisory lock's session, a tool).

    Raises:
        StoreUnavailable: Postgres did not take it in time.
        Misconfigured: it refuses the login or the database.
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(url, timeout=timeout_s, command_timeout=timeout_s)
            await _prepare(connection)
            return connection
    except (*_UNAVAILABLE, *_MISCONFIGURED) as error:
        raise translate(error) or error from error


class Database:
    """A pool and the statements in ``sql/``.

    Every method raises :class:`StoreUnavailable` when the record did not answer in time (a write's outcome is then not known),
    and :class:`Refused` when a constraint refused the statement (``code`` is the constraint's name).

    Args:
        url: where Postgres is.
        pool_size: the most connections.
        timeout_s: how long a call may take, connecting included.
        kept_open: how many connections stay open while nothing is asked. Opening one takes some ten round trips, which is long
            in a process that a thousand clients have just come back to.
    """

    def __init__(self, url: str, *, pool_size: int, timeout_s: float, kept_open: int = 1) -> None:
        self._url = url
        self._pool_size = pool_size
        self._kept_open = min(kept_open, pool_size)
        self._timeout_s = timeout_s
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self._late: set[asyncio.Task[Any]] = set()
        self._gathered: dict[str, Gathered[tuple[object, ...], Row | None]] = {}

    async def close(self) -> None:
        """Close what is open. Never waits for a frozen server."""
        for task in self._late:
            task.cancel()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(TimeoutError, *_UNAVAILABLE):
                async with asyncio.timeout(1.0):
                    await pool.close()
                return
            pool.terminate()

    async def fetch(self, name: str, *args: object) -> list[Row]:
        """All rows of a statement."""
        return await self.run(lambda connection: connection.fetch(sql(name), *args))

    async def fetchrow(self, name: str, *args: object) -> Row | None:
        """The first row of a statement, or None."""
        return await self.run(lambda connection: connection.fetchrow(sql(name), *args))

    async def together(self, name: str, *args: object) -> Row | None:
        """The row of a call that shares its statement with others that come at the same time, or None.

        The statement takes an array for each argument, one element for each call, and returns the number of the call as ``n``
        (from 1). It has to lock rows in one order for all calls. A call that the record refuses is refused alone.
        """
        gathered = self._gathered.get(name)
        if gathered is None:
            gathered = self._gathered[name] = Gathered(
                lambda calls: self._all_of(name, calls),
                items_max=_TOGETHER_MAX,
                weigh=_bytes_of,
                weight_max=_TOGETHER_BYTES_MAX,
            )
        try:
            async with asyncio.timeout(self._timeout_s):  # the wait for those before it included
                return await gathered(args)
        except TimeoutError as late:
            raise StoreUnavailable(f"Postgres did not answer within {self._timeout_s:g} s") from late

    async def _all_of(self, name: str, calls: Sequence[tuple[object, ...]]) -> list[Row | None]:
        rows = {row["n"]: row for row in await self.fetch(name, *map(list, zip(*calls, strict=True)))}
        return [rows.get(number) for number in range(1, len(calls) + 1)]

    async def run(self, work: Callable[[Connection[Row]], Awaitable[T]]) -> T:
        """Run ``work`` on a connection of the pool, within the time limit."""
        task = asyncio.create_task(self._work(work), name="store")
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            self._abandon(task)
            raise StoreUnavailable(f"Postgres did not answer within {self._timeout_s:g} s")
        return task.result()

    async def transact(self, work: Callable[[Connection[Row]], Awaitable[T]]) -> T:
        """Like :meth:`run`, in one transaction."""

        async def in_transaction(connection: Connection[Row]) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(in_transaction)

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        self._late.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()

    async def _work(self, work: Callable[[Connection[Row]], Awaitable[T]]) -> T:
        try:
            async with self._connection() as connection:
                return await work(connection)
        except Exception as error:
            translated = translate(error)
            if translated is None:
                raise
            raise translated from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection[Row]]:
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._url,
                        min_size=self._kept_open,
                        max_size=self._pool_size,
                        command_timeout=self._timeout_s,
                        timeout=self._timeout_s,
                        init=_prepare,
                        reset=_no_reset,
                        server_settings={"application_name": "holdfast"},
                    )
        pool = self._pool
        connection = await pool.acquire()
        try:
            yield connection
        finally:
            await pool.release(connection)
