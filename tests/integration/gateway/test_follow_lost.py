"""A log that was trimmed, and a store that was deleted, under runs that go on and runs that are over: a snapshot and the rest."""

from __future__ import annotations

import shutil
from typing import Any
from uuid import UUID

from holdfast.bus import event_log, names
from holdfast.runs import Fold
from holdfast_local.servers import NatsServer
from tests.integration.gateway.test_long_poll import Poller
from tests.integration.gateway.world import World
from tests.support.wait import wait_until


async def _ended(world: World) -> dict[str, Any]:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")  # 1-2 to 1-4
    await hands.step("1", "two")  # 1-5 to 1-7
    await hands.finish()  # 1-8
    return run


async def test_a_store_that_was_deleted_leaves_nobody_hanging(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url) as world:
        over, run = await _ended(world), await world.submit()
        hands = await world.claim(run["id"])
        await hands.step("0", "one ")
        await hands.begin_step("1")
        await hands.text("1", "tw")
        from_start = await world.follow(run["id"])
        from_cursor = await world.follow(run["id"], Last_Event_ID="1-3")
        waiting = await world.submit()
        queued = await world.follow(waiting["id"])
        for stream in (from_start, from_cursor):
            await stream.until_id("1-6")
        await queued.until("run.queued")
        nats.kill()
        shutil.rmtree(nats.data_dir / "jetstream")
        meanwhile = await world.follow(run["id"])
        late = [await world.follow(run["id"], Last_Event_ID=cursor) for cursor in ("1-2", "1-6")]
        await nats.start()
        await wait_until(lambda: world._link.up, description="the runner's link is back")
        await world.until_ready()
        await hands.mend(step_1="tw")  # its owner finds another log than it has written
        await hands.text("1", "o ")
        await hands.end_step("1")
        after = [await world.follow(run["id"], **cursor) for cursor in ({}, {"Last_Event_ID": "1-6"})]
        poller = Poller(world, run["id"])
        await hands.step("2", "three")
        await hands.finish()
        await poller.to_the_end()
        heir = await world.claim(waiting["id"])
        await heir.step("0", "done")
        await heir.finish()
        for stream in (from_start, from_cursor, meanwhile, *late, *after, queued):
            await stream.until_end()
            assert stream.types[-1] == "run.completed"
            assert stream.duplicates == 0
        for stream in (from_start, from_cursor, meanwhile, *late, *after):
            assert "snapshot" in stream.types  # which replaces everything: none lacks what was before its cursor
            assert stream.fold.text == "one two three"
        assert poller.fold.text == "one two three"
        assert queued.fold.text == "done"
        # the run that was over long before: whatever the cursor, it ends
        for cursor, shown in (
            (None, ["snapshot", "run.completed"]),
            ("1-1", ["snapshot", "run.completed"]),
            ("1-7", ["run.completed"]),
            ("1-8", []),
        ):
            stream = await world.follow(over["id"], **({"Last_Event_ID": cursor} if cursor else {}))
            await stream.until_end()
            assert stream.types == shown, cursor
            assert cursor is not None or stream.fold.text == "one two"


async def test_a_log_that_was_trimmed_after_the_end_gives_a_snapshot_and_the_rest_at_every_cursor(world: World) -> None:
    run = await _ended(world)
    whole = await world.follow(run["id"])
    await whole.until_end()
    client, seqs = await world.nats(), []
    async for entry in event_log.read(client, UUID(run["id"]), 0):
        seqs.append(entry.seq)
    for seq in seqs[:6]:  # up to 1-4
        await client.jetstream().delete_msg(names.EVENTS_STREAM, seq)
    for at, cursor in enumerate(whole.ids, start=1):
        stream = await world.follow(run["id"], Last_Event_ID=cursor)
        await stream.until_end()
        assert "snapshot" in stream.types or stream.types == whole.types[at:], cursor
        fold = Fold()
        for event in [*whole.events[:at], *stream.events]:
            assert fold.apply(event.id, event.type, event.data), cursor
        assert fold.text == "one two", cursor
    from_start = await world.follow(run["id"])
    await from_start.until_end()
    assert from_start.types == ["snapshot", "run.completed"]
    assert from_start.fold.text == "one two"
