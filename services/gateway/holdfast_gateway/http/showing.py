"""Runs as they are shown: each with what it waits for, read for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.runs import TERMINAL
from holdfast.store import RunRow
from holdfast.store import caller as record
from holdfast_gateway.http.models import Run
from holdfast_gateway.parts import Parts


async def shown_runs(parts: Parts, rows: Sequence[RunRow]) -> list[Run]:
    """Runs, as they are shown."""
    may_wait = [row.id for row in rows if row.attempt > 0 and row.status not in TERMINAL]
    waits = await record.waits(parts.record.db, may_wait) if may_wait else {}
    return [Run.of(row, waits.get(row.id, ())) for row in rows]


async def shown_one(parts: Parts, row: RunRow) -> Run:
    """A run, as it is shown."""
    return (await shown_runs(parts, [row]))[0]
