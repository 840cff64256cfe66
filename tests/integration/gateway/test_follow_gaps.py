"""What was lost on the way, or from the log: repaired from the stream, or mended from the record; never a silent gap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nats.aio.msg import Msg

from holdfast.bus import event_log, names, topology
from holdfast.wire.events import frame_id
from holdfast_gateway.tail import Tail
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import World

Losing = Callable[[Callable[[Msg], bool]], None]


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Losing:
    """``losing(which)``: live messages that match never reach the gateway's tails, as when the client drops them."""
    hear = Tail._hear

    def lose(which: Callable[[Msg], bool]) -> None:
        def hear_some(tail: Tail, message: Msg) -> None:
            if not which(message):
                hear(tail, message)

        monkeypatch.setattr(Tail, "_hear", hear_some)

    return lose


async def test_a_live_message_that_was_lost_is_read_from_the_stream(world: World, losing: Losing) -> None:
    losing(lambda message: b'"text":"b"' in message.data or b'"text":"c"' in message.data)
    run = await world.submit()
    hands = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    await stream.until("run.started")
    await hands.step("0", "a", "b", "c", "d")
    await hands.finish()
    await stream.until_end()
    assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 9))]
    assert stream.fold.text == "abcd"


async def test_the_last_message_is_found_by_a_quiet_tail(world: World, losing: Losing) -> None:
    losing(lambda message: b"run.completed" in message.data)
    run = await world.submit()
    hands = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    await stream.until("run.started")
    await hands.step("0", "a")
    await hands.finish()
    await stream.until_end()  # the record would tell in 30 s only
    assert stream.types[-1] == "run.completed"


async def _forget(world: World, hands: Hands, *event_ids: str) -> None:
    """Delete messages of the log, as age does at its beginning and a bad disk anywhere."""
    client = await world.nats()
    async for entry in event_log.read(client, hands.lease.run_id, 0):
        if str(frame_id(entry.payload)) in event_ids:
            await client.jetstream().delete_msg(names.EVENTS_STREAM, entry.seq)


async def test_a_log_that_lost_finished_steps_is_mended_from_the_record(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")  # 1-2 to 1-4
    await hands.step("1", "two ")  # 1-5 to 1-7
    await hands.begin_step("2")
    await hands.text("2", "three")  # 1-9
    await _forget(world, hands, "1-3", "1-6")
    stream = await world.follow(run["id"])
    await stream.until_id("1-9")
    healed = ["step.completed", "step.started", "text.delta"]
    assert stream.types == ["run.queued", "run.started", "step.started", "snapshot", *healed]
    assert stream.ids[3:5] == ["1-6", "1-7"]
    assert stream.fold.text == "one two three"
    await hands.end_step("2")
    await hands.finish()
    await stream.until_end()
    assert stream.fold.text == "one two three"
    assert stream.duplicates == 0


async def test_a_hole_in_a_step_that_is_not_finished_is_mended_when_it_is(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    await hands.text("0", "a", "b", "c")  # 1-3 to 1-5
    await _forget(world, hands, "1-4")
    stream = await world.follow(run["id"])
    await stream.until("snapshot")
    assert stream.ids[-1] == "1-4"  # above what the viewer has seen, below what follows; nothing is finished yet
    await hands.text("0", "d")
    await stream.until_id("1-5")
    await hands.end_step("0")
    await hands.begin_step("1")
    await stream.until("snapshot", count=2)
    assert stream.fold.text == "abcd"
    await hands.text("1", "e")
    await hands.end_step("1")
    await hands.finish()
    await stream.until_end()
    assert stream.fold.text == "abcde"
    assert stream.ids == sorted(stream.ids, key=lambda event_id: tuple(map(int, event_id.split("-"))))
    assert stream.duplicates == 0


async def test_whoever_was_sent_a_snapshot_ends_with_what_the_record_holds(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    await hands.text("0", "a", "b", "c")
    await _forget(world, hands, "1-4")
    stream = await world.follow(run["id"])
    await stream.until("snapshot")
    await hands.text("0", "d")
    # cancelled in the middle of the step: its text is the answer's, and the journal does not have it
    await world.http.post(f"/v1/runs/{run['id']}/cancel")
    await hands.finish()
    await stream.until_end()
    assert stream.types[-2:] == ["snapshot", "run.cancelled"]
    assert stream.fold.text == "abcd"
    assert stream.duplicates == 0


async def test_a_cursor_older_than_the_log_gets_a_snapshot(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")
    await hands.step("1", "two ")
    await _forget(world, hands, "0-1", "1-1", "1-2", "1-3", "1-4", "1-5")
    stream = await world.follow(run["id"], Last_Event_ID="1-2")
    await stream.until("snapshot")
    assert stream.ids == ["1-7"]
    assert stream.fold.text == "one two "
    from_start = await world.follow(run["id"])
    await hands.step("2", "three")
    await hands.finish()
    for each in (stream, from_start):
        await each.until_end()
        assert each.fold.text == "one two three"
        assert each.duplicates == 0


async def test_a_takeover_that_keeps_what_the_viewer_never_saw_is_a_gap(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    stream = await world.follow(run["id"], Last_Event_ID="1-1")
    await hands.step("0", "one ")  # 1-2 to 1-4
    await stream.until_id("1-4")
    await hands.step("1", "two ")  # 1-5 to 1-7
    await _forget(world, hands, "1-2", "1-3", "1-4", "1-5", "1-6", "1-7")
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    late = await world.follow(run["id"], Last_Event_ID="1-1")
    await late.until("run.resumed")
    assert late.types == ["snapshot", "run.resumed"]
    assert late.ids == ["1-7", "2-1"]
    await heir.step("2", "three")
    await heir.finish()
    for each in (stream, late):
        await each.until_end()
        assert each.fold.text == "one two three"


async def test_a_log_that_vanished_and_was_made_anew_is_followed_on(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")
    stream = await world.follow(run["id"])
    await stream.until("step.completed")
    client = await world.nats()
    await client.jetstream().delete_stream("RUN_EVENTS")
    await topology.ensure(client, replicas=1)
    # the owner finds that its log is gone: it begins a new one with a snapshot
    hands._seq = 0
    step = {
        "position": "0",
        "kind": "model",
        "name": "chat",
        "status": "completed",
        "text": "one ",
        "last_event_id": "1-4",
    }
    await hands.emit("snapshot", {"run": {"id": run["id"], "status": "running", "attempt": 1}, "steps": [step]})
    await hands.step("1", "two")
    await hands.finish()
    await stream.until_end()
    assert stream.fold.text == "one two"
    assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 10))]
    assert stream.types[5] == "snapshot"
