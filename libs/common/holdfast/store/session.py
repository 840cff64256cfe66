"""One Postgres session outside any pool: a boot holds its advisory lock by it, a reaper looks by it which locks are free.

A session is lost for good with the first call that fails; its user opens another. One call at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from holdfast.errors import StoreUnavailable
from holdfast.runs import boot_lock_key
from holdfast.store import database
from holdfast.store.queries import sql


class Session:
    """Every method but ``close`` raises :class:`StoreUnavailable` within ``timeout_s`` when Postgres does not answer.

    What it has locked is free from then on, as soon as the server notices.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, url: str, *, timeout_s: float) -> Session:
        """Connect; ``timeout_s`` bounds this and every later call.

        Raises:
            StoreUnavailable: Postgres did not take it in time.
        """
        session = cls(await database.connect(url, timeout_s=timeout_s), timeout_s)
        await session._fetch("session_prepare")
        return session

    async def hold_boot(self, boot: UUID) -> None:
        """Hold the boot's lock until this session ends."""
        rows = await self._fetch("lock_take", boot_lock_key(boot))
        if not rows[0]["taken"]:  # only an exclusive holder could refuse a shared lock, and Holdfast has none
            self._connection.terminate()
            raise StoreUnavailable(f"somebody else holds the advisory lock of boot {boot}")

    async def check(self) -> None:
        """One cheap round trip: the session, and with it the lock, is there."""
        await self._fetch("ping")

    async def free_boots(self, boots: Sequence[UUID]) -> frozenset[UUID]:
        """Those of ``boots`` whose lock nobody holds."""
        held = {row["k"] for row in await self._fetch("lock_list", [boot_lock_key(boot) for boot in boots])}
        return frozenset(boot for boot in boots if boot_lock_key(boot) not in held)

    async def close(self) -> None:
        """End the session. Never waits for a frozen server, never raises; safe to repeat."""
        with contextlib.suppress(Exception):  # whatever it is, the socket is closed below
            async with asyncio.timeout(0.5):
                await self._connection.close(timeout=0.5)
        self._connection.terminate()

    async def _fetch(self, name: str, *args: object) -> list[Any]:
        """The driver itself may outlast its timeout (it waits for its own cancel request), so the socket is cut instead."""
        task = asyncio.create_task(self._connection.fetch(sql(name), *args), name="session")
        answered = False
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
            answered = bool(done) and task.exception() is None
        finally:
            if not answered:
                self._connection.terminate()
                task.add_done_callback(lambda late: late.cancelled() or late.exception())
                task.cancel()
        if not done:
            raise StoreUnavailable(f"Postgres did not answer within {self._timeout_s:g} s")
        try:
            return task.result()
        except Exception as error:
            translated = database.translate(error)
            if translated is None:
                raise
            raise translated from error
