"""What those who do not own a run write of it: a reaper's reclaim, expiry and forced cancel, a client's cancel, a wake.

Each but the wake names the owner and the attempt that it saw. A transition that makes an event takes an attempt of its own, in
the same statement, so that each attempt has one writer; the caller then tells the event ``<attempt>-1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from holdfast.runs import Owner
from holdfast.store.database import Database
from holdfast.store.rows import Ended, Expiring, Woken, row_as


class Place(NamedTuple):
    """A thread, as a place among all of them."""

    tenant_id: str
    thread_id: str


START = Place("", "")
"""Before every thread."""


@dataclass(frozen=True, slots=True)
class Claimable:
    """What a look found: (pool, run) of each that could be claimed. ``go_on``: where the next look begins; None: that was all."""

    runs: list[tuple[str, UUID]]
    go_on: Place | None


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
    row = await db.fetchrow("run_cancel", tenant_id, run_id, None)
    return row_as(Ended, row) if row is not None else None


async def cancels_due(db: Database, *, grace_s: float, limit: int) -> list[tuple[UUID, int, Owner]]:
    """Running runs whose cancel was not heeded within the grace: (run, attempt, owner)."""
    rows = await db.fetch("run_list_cancels_due", grace_s, limit)
    return [(row["id"], row["attempt"], Owner(row["pod"], row["boot"])) for row in rows]


async def force_cancel(db: Database, run_id: UUID, attempt: int, owner: Owner, *, grace_s: float) -> Ended | None:
    """End a run whose owner does not heed its cancel. None: the owner or the attempt is another by now."""
    row = await db.fetchrow("run_force_cancel", run_id, owner.pod, owner.boot, attempt, grace_s)
    return row_as(Ended, row) if row is not None else None


async def wake(db: Database, *, run_ids: Sequence[UUID] | None, limit: int) -> list[Woken]:
    """Queue waiting runs whose time has come or whose child has ended. At most one caller gets each.

    Args:
        db: the record.
        run_ids: these; a caller who has just ended a child names its parent, and waits for a suspend of it that is on its way.
            None: any, passing over those that somebody else has at hand.
        limit: at most so many.
    """
    if run_ids is None:
        rows = await db.fetch("run_wake_due", limit)
    else:
        rows = await db.fetch("run_wake", list(run_ids), limit)
    return [row_as(Woken, row) for row in rows]


async def due_in(db: Database) -> float | None:
    """Seconds until the next waiting run's time comes (0: it has come); None: none has a time."""
    row = await db.fetchrow("wait_due_in")
    return float(row["seconds"]) if row is not None and row["seconds"] is not None else None


async def expiring(db: Database, *, limit: int) -> list[Expiring]:
    """Runs whose deadline has passed, and running ones that have not moved for too long."""
    return [
        Expiring(
            row["id"],
            row["attempt"],
            Owner(row["pod"], row["boot"]) if row["pod"] is not None else None,
            row["why"],
        )
        for row in await db.fetch("run_list_expiring", limit)
    ]


async def expire(db: Database, run_id: UUID, attempt: int, owner: Owner | None, why: str) -> Ended | None:
    """End a run as ``why`` (``deadline`` or ``stalled``) says. None: it has moved on, or ``why`` does not hold any more."""
    pod, boot = (owner.pod, owner.boot) if owner is not None else (None, None)
    row = await db.fetchrow("run_expire", run_id, attempt, pod, boot, why)
    return row_as(Ended, row) if row is not None else None


async def orphans(db: Database, *, limit: int) -> list[tuple[str, UUID]]:
    """Active child runs whose parent has ended, and whose cancel was not asked for yet: (tenant, run)."""
    return [(row["tenant_id"], row["id"]) for row in await db.fetch("run_list_orphans", limit)]


async def children(db: Database, run_id: UUID) -> list[tuple[str, UUID]]:
    """The active child runs of one run, those whose cancel was asked for left out: (tenant, run)."""
    return [(row["tenant_id"], row["id"]) for row in await db.fetch("run_list_children", run_id)]


async def claimable(db: Database, *, after: Place, older_than_s: float, limit: int) -> Claimable:
    """Queued runs that could be claimed now, the first of each thread's queue. Looks at ``limit`` threads behind ``after``."""
    rows = await db.fetch("run_list_claimable", *after, older_than_s, limit)
    last = Place(rows[-1]["tenant_id"], rows[-1]["thread_id"]) if len(rows) == limit else None
    return Claimable([(row["pool"], row["id"]) for row in rows if row["claimable"]], last)


async def forget_agents(db: Database, *, unseen_s: float) -> None:
    """Forget the agents of pods that have not been seen for so long."""
    await db.fetch("agent_forget_old", unseen_s)
