"""One tail for a run and its viewers: one subscription, no consumer, one query for all runs, and only what was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from holdfast.bus import event_log, log_ends, names
from holdfast.runs import EventId
from holdfast.store import caller
from holdfast.wire import events
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

    def note(tail: Tail, message: Any) -> None:
        heard.append(str(event_log.last_id_of(message.headers)))
        hear(tail, message)

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


async def test_the_ends_of_many_logs_are_known_by_one_question(world: World) -> None:
    runs = [UUID((await world.submit())["id"]) for _ in range(3)]
    client = await world.nats()
    first = await log_ends.look(client, [*runs, UUID(int=1)], 0)
    assert first.whole
    assert first.seqs.keys() == set(runs)
    assert first.upto >= max(first.seqs.values())
    hands = await world.claim(str(runs[1]))
    await hands.text(None, "a")
    then = await log_ends.look(client, runs, first.upto)
    assert then.seqs == {runs[1]: then.upto}
    assert (await log_ends.look(client, runs, then.upto)).seqs == {}
    for run_id in runs:
        large = events.frame(EventId(9, 9), "custom", {"position": None, "name": "n", "data": "x" * 700_000})
        await client.jetstream().publish(names.events_subject(run_id), large)
    cut = await log_ends.look(client, runs, then.upto)
    assert not cut.whole
    assert len(cut.seqs) < 3


async def test_quiet_tails_ask_together_and_read_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    rereads: list[Tail] = []
    look, reread = log_ends.look, Tail.reread

    async def note_look(client: Any, run_ids: Sequence[UUID], after_seq: int) -> Any:
        if not asked:
            rereads.clear()  # what was read at the first connect
        asked.append(len(run_ids))
        return await look(client, run_ids, after_seq)

    async def note_reread(tail: Tail) -> None:
        rereads.append(tail)
        await reread(tail)

    monkeypatch.setattr("holdfast_gateway.tails.log_ends.look", note_look)
    monkeypatch.setattr(Tail, "reread", note_reread)
    for _ in range(3):
        await (await world.follow((await world.submit())["id"])).until("run.queued")
    tails = world.gateway._parts.tails._tails
    await wait_until(lambda: all(tail._nothing_upto > 0 for tail in tails.values()), description="the stream was asked")
    assert len(tails) == 3
    assert len(asked) <= 3
    assert not rereads
