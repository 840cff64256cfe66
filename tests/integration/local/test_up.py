"""``holdfast up``: what it says, what it restarts, how it stops, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from holdfast_local.ports import free_ports
from holdfast_local.servers import NatsServer, PostgresServer
from tests.integration.local.conftest import STATUS_LINE, StartUp, UpProcess
from tests.integration.local.process_tree import alive
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow  # whole processes in every test

EVERYTHING = {"postgres", "nats", "mock-model", "gateway-1", "runner-1", "runner-2", "reaper-1"}


def _history(stand_ins: Path) -> list[str]:
    return (stand_ins / "history").read_text().splitlines()


async def _nothing_left(pids: list[int]) -> None:
    await wait_until(lambda: not [pid for pid in pids if alive(pid)], description=f"the end of {pids}")


async def _up(start_up: StartUp, *arguments: str) -> UpProcess:
    up = await start_up(*arguments)
    await up.says("holdfast is up at http://127.0.0.1:")
    return up


async def test_it_says_what_runs_and_ctrl_c_stops_all_of_it_in_order(start_up: StartUp, stand_ins: Path) -> None:
    started = time.monotonic()
    up = await _up(start_up)
    assert time.monotonic() - started < 10
    assert set(up.pids()) == EVERYTHING
    for line in up.lines[:-1]:
        found = STATUS_LINE.match(line)
        assert found is not None, line
        assert alive(int(found[2]))
    assert up.lines[-1] == f"holdfast is up at {up.url}"

    pids = up.descendants()
    assert len(pids) > len(EVERYTHING)
    up.process.send_signal(signal.SIGINT)
    assert await up.exit_code() == 0
    await _nothing_left(pids)
    stopped = [line.removesuffix(" stopped") for line in up.said(" stopped")]
    assert stopped[0] == "gateway-1"
    assert set(stopped[1:3]) == {"runner-1", "runner-2"}
    assert stopped[3:] == ["reaper-1", "mock-model", "nats", "postgres"]
    ended = [line for line in _history(stand_ins) if line.endswith(" ended")]
    assert ended[0] == "gateway ended"
    assert ended[-1] == "reaper ended"


@pytest.mark.slow
async def test_sigterm_stops_it_too_and_the_data_stays(start_up: StartUp, tmp_path: Path) -> None:
    up = await _up(start_up)
    addresses = json.loads((tmp_path / "data" / "up.json").read_text())
    assert addresses["url"] == up.url
    connection = await asyncpg.connect(addresses["postgres_url"])
    await connection.execute("create table kept as select 7 as n")
    await connection.close()
    up.process.terminate()
    assert await up.exit_code() == 0
    assert not (tmp_path / "data" / "up.json").exists()

    again = await _up(start_up)
    addresses = json.loads((tmp_path / "data" / "up.json").read_text())
    connection = await asyncpg.connect(addresses["postgres_url"])
    assert await connection.fetchval("select n from kept") == 7
    await connection.close()
    assert again.url


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_kill_9_leaves_nothing_behind_and_the_next_one_starts(start_up: StartUp) -> None:
    up = await _up(start_up)
    pids = up.descendants()
    os.kill(up.pids()["runner-2"], signal.SIGSTOP)  # a frozen process ends as well
    up.process.kill()
    await _nothing_left(pids)
    await _up(start_up)


@pytest.mark.slow
async def test_a_second_one_on_the_same_data_is_refused(start_up: StartUp) -> None:
    up = await _up(start_up)
    second = await start_up()
    assert await second.exit_code() == 1
    assert len(second.lines) == 1
    assert f"already runs on {Path(up.said('gateway-1')[0].split()[-1]).parents[1]} (pid {up.pid})" in second.lines[0]
    assert all(alive(pid) for pid in up.pids().values())


async def test_a_second_one_on_the_same_port_is_refused_and_touches_nothing(start_up: StartUp, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = await start_up(data=tmp_path / "other", port=port)
        assert await second.exit_code() == 1
        third = await start_up("--gateways", "2", data=tmp_path / "other", port=port - 1)
        assert await third.exit_code() == 1
    assert len(second.lines) == 1
    assert f"port {port} on 127.0.0.1 is taken" in second.lines[0]
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
async def test_a_killed_process_is_started_again_with_a_line_that_says_so(start_up: StartUp) -> None:
    up = await _up(start_up)
    before = up.pids()["runner-1"]
    os.kill(before, signal.SIGKILL)
    await up.says(f"runner-1 (pid {before}) ended: killed by SIGKILL; starting it again in 0.25 s")
    await wait_until(lambda: up.pids()["runner-1"] != before, description="a new runner-1")
    second = up.pids()["runner-1"]
    assert alive(second)
    os.kill(second, signal.SIGKILL)
    await up.says(f"runner-1 (pid {second}) ended: killed by SIGKILL; starting it again in 0.5 s")


@pytest.mark.slow
async def test_a_killed_postgres_comes_back_on_its_port_and_data(start_up: StartUp, tmp_path: Path) -> None:
    up = await _up(start_up)
    url = json.loads((tmp_path / "data" / "up.json").read_text())["postgres_url"]
    before = up.pids()
    for name in ("postgres", "nats"):
        os.kill(before[name], signal.SIGKILL)
    await wait_until(
        lambda: all(up.pids()[name] != before[name] for name in ("postgres", "nats")), description="new servers"
    )

    async def answers() -> bool:
        try:
            connection = await asyncpg.connect(url)
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        runs = await connection.fetchval("select count(*) from runs")
        await connection.close()
        return bool(runs == 0)

    await wait_until(answers, description="Postgres to answer with its data")


@pytest.mark.slow
async def test_without_restart_it_says_that_a_process_stays_down(start_up: StartUp) -> None:
    up = await _up(start_up, "--no-restart")
    pid = up.pids()["runner-1"]
    os.kill(pid, signal.SIGKILL)
    await up.says(f"runner-1 (pid {pid}) ended: killed by SIGKILL; it stays down (--no-restart)")
    up.process.terminate()
    assert await up.exit_code() == 0
    assert not up.said("runner-1 stopped")
    assert len([line for line in up.lines if line.startswith("runner-1 ") and STATUS_LINE.match(line)]) == 1


@pytest.mark.slow
async def test_a_second_ctrl_c_kills_at_once(start_up: StartUp, stand_ins: Path) -> None:
    (stand_ins / "stubborn-runner-1").touch()
    up = await _up(start_up)
    pids = up.descendants()
    up.process.send_signal(signal.SIGINT)
    await up.says("gateway-1 stopped")
    up.process.send_signal(signal.SIGINT)
    assert await up.exit_code(timeout_s=5) == 130
    await _nothing_left(pids)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "starts"), [("78", 1), ("3", 3)])
async def test_a_service_that_never_starts_ends_it_with_the_reason(
    start_up: StartUp, stand_ins: Path, code: str, starts: int
) -> None:
    (stand_ins / "exit-runner-2").write_text(code)
    up = await start_up()
    assert await up.exit_code() == 1
    assert up.said(f"ended: exit code {code}; the end of ")
    assert up.lines.count("runner-2 does not want to start") == starts
    assert not up.said("holdfast is up")
    assert up.said("postgres stopped")


async def test_of_a_database_that_is_newer_the_migration_tells_once(
    start_up: StartUp, stand_ins: Path, tmp_path: Path
) -> None:
    (stand_ins / "exit-runner-2").write_text("78")  # as a service does, and sooner than the migration
    postgres = PostgresServer(tmp_path / "postgres")
    await postgres.start()
    try:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE alembic_version AS SELECT '9999' AS version_num")
        await connection.close()
        up = await start_up("--postgres", postgres.url)
        assert await up.exit_code() == 1
    finally:
        await postgres.stop()
    assert up.said("the migration failed; the end of ")
    assert up.said("the database's schema is at 9999, newer than this release knows")
    assert not up.said("runner-2 does not want to start")


async def test_ctrl_c_while_it_starts(start_up: StartUp) -> None:
    up = await start_up()
    await up.says("mock-model")
    up.process.send_signal(signal.SIGINT)
    assert await up.exit_code() == 0
    assert not up.said("Traceback")


@pytest.mark.slow
async def test_existing_servers_are_used_and_left_alone(start_up: StartUp, tmp_path: Path) -> None:
    postgres, nats = PostgresServer(tmp_path / "postgres"), NatsServer(tmp_path / "nats")
    await asyncio.gather(postgres.start(), nats.start())
    try:
        up = await _up(start_up, "--postgres", postgres.url, "--nats", nats.url)
        assert set(up.pids()) == EVERYTHING - {"postgres", "nats"}
        up.process.terminate()
        assert await up.exit_code() == 0
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("select count(*) from runs") == 0
        await connection.close()
        assert nats.pid is not None
    finally:
        await asyncio.gather(postgres.stop(), nats.stop())


@pytest.mark.slow
async def test_several_gateways_listen_on_neighbouring_ports(start_up: StartUp) -> None:
    port = free_ports(1)[0]
    up = await start_up("--gateways", "2", "--runners", "0", "--reapers", "0", port=port)
    await up.says(f"holdfast is up at http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port + 1}" in up.said("gateway-2")[0]


@pytest.mark.slow
async def test_it_says_what_it_waits_for_and_goes_on(start_up: StartUp, stand_ins: Path) -> None:
    (stand_ins / "late-runner-2").write_text("agents of mine: ImportError: no such thing")
    up = await start_up()
    await up.says("waiting for runner-2: agents of mine: ImportError: no such thing")
    assert not up.said("waiting for gateway")
    (stand_ins / "late-runner-2").unlink()
    await up.says("holdfast is up at ")
    assert len(up.said("waiting for ")) == 1


@pytest.mark.slow
async def test_settings_of_the_environment_are_taken_or_told_of(
    start_up: StartUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_AUTH", "keys")
    monkeypatch.setenv("HOLDFAST_HOST", "0.0.0.0")  # what must not be taken
    up = await _up(start_up, "--runners", "0", "--reapers", "0")
    assert up.lines[0].startswith("HOLDFAST_HOST=0.0.0.0 is not for `holdfast up`: ")
    assert up.url.startswith("http://127.0.0.1:")
    await up.says(f"callers need an API key: `holdfast keys create --data {tmp_path / 'data'}` makes one")


class Agents:
    """A file of agents on the module path."""

    def __init__(self, stand_ins: Path) -> None:
        self._path = stand_ins / "watched_agents.py"

    def save(self, text: str) -> None:
        """As editors do: a new file in place of the old."""
        new = self._path.with_suffix(".tmp")
        new.write_text(text)
        new.replace(self._path)


@pytest.mark.slow
async def test_reload_replaces_the_runners_one_after_another(start_up: StartUp, stand_ins: Path) -> None:
    agents = Agents(stand_ins)
    agents.save("VERSION = 'v0'\n")
    up = await _up(start_up, "--reload", "--agents", "watched_agents")
    await up.says("watching")
    before = up.pids()
    for version in range(1, 6):
        agents.save(f"VERSION = 'v{version}'\n")
    await wait_until(
        lambda: {"runner-1 started with v5", "runner-2 started with v5"} <= set(_history(stand_ins)),
        description="both runners with what was saved last",
    )
    await up.says("the runners have the changed files")
    history = _history(stand_ins)
    begun = history.index("runner-1 ended")
    assert history[begun : begun + 3][1].startswith("runner-1 started with v")
    assert history[begun : begun + 3][2] == "runner-2 ended"
    after = up.pids()
    assert after["gateway-1"] == before["gateway-1"]
    assert after["runner-1"] != before["runner-1"]
    assert not up.said(" ended: ")


@pytest.mark.slow
async def test_reload_of_a_broken_file_keeps_the_other_runners_until_it_is_mended(
    start_up: StartUp, stand_ins: Path
) -> None:
    agents = Agents(stand_ins)
    agents.save("VERSION = 'v0'\n")
    up = await _up(start_up, "--reload", "--agents", "watched_agents")
    await up.says("watching")
    kept = up.pids()["runner-2"]
    agents.save("VERSION = \n")
    await up.says("runner-2: kept as before")
    assert up.said("SyntaxError")
    assert alive(kept)
    agents.save("VERSION = 'v1'\n")
    await up.says("the runners have the changed files")
    assert {"runner-1 started with v1", "runner-2 started with v1"} <= set(_history(stand_ins))
    up.process.terminate()
    assert await up.exit_code() == 0
