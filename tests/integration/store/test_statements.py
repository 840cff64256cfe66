"""Every statement that Holdfast runs is one that the migrated schema understands."""

from __future__ import annotations

from pathlib import Path

import holdfast.store
from holdfast.store import Database
from holdfast.store.queries import sql


async def test_every_statement_can_be_prepared(db: Database) -> None:
    names = sorted(path.stem for path in (Path(holdfast.store.__file__).parent / "sql").glob("*.sql"))
    assert names
    for name in names:
        await db.run(lambda connection, name=name: connection.prepare(sql(name)))  # type: ignore[misc] # bound at once
