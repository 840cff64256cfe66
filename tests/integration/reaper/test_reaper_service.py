"""The reaper as a service and as a process: starting while servers are away, stopping, refusing, dying aloud."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from holdfast.bus import heartbeats
from holdfast.errors import Terminal
from holdfast_local.servers import PostgresServer
from holdfast_reaper.service import Reaper, build
from tests.integration.reaper.process import ReaperProcess
from tests.integration.reaper.world import World, reaping
from tests.support.wait import wait_until


async def test_it_starts_while_nats_is_away_says_so_and_is_ready_once_it_can_see(world: World) -> None:
    world.nats.kill()
    async with reaping(world.settings(), ready=False) as watched:

        async def shown() -> bool:
            return any("no connection to NATS" in each for each in await watched.reaper.not_ready())

        await wait_until(shown, description="readiness to say that NATS is away")
        await world.nats.start()
        await watched.until_ready()


async def test_it_stops_at_once_while_nats_is_away(world: World) -> None:
    world.nats.kill()
    stop = asyncio.Event()
    task = asyncio.create_task(Reaper(world.settings()).run(stop))
    stop.set()
    async with asyncio.timeout(4):
        await task


@pytest.mark.slow
async def test_readiness_shows_a_frozen_postgres_and_its_return(world: World, postgres: PostgresServer) -> None:
    async with reaping(world.settings()) as watched:
        postgres.pause()
        try:

            async def shown() -> bool:
                return any("Postgres" in each for each in await watched.reaper.not_ready())

            await wait_until(shown, description="readiness to show the frozen Postgres", timeout_s=4)
        finally:
            postgres.resume()
        await watched.until_ready()


async def test_a_process_ends_at_sigterm_with_a_goodbye_and_exit_code_0(world: World, tmp_path: Path) -> None:
    process = ReaperProcess(world.settings(), tmp_path / "reaper.log")
    await process.start()
    try:
        client = await world.client()

        async def beats() -> list[bool]:
            everybody = [beat.heartbeat for beat in await heartbeats.read_all(client)]
            return [life.goodbye for life in everybody if life is not None and life.kind == "reaper"]

        async def said_hello() -> bool:
            return await beats() == [False]

        await wait_until(said_hello, description="the reaper's own heartbeat", timeout_s=20)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
        assert await beats() == [True]
    finally:
        await process.kill()


async def test_settings_that_contradict_each_other_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="heartbeat_ttl_s"):
        build(world.settings(heartbeat_ttl_s=2, heartbeat_interval_s=1.5))
    process = ReaperProcess(world.settings(heartbeat_ttl_s=2, heartbeat_interval_s=1.5), tmp_path / "reaper.log")
    await process.start()
    assert await process.ended() == 78
    assert process.has_logged("holdfast reaper: heartbeat_ttl_s must be")


async def test_a_part_that_dies_stops_the_service_with_its_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(world.settings())

    async def dies() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(reaper._probing, "keep", dies)
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(10):
            await reaper.run(asyncio.Event())
    assert raised.group_contains(RuntimeError, match="a bug")
