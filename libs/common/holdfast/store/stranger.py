"""What those who do not own a run write of it: a reaper's reclaim and forced cancel, a client's cancel.

Each names the owner and the attempt that it saw. A transition that makes an event takes an attempt of its own, in the same
statement, so that each attempt has one writer; the caller then tells the event ``<attempt>-1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.runs import Owner
from holdfast.store.database import Database
from holdfast.store.rows import Ended, row_as


async def owners(db: Database) -> frozenset[tuple[str, UUID]]:
    """Every (pod, boot) that the record names as the owner of a running run."""
    return frozenset((row["pod"], row["boot"]) for row in await db.fetch("run_list_owners"))


async def reclaim(db: Database, owner: Owner, seen: Sequence[tuple[UUID, int]]) -> list[Ended]:
    """Take runs from a dead owner: those of ``seen`` (run, attempt) that are still its. At most one caller gets each."""
    rows = await db.fetch(
        "run_reclaim", owner.pod, owner.boot, [run for run, _ in seen], [attempt for _, attempt in seen]
    )
    return [row_as(Ended, row) for row in rows]


async def cancel(db: Database, tenant_id: str, run_id: UUID) -> Ended | None:
    """Cancel an active run: a running one is only marked (status stays ``running``). None: no such run, or it has ended."""
    row = await db.fetchrow("run_cancel", tenant_id, run_id)
    return row_as(Ended, row) if row is not None else None


async def cancels_due(db: Database, *, grace_s: float, limit: int) -> list[tuple[UUID, int, Owner]]:
    """Running runs whose cancel was not heeded within the grace: (run, attempt, owner)."""
    rows = await db.fetch("run_list_cancels_due", grace_s, limit)
    return [(row["id"], row["attempt"], Owner(row["pod"], row["boot"])) for row in rows]


async def force_cancel(db: Database, run_id: UUID, attempt: int, owner: Owner, *, grace_s: float) -> Ended | None:
    """End a run whose owner does not heed its cancel. None: the owner or the attempt is another by now."""
    row = await db.fetchrow("run_force_cancel", run_id, owner.pod, owner.boot, attempt, grace_s)
    return row_as(Ended, row) if row is not None else None


async def claimable(db: Database, *, after: UUID, older_than_s: float, limit: int) -> list[tuple[UUID, str]]:
    """Queued runs that could be claimed now, in id order after ``after``: (run, pool)."""
    rows = await db.fetch("run_list_claimable", after, older_than_s, limit)
    return [(row["id"], row["pool"]) for row in rows]


async def forget_agents(db: Database, *, unseen_s: float) -> None:
    """Forget the agents of pods that have not been seen for so long."""
    await db.fetch("agent_forget_old", unseen_s)
