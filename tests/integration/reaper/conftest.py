"""One Postgres for these tests, migrated once into a template; each test has a database and a NATS server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from holdfast.store.migrate import migrate
from holdfast_local.servers import NatsServer, PostgresServer
from holdfast_reaper.act import Announcer, Reclaimer
from holdfast_reaper.carrier import Carrier
from tests.integration.reaper.world import World
from tests.support.wait import wait_until

_TEMPLATE = "reaper_template"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


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
        await server.stop()


def _database_url(server: PostgresServer, name: str) -> str:
    return server.url.rsplit("/", 1)[0] + "/" + name


@pytest.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """A migrated database."""
    name = f"test_{uuid4().hex}"
    await _execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy")
    yield _database_url(postgres, name)
    await _execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A NATS server that the test may do anything to."""
    server = NatsServer(tmp_path / "nats")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def world(nats: NatsServer, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Servers, and what a test does with them."""
    made = World(nats, postgres_url, tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def reclaimer(world: World) -> AsyncIterator[Reclaimer]:
    """What acts on a death, connected, without what declares one."""
    carrier = Carrier([world.nats.url])
    links = [asyncio.create_task(carrier.keep_watching()), asyncio.create_task(carrier.keep_requesting())]
    await wait_until(lambda: not carrier.problems(), description="both connections")
    yield Reclaimer(world.db, Announcer(world.db, carrier), batch_size=40)
    for link in links:
        link.cancel()
    await carrier.close()
