"""Commands that do one thing, as processes: ``holdfast migrate``, ``holdfast mock-model``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import httpx2

from holdfast.store.migrate import head
from holdfast_local.child import Child
from holdfast_local.ports import free_ports
from holdfast_local.servers import PostgresServer
from tests.support.wait import wait_until


async def _holdfast(*arguments: str, **env: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast_local", *arguments,
        env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_migrate_makes_the_schema_and_finds_nothing_to_do_the_second_time(tmp_path: Path) -> None:
    postgres = PostgresServer(tmp_path / "postgres")
    await postgres.start()
    try:
        assert await _holdfast("migrate", "--postgres", postgres.url) == (
            0,
            f"the record's schema is at {head()}, made from nothing\n",
        )
        assert await _holdfast("migrate", HOLDFAST_POSTGRES_URL=postgres.url) == (
            0,
            f"the record's schema is at {head()}; there was nothing to do\n",
        )
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("update alembic_version set version_num = 'r9999'")
        await connection.close()
        code, said = await _holdfast("migrate", "--postgres", postgres.url)
        assert code == 1
        assert said.startswith("Error: the database's schema is at r9999, newer than this release knows")
    finally:
        await postgres.stop()


async def test_mock_model_serves_where_it_is_told(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "holdfast_local", "mock-model", "--port", str(port)]
    process = Child(command, log_path=tmp_path / "mock.log")

    def serves() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/v1/models").is_success
        except httpx2.TransportError:
            return False

    try:
        await wait_until(serves, description="the mock model to serve")
        assert await _holdfast("mock-model", "--port", str(port)) == (
            1,
            f"port {port} on 127.0.0.1 is taken by another process: stop it, or choose another port\n",
        )
    finally:
        process.kill()
