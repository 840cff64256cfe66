"""One tail for a run and its viewers: one subscription, no consumer, one query for all runs, and only what was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from holdfast.bus import event_log, names
from holdfast.store import caller
from holdfast_gateway.tail import Tail
from holdfast_local.servers import NatsServer
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import World
from tests.support.wait import wait_until


async def test_many_viewers_share_one_tail_and_no_consumer_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    hear = Tail._hear

    async def note(tail: Tail, message: Any) -> None:
        heard.append(str(event_log.last_id_of(message.headers)))
        await hear(tail, message)

    monkeypatch.setattr(Tail, "_hear", note)
    run, other = await world.submit(), await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    viewers = [await world.follow(run["id"], **cursor) for cursor in ({}, {}, {"Last_Event_ID": "1-1"})]
    viewers.append(await world.follow(f"/v1/threads/{run['thread_id']}/events"))
    beside = await world.follow(other["id"])
    for viewer in viewers[:3]:
        await viewer.until_id("1-2")
    await beside.until("run.queued")
    assert world.gateway.followed == 2
    info = await (await world.nats()).jetstream().stream_info(names.EVENTS_STREAM)
    assert info.state.consumer_count == 0
    heard.clear()
    await hands.text("0", "a")
    for viewer in viewers[:3]:
        await viewer.until_id("1-3")
    assert heard == ["1-3"]
    await hands.finish()
    for viewer in viewers:
        await viewer.until_end()
    await wait_until(lambda: world.gateway.followed == 1, description="the tail has gone with its last viewer")


async def test_what_the_log_refused_is_shown_to_nobody(world: World) -> None:
    run = await world.submit()
    zombie = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    await stream.until("run.started")
    await reclaim(world.db, zombie)
    heir = await world.claim(run["id"], pod="runner-2")
    with pytest.raises(event_log.Refused):
        await zombie.emit("custom", {"position": None, "name": "late", "data": None})
    await heir.step("0", "a")
    await heir.finish()
    await stream.until_end()
    late = await world.follow(run["id"])
    await late.until_end()
    assert late.frames == stream.frames
    assert "custom" not in stream.types


async def test_all_followed_runs_are_reconciled_by_one_query(
    shared_nats: NatsServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[UUID]] = []
    tails = caller.tails

    async def note(db: Any, run_ids: Sequence[UUID]) -> Any:
        asked.append(run_ids)
        return await tails(db, run_ids)

    monkeypatch.setattr("holdfast_gateway.tails.caller.tails", note)
    async with World(postgres_url, shared_nats.url, reconcile_interval_s=0.2) as world:
        runs = [await world.submit() for _ in range(3)]
        for run in runs:
            for _ in range(2):
                await (await world.follow(run["id"])).until("run.queued")
        asked.clear()
        await wait_until(lambda: len(asked) >= 2, description="two rounds")
        assert {frozenset(map(str, run_ids)) for run_ids in asked[1:]} == {frozenset(run["id"] for run in runs)}
