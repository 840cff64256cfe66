"""The record's changes of runs: read in order without a gap, shown as they stand at one moment, and forgotten.

A trigger writes them, in the transaction of the change itself. Nothing here changes a run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from holdfast.store.database import Database
from holdfast.store.rows import row_as

_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,18})", re.ASCII)
_XID_MAX = 2**64 - 1
_ID_MAX = 2**63 - 1


class ChangeId(NamedTuple):
    """A place among the changes: of one change, or, with id 0, before all of a transaction. Written ``<xid>-<id>``."""

    xid: int
    id: int

    @classmethod
    def parse(cls, text: str) -> ChangeId:
        """Read ``<xid>-<id>``.

        Raises:
            ValueError: ``text`` is not one.
        """
        match = _ID.fullmatch(text)
        parsed = cls(int(match[1]), int(match[2])) if match is not None else None
        if parsed is None or parsed.xid > _XID_MAX or parsed.id > _ID_MAX:
            raise ValueError(f"{text!r} is not an id of the feed, <number>-<number>")
        return parsed

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"


@dataclass(frozen=True, slots=True)
class Change:
    """What a run became. ``status`` is the run's, or ``deleted``; ``cancelling``: it runs, and was asked to end."""

    place: ChangeId
    run_id: UUID
    thread_id: str
    agent: str
    status: str
    attempt: int
    cancelling: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    """What came after a tenant's place. ``missing``: what came after that place is not to be had any more, so a snapshot is due.

    ``upto`` is the place that they lead to, also when there was none; ``more``: there may be others already.
    """

    changes: list[Change]
    upto: ChangeId
    more: bool
    missing: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Of each tenant that was asked for, its changes. ``held_back``: others wait for a transaction that is still open."""

    of_tenant: Mapping[str, Changes]
    horizon: ChangeId
    held_back: bool


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """An active run; ``at`` is when it last changed."""

    id: UUID
    thread_id: str
    agent: str
    status: str
    attempt: int
    cancelling: bool
    created_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant's active runs, newest first, and the place that they stand for; ``more``: there are others."""

    place: ChangeId
    runs: list[ActiveRun]
    more: bool


async def changes(db: Database, places: Mapping[str, ChangeId], *, limit: int) -> Reading:
    """What came after each tenant's place, at most ``limit`` of each.

    Every change after a place is there, each once, a run's in the order in which they happened.

    Raises:
        StoreUnavailable: the record did not answer.
    """
    xids, ids = [str(place.xid) for place in places.values()], [place.id for place in places.values()]
    rows = await db.fetch("change_list", list(places), xids, ids, limit)
    first, next_xid = rows[0], int(rows[0]["next"])
    horizon = ChangeId(int(first["horizon"]), 0)
    forgotten = ChangeId(int(first["forgotten_xid"]), first["forgotten_id"])
    if forgotten.xid >= next_xid:  # another server's, whose dump was restored here
        forgotten = ChangeId(0, 0)
    forgotten = min(forgotten, horizon)  # what nobody may read yet is missing to nobody yet, a snapshot least of all
    found: dict[str, list[Change]] = {tenant: [] for tenant in places}
    for row in rows:
        if row["id"] is not None:
            place = ChangeId(int(row["xid"]), row["id"])
            found[row["tenant_id"]].append(
                Change(
                    place,
                    row["run_id"],
                    row["thread_id"],
                    row["agent"],
                    row["status"],
                    row["attempt"],
                    row["cancelling"],
                    row["at"],
                )
            )
    of_tenant = {
        tenant: Changes(
            read,
            upto=read[-1].place if len(read) == limit else max(horizon, places[tenant]),
            more=len(read) == limit,
            missing=places[tenant] < forgotten or places[tenant].xid > next_xid,
        )
        for tenant, read in found.items()
    }
    return Reading(of_tenant, horizon, first["held_back"])


async def standing(db: Database, tenant_id: str, *, limit: int) -> Standing:
    """A tenant's active runs as they are, at most ``limit``.

    Raises:
        StoreUnavailable: the record did not answer.
    """
    rows = await db.fetch("change_snapshot", tenant_id, limit + 1)
    runs = [row_as(ActiveRun, row) for row in rows if row["id"] is not None]
    return Standing(ChangeId(int(rows[0]["horizon"]), 0), runs[:limit], more=len(runs) > limit)


async def forget(db: Database, *, keep_s: float, limit: int) -> int:
    """Delete changes that are older than ``keep_s``, looking at the ``limit`` oldest. Returns how many it deleted.

    ``keep_s`` is a minute at the least: who reads stands nowhere near what is deleted.

    Raises:
        StoreUnavailable: the record did not answer.
    """
    row = await db.fetchrow("change_forget", keep_s, limit)
    return int(row["forgotten"]) if row is not None else 0
