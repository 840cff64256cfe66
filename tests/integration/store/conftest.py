"""One Postgres for these tests, migrated once into a template from which databases are made.

Making a database costs as much as thirty tests' statements, so tests share one that each finds empty: nobody connected, no row
but the first migration's. A test that changes the schema, or wants none, has one of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from holdfast.store import Database
from holdfast.store.migrate import migrate
from holdfast_local.servers import PostgresServer
from tests.integration.store.record import Record

# Every table but those with a row of the migrations', and no trigger: not a reference that would want an order of them, and not
# the one that tells of each deleted run.
_EMPTY = """
DO $$
DECLARE
    filled text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR filled IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema()
                  AND tablename NOT IN ('alembic_version', 'schema_support', 'tenants', 'changes_forgotten')
    LOOP
        EXECUTE format('DELETE FROM %I', filled);
    END LOOP;
    DELETE FROM tenants WHERE id <> 'default';
    UPDATE changes_forgotten SET xid = '0', id = 0 WHERE id <> 0;
END $$
"""


async def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own (CREATE DATABASE wants that)."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """The server. Whoever pauses it resumes it."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    await server.start()
    try:
        yield server
    finally:
        server.kill()  # an orderly end would first write all those databases to the disk
        shutil.rmtree(server.data_dir)


async def make_database(server: PostgresServer, template: str) -> str:
    """A database of its own, without waits for the disk."""
    name = f"test_{uuid4().hex}"
    # Durability is Postgres's own and not under test; without the wait for the disk a commit costs a tenth.
    await execute(
        server.url,
        f"CREATE DATABASE {name} TEMPLATE {template}",
        f"ALTER DATABASE {name} SET synchronous_commit = off",
    )
    return server.url.rsplit("/", 1)[0] + "/" + name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres: PostgresServer) -> str:
    """The name of a migrated database that nobody connects to."""
    url = await make_database(postgres, "template0")
    migrate(url)
    return url.rsplit("/", 1)[1]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_url(postgres: PostgresServer, template: str) -> str:
    """The database that tests share; they ask for ``url``."""
    return await make_database(postgres, template)


@pytest.fixture
async def url(shared_url: str) -> str:
    """A migrated database without a row, and without a session of an earlier test that might still write."""
    await execute(
        shared_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        _EMPTY,
    )
    return shared_url


@pytest.fixture
async def own_url(postgres: PostgresServer, template: str) -> str:
    """A migrated database for a test that changes its schema."""
    return await make_database(postgres, template)


@pytest.fixture
async def empty_url(postgres: PostgresServer) -> str:
    """A database without a schema."""
    return await make_database(postgres, "template0")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    """A pool on a migrated database."""
    database = Database(url, pool_size=8, timeout_s=5.0)
    yield database
    await database.close()


@pytest.fixture
def record(db: Database) -> Record:
    """The record in that database."""
    return Record(db)
