"""Does the database have the schema that this code needs? Services wait for an older one and stop at a newer one."""

from __future__ import annotations

import asyncio

import asyncpg

from holdfast.errors import SchemaMismatch, StoreUnavailable
from holdfast.store.database import Database

REQUIRED = "0005"
"""The oldest schema that this code works with; a test compares it with the newest migration."""


async def missing(db: Database) -> str | None:
    """None when the schema fits, else what is wrong with it and which side to upgrade.

    Raises:
        SchemaMismatch: waiting will not help: the database is newer than this code can work with.
        StoreUnavailable: Postgres does not answer.
    """
    try:
        row = await db.fetchrow("schema_read")
    except asyncpg.UndefinedTableError:
        return "the database has no Holdfast schema: run `holdfast migrate`"
    if row is None or row["revision"] is None or row["oldest_code"] is None:
        return "the database has no Holdfast schema: run `holdfast migrate`"
    if row["oldest_code"] > REQUIRED:
        raise SchemaMismatch(
            f"the database's schema is at {row['revision']} and needs code of at least {row['oldest_code']}; "
            f"this code was made for {REQUIRED}: upgrade this service"
        )
    if row["revision"] < REQUIRED:
        return f"the database's schema is at {row['revision']}, this code needs {REQUIRED}: run `holdfast migrate`"
    return None


async def wait_for(db: Database, *, timeout_s: float, poll_interval_s: float = 0.25) -> None:
    """Wait until the schema fits: another process migrates.

    Raises:
        SchemaMismatch: it does not fit within ``timeout_s``, or never will.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            problem = await missing(db)
        except StoreUnavailable as error:
            problem = str(error)
        if problem is None:
            return
        if asyncio.get_running_loop().time() >= deadline:
            raise SchemaMismatch(f"gave up after {timeout_s:g} s: {problem}")
        await asyncio.sleep(poll_interval_s)
