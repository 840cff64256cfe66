"""Fills a migrated database with what a long life leaves: ended runs with all of theirs, a queue, active runs.

Set by set and past the triggers, since a million runs made by submits would take an hour. For benches and for tests of plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

_FOLDER = Path(__file__).parent
_PLAIN_INDEXES = """
SELECT x.indexrelid::regclass::text AS name, pg_get_indexdef(x.indexrelid) AS definition
FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relnamespace = current_schema()::regnamespace AND NOT x.indisunique
"""


@dataclass(frozen=True, slots=True)
class Filling:
    """How many runs there are of each kind. As many are interrupted as run; a third of the waiting have a child."""

    ended: int
    queued: int = 0
    running: int = 0
    waiting: int = 0

    def sql(self, name: str) -> str:
        """What makes those of ``<name>.sql``."""
        text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
        return text.format(ended=self.ended, queued=self.queued, running=self.running, waiting=self.waiting)


async def fill(url: str, filling: Filling) -> None:
    """Fill the database. The planner knows of the ended runs only: a queue comes faster than anybody tells it.

    Indexes that guard nothing are made anew behind the rows, which is a third of the work.
    """
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute("SET session_replication_role = replica")  # no trigger, not even a reference's
        await connection.execute("SET synchronous_commit = off")
        await connection.execute("SET maintenance_work_mem = '256MB'")
        indexes = await connection.fetch(_PLAIN_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        if filling.ended:
            await connection.execute(filling.sql("ended"))
            await connection.execute("ANALYZE")
        if filling.queued:
            await connection.execute(filling.sql("queued"))
        if filling.running or filling.waiting:
            await connection.execute(filling.sql("active"))
        for index in indexes:
            await connection.execute(index["definition"])
    finally:
        await connection.close()
