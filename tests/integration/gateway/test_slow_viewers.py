"""A viewer that does not read neither grows the gateway's memory nor slows the others, and still gets everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast_gateway.viewer import Viewer
from holdfast_local.servers import NatsServer
from tests.integration.gateway.world import World
from tests.support.wait import wait_until

_MESSAGES = 400
_BYTES = 64 * 1024


async def test_f39_a_slow_viewer_is_dropped_to_its_own_replay_and_misses_nothing(
    shared_nats: NatsServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops: list[Viewer] = []
    most_queued = 0
    drop_out, offer = Viewer._drop_out, Viewer.offer

    def watch_drop(viewer: Viewer) -> None:
        drops.append(viewer)
        drop_out(viewer)

    def watch_offer(viewer: Viewer, batch: Any) -> None:
        nonlocal most_queued
        offer(viewer, batch)
        most_queued = max(most_queued, viewer._queued_bytes)

    monkeypatch.setattr(Viewer, "_drop_out", watch_drop)
    monkeypatch.setattr(Viewer, "offer", watch_offer)
    queue_bytes_max = 512 * 1024
    async with World(postgres_url, shared_nats.url, viewer_queue_bytes_max=queue_bytes_max) as world:
        run = await world.submit()
        hands = await world.claim(run["id"])
        slow = await world.follow(run["id"])
        fast = await world.follow(run["id"])
        await slow.until("run.started")
        slow.paused.clear()
        for n in range(_MESSAGES):
            await hands.emit("custom", {"position": None, "name": str(n), "data": "x" * _BYTES})
        await fast.until_id(f"1-{_MESSAGES + 1}")
        assert drops  # the slow one; on a busy machine the fast one too, for a moment
        assert most_queued <= queue_bytes_max + _BYTES * 2
        assert len(slow.events) < _MESSAGES
        slow.paused.set()
        await hands.finish()
        await slow.until_end(timeout_s=30.0)
        await fast.until_end()
    assert slow.ids == fast.ids == ["0-1", *(f"1-{n}" for n in range(1, _MESSAGES + 3))]
    assert slow.frames == fast.frames


async def test_f39_a_client_that_is_gone_leaves_nothing_behind(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    await stream.until("run.started")
    stream.paused.clear()
    for n in range(200):
        await hands.emit("custom", {"position": None, "name": str(n), "data": "x" * _BYTES})
    await stream.close()
    await wait_until(lambda: world.gateway.followed == 0, description="the tail has gone with its viewer")
    of_streams = {"stream", "stream-client", "stream-draining", "viewer-step"}
    await wait_until(
        lambda: of_streams.isdisjoint(task.get_name() for task in asyncio.all_tasks()), description="so have its tasks"
    )
