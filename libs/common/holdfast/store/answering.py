"""What a client does with a run that waits or was interrupted: questions, answers, a resume. Use it by ``caller``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from holdfast.store.database import Database
from holdfast.store.rows import Answered, RunRow, WaitRow, row_as


async def waits(db: Database, run_ids: Sequence[UUID]) -> dict[UUID, list[WaitRow]]:
    """What these runs wait for still, in the order of opening; a run that waits for nothing is left out."""
    found: dict[UUID, list[WaitRow]] = {}
    for row in await db.fetch("wait_list_open", list(run_ids)):
        found.setdefault(row["run_id"], []).append(row_as(WaitRow, row))
    return found


async def wait(db: Database, tenant_id: str, run_id: UUID, wait_id: UUID) -> WaitRow | None:
    """One wait of a tenant's run, also when it is over; None: there is none."""
    row = await db.fetchrow("wait_read", tenant_id, run_id, wait_id)
    return row_as(WaitRow, row) if row is not None else None


async def answer(
    db: Database,
    tenant_id: str,
    run_id: UUID,
    wait_id: UUID,
    *,
    answer: Any,
    status: Literal["completed", "failed", "retry"],
    output: Any = None,
    error: Mapping[str, str] | None = None,
) -> Answered | None:
    """Answer a question, once: the step behind it gets this status and result, and a waiting run goes back to the queue.

    A run that is not waiting just now (something else woke it) keeps its status and finds the answer when it comes to it.

    Returns:
        None: there is no such question, it has its answer, its suspend has not committed yet, or the run has ended.
    """
    row = await db.fetchrow("run_answer", tenant_id, run_id, wait_id, answer, status, output, error)
    return row_as(Answered, row) if row is not None else None


async def resume(db: Database, tenant_id: str, run_id: UUID) -> RunRow | None:
    """Queue an interrupted run again, at its old place; None: it is not interrupted (any more)."""
    row = await db.fetchrow("run_resume", tenant_id, run_id)
    return row_as(RunRow, row) if row is not None else None
