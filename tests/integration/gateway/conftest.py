"""One Postgres for these tests, migrated once into a template; each test has a database, and mostly a NATS server, of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from holdfast.store.migrate import migrate
from holdfast_local.servers import NatsServer, PostgresServer
from tests.integration.gateway.world import World

_TEMPLATE = "gateway_template"


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _database_url(server: PostgresServer, name: str) -> str:
    return server.url.rsplit("/", 1)[0] + "/" + name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """The server, with a migrated template. Whoever pauses it resumes it."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    await server.start()
    try:
        await _execute(server.url, f"CREATE DATABASE {_TEMPLATE}")
        migrate(_database_url(server, _TEMPLATE))
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.data_dir)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """A NATS server that no test stops; runs have ids of their own, so tests do not meet in it."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A NATS server that the test may do anything to."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    yield server
    server.resume()
    await server.stop()


@pytest.fixture
async def postgres_url(postgres: PostgresServer) -> str:
    """A migrated database; it goes with the server."""
    return await fresh_database(postgres)


async def fresh_database(postgres: PostgresServer) -> str:
    """A migrated database."""
    name = f"test_{uuid4().hex}"
    await _execute(
        postgres.url,
        f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY wal_log",
        f"ALTER DATABASE {name} SET synchronous_commit = off",
    )
    return _database_url(postgres, name)


async def empty_database(server: PostgresServer) -> str:
    """A database without a schema."""
    name = f"test_{uuid4().hex}"
    await _execute(server.url, f"CREATE DATABASE {name}")
    return _database_url(server, name)


@pytest.fixture
async def world(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway on real servers, and a runner's hands."""
    async with World(postgres_url, shared_nats.url) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_world(shared_nats: NatsServer, postgres: PostgresServer) -> AsyncIterator[World]:
    """One for all tests of a module that runs in a loop of its own, and that leaves it as it was."""
    async with World(await fresh_database(postgres), shared_nats.url) as made:
        yield made


@pytest.fixture
async def fragile(nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """The same on a NATS server of its own."""
    async with World(postgres_url, nats.url) as made:
        yield made


@pytest.fixture
def thawed(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The Postgres server, for a test that freezes it."""
    yield postgres
    postgres.resume()
