"""A thread's queue as its people edit it. Each edit is guarded by the status ``queued``. Callers use it by ``caller``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from holdfast.errors import NotFound
from holdfast.store.database import Connection, Database, Row
from holdfast.store.queries import sql
from holdfast.store.rows import Ended, RunRow, row_as


async def queue(db: Database, tenant_id: str, thread_id: str) -> list[RunRow]:
    """A thread's queued runs, the next one first."""
    return [row_as(RunRow, row) for row in await db.fetch("run_list_queue", tenant_id, thread_id)]


async def queue_edit(db: Database, tenant_id: str, thread_id: str, run_id: UUID, run_input: Any) -> RunRow | None:
    """Change the input of a queued run that no runner has begun and that has no journal; None: there is no such run any more."""
    row = await db.fetchrow("run_edit", tenant_id, thread_id, run_id, run_input)
    return row_as(RunRow, row) if row is not None else None


async def queue_remove(db: Database, tenant_id: str, thread_id: str, run_id: UUID) -> Ended | None:
    """Cancel a run while it is queued; None: it is not queued on this thread (any more)."""
    row = await db.fetchrow("run_cancel", tenant_id, run_id, thread_id)
    return row_as(Ended, row) if row is not None else None


async def queue_first(db: Database, tenant_id: str, thread_id: str, run_id: UUID) -> RunRow | None:
    """Put a queued run before all others of the queue; None: it is not queued on this thread (any more).

    Raises:
        NotFound: there is no such thread.
    """

    async def locked(connection: Connection[Row]) -> RunRow | None:
        if await connection.fetchrow(sql("thread_lock"), tenant_id, thread_id) is None:
            raise NotFound("thread", thread_id)
        row = await connection.fetchrow(sql("run_move_first"), tenant_id, thread_id, run_id)
        return row_as(RunRow, row) if row is not None else None

    return await db.transact(locked)
