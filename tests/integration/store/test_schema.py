"""Migrations: one step that many may attempt at once, and services that wait for it or say who is too old. Row F60."""

from __future__ import annotations

import asyncio
import sys

import pytest

from holdfast.errors import SchemaMismatch, StoreUnavailable
from holdfast.store import Database, caller, schema
from holdfast.store.migrate import head, migrate
from holdfast_local.ports import free_ports
from tests.integration.store.conftest import execute
from tests.integration.store.interleaved import uncommitted
from tests.integration.store.record import request

_MIGRATE = "import sys; from holdfast.store.migrate import migrate; print(*migrate(sys.argv[1]))"


def _open(url: str, timeout_s: float = 5.0) -> Database:
    return Database(url, pool_size=2, timeout_s=timeout_s)


async def _claim_to_be(url: str, *, revision: str, oldest_code: str) -> None:
    await execute(
        url,
        f"UPDATE alembic_version SET version_num = '{revision}'",
        f"UPDATE schema_support SET oldest_code = '{oldest_code}'",
    )


async def test_f60_of_five_processes_on_an_empty_database_one_migrates_and_all_succeed(empty_url: str) -> None:
    migrating = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _MIGRATE, empty_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        for _ in range(5)
    ]
    said = sorted([(await process.communicate())[0].decode().strip() for process in migrating])
    assert said == [f"{head()} {head()}"] * 4 + [f"None {head()}"]
    assert [process.returncode for process in migrating] == [0] * 5
    db = _open(empty_url)
    try:
        await caller.submit(db, request())
    finally:
        await db.close()


def test_f60_migrating_what_is_up_to_date_changes_nothing(url: str) -> None:
    assert migrate(url) == (head(), head())


async def test_f60_a_service_waits_until_somebody_has_migrated(empty_url: str) -> None:
    db = _open(empty_url)
    try:
        problem = await schema.missing(db)
        assert problem is not None
        assert "holdfast migrate" in problem
        waiting = asyncio.create_task(schema.wait_for(db, timeout_s=20, poll_interval_s=0.01))
        async with asyncio.timeout(20):
            await asyncio.to_thread(migrate, empty_url)
            await waiting
        assert await schema.missing(db) is None
    finally:
        await db.close()


async def test_f60_a_service_waits_for_an_older_schema_and_says_so_when_it_gives_up(own_url: str) -> None:
    await _claim_to_be(own_url, revision="0000", oldest_code="0000")
    db = _open(own_url)
    try:
        problem = rf"gave up after .* is at 0000, this code needs {schema.REQUIRED}: run `holdfast migrate`"
        with pytest.raises(SchemaMismatch, match=problem):
            await schema.wait_for(db, timeout_s=0.05, poll_interval_s=0.01)
        waiting = asyncio.create_task(schema.wait_for(db, timeout_s=20, poll_interval_s=0.01))
        await _claim_to_be(own_url, revision=schema.REQUIRED, oldest_code="0001")
        await asyncio.wait_for(waiting, 20)
    finally:
        await db.close()


async def test_f60_a_newer_schema_that_supports_this_code_fits(own_url: str) -> None:
    await _claim_to_be(own_url, revision="0009", oldest_code="0001")
    db = _open(own_url)
    try:
        await schema.wait_for(db, timeout_s=5)
    finally:
        await db.close()


async def test_f60_a_newer_schema_that_does_not_stops_at_once_and_says_which_side_to_upgrade(own_url: str) -> None:
    await _claim_to_be(own_url, revision="0009", oldest_code="0009")
    db = _open(own_url)
    try:
        with pytest.raises(SchemaMismatch, match=r"at 0009 and needs code of at least 0009.*upgrade this service"):
            await asyncio.wait_for(schema.wait_for(db, timeout_s=600), 5)
    finally:
        await db.close()


async def test_f60_an_older_release_does_not_migrate_a_newer_schema(own_url: str) -> None:
    await _claim_to_be(own_url, revision="0009", oldest_code="0001")
    problem = rf"at 0009, newer than this release knows \({head()}\): upgrade this release"
    with pytest.raises(SchemaMismatch, match=problem):
        await asyncio.to_thread(migrate, own_url)


async def test_f60_a_service_waits_for_postgres_too() -> None:
    nobody = f"postgresql://postgres@127.0.0.1:{free_ports(1)[0]}/postgres"
    db = _open(nobody, timeout_s=0.5)
    try:
        with pytest.raises(SchemaMismatch, match="Postgres did not answer"):
            await schema.wait_for(db, timeout_s=0.1, poll_interval_s=0.01)
        with pytest.raises(StoreUnavailable, match="cannot reach Postgres to migrate"):
            await asyncio.to_thread(migrate, nobody)
    finally:
        await db.close()


async def test_f60_who_cannot_get_the_lock_in_time_says_so(url: str) -> None:
    async with uncommitted(url) as another:
        await another.raw("SELECT pg_advisory_lock($1)", 0x686F6C6466617374)
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await asyncio.to_thread(migrate, url, lock_timeout_s=0.1)
