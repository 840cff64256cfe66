"""A new run from the journal of another one: the way on from a run that has ended. Callers use it by ``caller``."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from holdfast.errors import NotFound, Refused
from holdfast.runs import TERMINAL, Status
from holdfast.store.database import Connection, Database, Row
from holdfast.store.queries import sql
from holdfast.store.rows import RunRow, row_as


async def fork(
    db: Database,
    tenant_id: str,
    run_id: UUID,
    *,
    new_id: UUID,
    from_position: str | None,
    thread_id: str | None,
    known: Collection[UUID] | None = None,
) -> RunRow:
    """Queue a run that begins with a copy of another's finished steps, in one transaction.

    Args:
        db: the record.
        tenant_id: whose.
        run_id: the original; it has ended or is interrupted, and stays as it is.
        new_id: of the fork.
        from_position: the first step that is not copied; None: all finished ones are.
        thread_id: None: the original's; the fork then sees what the original saw, and replaces its answer in the transcript once
            it is claimed. Another one is made when it is missing, with a copy of what the original saw.
        known: the runs that the caller has seen. If the original was forked on this thread meanwhile, that fork is returned and
            none is made: of two who ask for the same at once both are given one.

    Raises:
        NotFound: this tenant has no such run.
        Refused: ``run_active``: the run may go on by itself; ``unknown_position``: it has no step there.
    """

    async def copy(connection: Connection[Row]) -> RunRow:
        found = await connection.fetchrow(sql("run_read"), tenant_id, run_id)
        if found is None:
            raise NotFound("run", str(run_id))
        target = thread_id or found["thread_id"]
        made = target != found["thread_id"] and (
            await connection.fetchrow(sql("thread_insert"), tenant_id, target, {}) is not None
        )
        # first the thread, then the run, as every transaction that wants both
        if await connection.fetchrow(sql("thread_lock"), tenant_id, target) is None:
            raise NotFound("thread", target)
        if known is not None:
            other = await connection.fetchrow(sql("run_forked_meanwhile"), tenant_id, run_id, target, list(known))
            if other is not None:
                return row_as(RunRow, other)
        original = await connection.fetchrow(sql("run_lock"), tenant_id, run_id)
        if original is None:
            raise NotFound("run", str(run_id))
        if Status(original["status"]) not in TERMINAL | {Status.INTERRUPTED}:
            raise Refused("run_active", f"run {run_id} is {original['status']}: only a run that rests can be forked")
        if from_position is not None and await connection.fetchrow(sql("step_exists"), run_id, from_position) is None:
            raise Refused("unknown_position", f"run {run_id} has no step at {from_position!r}")
        row = await connection.fetchrow(sql("run_fork"), tenant_id, run_id, new_id, target)
        assert row is not None
        await connection.fetch(sql("step_copy"), run_id, new_id, from_position)
        if made:
            await connection.fetch(sql("message_copy"), run_id, new_id)
        return row_as(RunRow, row)

    return await db.transact(copy)
