"""What a gateway asks of the record on behalf of a tenant: threads, submits, lists, keys. Every row is looked up by tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from holdfast.errors import NotFound
from holdfast.store import answering, forking, queueing, submitting
from holdfast.store.database import Connection, Database, Row
from holdfast.store.queries import sql
from holdfast.store.rows import (
    AgentRow,
    AttemptRow,
    JournalStep,
    KeptText,
    KeyRow,
    MessageRow,
    RunRow,
    TailRow,
    ThreadRow,
    row_as,
)

# Submits, and what a tenant does with a run that rests and with a thread's queue; each in a module of its own.
waits, wait, answer, resume = answering.waits, answering.wait, answering.answer, answering.resume
fork = forking.fork
Submit = submitting.Submit
Submitted = submitting.Submitted
submit = submitting.submit
queue, queue_edit, queue_remove, queue_first = (
    queueing.queue,
    queueing.queue_edit,
    queueing.queue_remove,
    queueing.queue_first,
)


async def run(db: Database, tenant_id: str, run_id: UUID) -> RunRow:
    """One run.

    Raises:
        NotFound: this tenant has no such run.
    """
    row = await db.fetchrow("run_read", tenant_id, run_id)
    if row is None:
        raise NotFound("run", str(run_id))
    return row_as(RunRow, row)


async def runs(
    db: Database,
    tenant_id: str,
    *,
    before: UUID | None,
    statuses: Sequence[str] | None,
    thread_id: str | None,
    agent: str | None,
    limit: int,
) -> list[RunRow]:
    """A tenant's runs, newest first."""
    listed = list(dict.fromkeys(statuses)) if statuses else None  # each is read once, or its runs would be there twice
    return [
        row_as(RunRow, row) for row in await db.fetch("run_list", tenant_id, before, listed, thread_id, agent, limit)
    ]


async def active_runs(db: Database, tenant_id: str, thread_id: str) -> list[RunRow]:
    """A thread's active runs: what runs, waits or was interrupted first, then the queue in order."""
    return [row_as(RunRow, row) for row in await db.fetch("run_list_active", tenant_id, thread_id)]


async def steps(db: Database, run_id: UUID) -> list[JournalStep]:
    """A run's journal, in order."""
    return [row_as(JournalStep, row) for row in await db.fetch("step_list", run_id)]


async def steps_page(db: Database, run_id: UUID, *, after: str, limit: int) -> list[JournalStep]:
    """A page of a run's journal, in order, after the position ``after`` (``"-1"``: from the first)."""
    return [row_as(JournalStep, row) for row in await db.fetch("step_list_page", run_id, after, limit)]


async def attempts(db: Database, run_id: UUID) -> list[AttemptRow]:
    """A run's attempts, in order."""
    return [row_as(AttemptRow, row) for row in await db.fetch("attempt_list", run_id)]


async def kept(db: Database, run_id: UUID) -> list[KeptText]:
    """What a run's suspended attempts had shown outside of steps, in order."""
    return [row_as(KeptText, row) for row in await db.fetch("attempt_list_kept", run_id)]


async def tails(db: Database, run_ids: Sequence[UUID]) -> dict[UUID, TailRow]:
    """What the record says of followed runs, in one query."""
    return {row["id"]: row_as(TailRow, row) for row in await db.fetch("run_list_tails", list(run_ids))}


async def feed(db: Database, tenant_id: str, thread_id: str, *, seen: Sequence[UUID], limit: int) -> list[TailRow]:
    """What a follower of a thread has yet to see, in the order of the queue: active runs, and those behind the first of ``seen``
    that have ended."""
    rows = await db.fetch("run_list_feed", tenant_id, thread_id, list(seen), limit)
    return [row_as(TailRow, row) for row in rows]


async def make_thread(db: Database, tenant_id: str, thread_id: str, metadata: Mapping[str, Any]) -> ThreadRow | None:
    """Make a thread; None when it is there already."""
    row = await db.fetchrow("thread_insert", tenant_id, thread_id, metadata)
    return row_as(ThreadRow, row) if row is not None else None


async def thread(db: Database, tenant_id: str, thread_id: str) -> ThreadRow:
    """One thread.

    Raises:
        NotFound: this tenant has no such thread.
    """
    row = await db.fetchrow("thread_read", tenant_id, thread_id)
    if row is None:
        raise NotFound("thread", thread_id)
    return row_as(ThreadRow, row)


async def threads(db: Database, tenant_id: str, *, before: int, limit: int) -> list[ThreadRow]:
    """A tenant's threads, newest first."""
    return [row_as(ThreadRow, row) for row in await db.fetch("thread_list", tenant_id, before, limit)]


async def delete_thread(db: Database, tenant_id: str, thread_id: str) -> bool:
    """Delete a thread with all of it; False while one of its runs is active."""

    async def locked(connection: Connection[Row]) -> bool:
        if await connection.fetchrow(sql("thread_lock"), tenant_id, thread_id) is None:
            raise NotFound("thread", thread_id)
        return await connection.fetchrow(sql("thread_delete"), tenant_id, thread_id) is not None

    return await db.transact(locked)


async def messages(db: Database, tenant_id: str, thread_id: str, *, after: int, limit: int) -> list[MessageRow]:
    """A page of a thread's transcript, oldest first."""
    return [row_as(MessageRow, row) for row in await db.fetch("message_list", tenant_id, thread_id, after, limit)]


async def run_messages(db: Database, run_id: UUID) -> list[MessageRow]:
    """What one run was asked and has said, in order."""
    return [row_as(MessageRow, row) for row in await db.fetch("message_list_run", run_id)]


async def agents(db: Database) -> list[AgentRow]:
    """Every agent that a runner has loaded; of one name the newest row first."""
    return [row_as(AgentRow, row) for row in await db.fetch("agent_list")]


async def ping(db: Database) -> None:
    """Does the record answer?"""
    await db.fetchrow("ping")


async def make_key(
    db: Database, tenant_id: str, *, name: str, prefix: str, key_hash: bytes, operator: bool
) -> KeyRow | None:
    """Store a key's hash, making the tenant if need be; None when the very key is there already."""
    await db.fetchrow("tenant_ensure", tenant_id)
    row = await db.fetchrow("key_insert", tenant_id, name, prefix, key_hash, operator)
    return row_as(KeyRow, row) if row is not None else None


async def find_key(db: Database, key_hash: bytes) -> tuple[str, bool] | None:
    """Whose live key is this? (tenant, operator), or None. Read after it was asked for, with others that ask at the same time."""
    row = await db.together("key_find", key_hash)
    return (row["tenant_id"], row["operator"]) if row is not None else None


async def keys(db: Database, tenant_id: str) -> list[KeyRow]:
    """A tenant's keys, revoked ones too."""
    return [row_as(KeyRow, row) for row in await db.fetch("key_list", tenant_id)]


async def revoke_key(db: Database, tenant_id: str, key_id: UUID) -> bool:
    """Revoke a key at once; False when the tenant has no such key."""
    return await db.fetchrow("key_revoke", tenant_id, key_id) is not None
