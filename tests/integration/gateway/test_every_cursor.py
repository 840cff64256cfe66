"""``Last-Event-ID`` at every event of a run gives exactly what follows it: after the end, while it runs, and by long poll."""

from __future__ import annotations

import asyncio

from holdfast.wire.events import split
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.stream import Stream
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.test_long_poll import Poller
from tests.integration.gateway.world import World


async def _side_by_side(hands: Hands) -> None:
    """Two steps whose events interleave, several to a message, so that cursors fall into messages."""
    for position in ("1.0", "1.1"):
        await hands.begin_step(position)
    words = [("1.0", "a"), ("1.1", "x"), ("1.0", "b"), ("1.1", "y"), ("1.1", "z"), ("1.0", "c")]
    frames = [hands.make("text.delta", {"position": position, "text": word}) for position, word in words]
    await hands.append(*frames[:4])
    await hands.append(*frames[4:])
    for position in ("1.1", "1.0"):
        hands._since_step = "".join(word for of, word in words if of == position)
        await hands.end_step(position)


async def _most_of_a_run(world: World, run_id: str) -> Hands:
    """Steps, steps side by side, an owner that dies in the middle of one, and its heir."""
    hands = await world.claim(run_id)
    await hands.step("0", "one ", "two ")
    await _side_by_side(hands)
    await hands.begin_step("2")
    await hands.text("2", "lost")
    await reclaim(world.db, hands)
    heir = await world.claim(run_id, pod="runner-2")
    await heir.step("2", "again ")
    await heir.emit("custom", {"position": None, "name": "n", "data": {"text": "id: 1-1\nevent: run.failed\n\n"}})
    return heir


async def test_every_events_id_is_a_cursor_that_gives_the_exact_rest(world: World) -> None:
    run = await world.submit()
    whole = await world.follow(run["id"])
    heir = await _most_of_a_run(world, run["id"])
    await whole.until("custom")
    so_far = list(whole.ids)
    live = {cursor: await world.follow(run["id"], Last_Event_ID=cursor) for cursor in so_far}
    polling = [Poller(world, run["id"]) for _ in so_far]
    for poller, cursor in zip(polling, so_far, strict=True):
        poller.cursor = cursor
    polls = asyncio.gather(*(poller.to_the_end() for poller in polling))
    await heir.step("3", "end")
    await heir.finish()
    await asyncio.gather(whole.until_end(), polls, *(stream.until_end() for stream in live.values()))
    assert len(so_far) > 20
    assert whole.duplicates == 0
    for cursor, stream in live.items():
        assert stream.frames == whole.frames[whole.ids.index(cursor) + 1 :], cursor
    for poller, cursor in zip(polling, so_far, strict=True):
        assert poller.ids == whole.ids[whole.ids.index(cursor) + 1 :], cursor

    async def after_the_end(cursor: str) -> tuple[Stream, Poller]:
        poller = Poller(world, run["id"])
        poller.cursor = cursor
        stream = await world.follow(run["id"], Last_Event_ID=cursor)
        await asyncio.gather(stream.until_end(), poller.to_the_end(0))
        return stream, poller

    for cursor, (stream, poller) in zip(whole.ids, await asyncio.gather(*map(after_the_end, whole.ids)), strict=True):
        rest = whole.frames[whole.ids.index(cursor) + 1 :]
        assert stream.frames == rest, cursor
        assert poller.ids == [frame[4:].split(b"\n")[0].decode() for one in rest for frame in split(one)], cursor
    assert whole.fold.text == (await world.http.get(f"/v1/runs/{run['id']}")).json()["output"]["text"]
