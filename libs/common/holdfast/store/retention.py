"""What is deleted for its age alone: idempotency keys, and threads that are over. In bounded batches, each safe to repeat.

The event log of what is deleted here has gone before, by the stream's own age. Viewers have no stream of a run that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holdfast.store.database import Connection, Database, Row
from holdfast.store.queries import sql


class Place(NamedTuple):
    """A thread among all of them, by its tenant and its age there."""

    tenant_id: str
    seq: int


START = Place("", 0)
"""Before every thread."""

_SEQ_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Over:
    """What looked over: (tenant, thread) of each. ``go_on``: where the next look begins; None: that was all."""

    threads: list[tuple[str, str]]
    go_on: Place | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was deleted. ``more``: a bound was met, and the next call goes on."""

    threads: int
    runs: int
    more: bool


async def forget_keys(db: Database, *, keep_s: float, limit: int) -> int:
    """Delete idempotency keys that were used longer ago than ``keep_s``, at most ``limit``. Returns how many it deleted."""
    return len(await db.fetch("idempotency_forget", keep_s, limit))


async def over(db: Database, *, after: Place, keep_s: float, limit: int) -> Over:
    """Look at the ``limit`` next threads by age, tenant by tenant. None of them may be over: old ones are still in use."""
    rows = await db.fetch("thread_list_over", *after, keep_s, limit)
    go_on = None
    if len(rows) == limit:  # behind one that is young there are only younger ones of its tenant
        last = rows[-1]
        go_on = Place(last["tenant_id"], last["seq"] if last["old"] else _SEQ_MAX)
    return Over([(row["tenant_id"], row["id"]) for row in rows if row["over"]], go_on)


async def forget_threads(
    db: Database, threads: Sequence[tuple[str, str]], *, keep_s: float, runs_max: int, steps_max: int
) -> Forgotten:
    """Delete those that are over, with everything of them, but at most ``runs_max`` runs, and no more of them once ``steps_max``
    steps are met: then the rest is left to the next call.

    Each is judged anew once it is locked, so that none goes from under a submit. What somebody has at hand is left alone.
    """

    async def locked(connection: Connection[Row]) -> Forgotten:
        tenants, ids = [tenant for tenant, _ in threads], [thread for _, thread in threads]
        held = await connection.fetch(sql("thread_lock_over"), tenants, ids)
        tenants, ids = [row["tenant_id"] for row in held], [row["id"] for row in held]
        gone = await connection.fetchrow(sql("thread_forget"), tenants, ids, keep_s, runs_max, steps_max)
        assert gone is not None
        return Forgotten(gone["threads"], gone["runs"], gone["more"])

    return await db.transact(locked)
