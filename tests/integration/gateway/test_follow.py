"""Following a run: from the start, from a cursor, late, while it is taken over, and when it is over."""

from __future__ import annotations

import pytest

from holdfast.runs import Outcome
from holdfast.store import Database, stranger
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.stream import Stream
from tests.integration.gateway.world import CHAT, World
from tests.support.wait import wait_until


async def reclaim(db: Database, hands: Hands) -> None:
    """What a reaper does when the owner has died."""
    lease = hands.lease
    assert await stranger.reclaim(db, lease.owner, [(lease.run_id, lease.attempt)])


async def test_a_stream_shows_a_run_from_its_queueing_to_its_clean_end(world: World) -> None:
    run = await world.submit()
    stream = await world.follow(run["id"])
    assert stream.answer.status_code == 200
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["cache-control"] == "no-cache"
    assert stream.answer.headers["x-accel-buffering"] == "no"
    await stream.until("run.queued")
    hands = await world.claim(run["id"])
    await hands.step("0", "Hel", "lo")
    await hands.finish()
    await stream.until_end()
    assert stream.ids == ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5", "1-6"]
    assert stream.types[-1] == "run.completed"
    assert stream.fold.text == "Hello"
    assert stream.events[0].data == {"run_id": run["id"], "thread_id": run["thread_id"], "position": 1}


async def test_f30_a_viewer_moves_to_another_gateway_and_misses_nothing(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    first = await world.follow(run["id"])
    await hands.begin_step("0")
    await hands.text("0", "a", "b")
    await first.until("text.delta", count=2)
    async with World(world.postgres_url, world.nats_url) as other:
        await hands.text("0", "c")
        from_start = await other.follow(run["id"])
        from_cursor = await other.follow(run["id"], Last_Event_ID="1-4")
        await hands.text("0", "d")
        await hands.end_step("0")
        await hands.finish()
        for stream in (first, from_start, from_cursor):
            await stream.until_end()
    assert from_start.frames == first.frames
    cut = first.ids.index("1-4") + 1
    assert from_cursor.frames == first.frames[cut:]
    assert first.fold.text == "abcd"


async def test_f31_viewers_come_and_go_and_the_run_does_not_notice(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    viewers = [await world.follow(run["id"]) for _ in range(10)]
    await hands.begin_step("0")
    await hands.text("0", "a")
    for viewer in viewers:
        await viewer.until("text.delta")
    before = await world.http.get(f"/v1/runs/{run['id']}")
    for viewer in viewers:
        await viewer.close()
    await wait_until(lambda: world.gateway.followed == 0, description="the tail has gone with its last viewer")
    assert (await world.http.get(f"/v1/runs/{run['id']}")).json() == before.json()
    await hands.text("0", "b")
    late = await world.follow(run["id"])
    await hands.end_step("0")
    assert await hands.finish() == "completed"
    await late.until_end()
    assert late.fold.text == "ab"
    assert late.ids == ["0-1", *(f"1-{n}" for n in range(1, 7))]


async def test_f32_early_late_and_reconnected_viewers_hold_the_same_transcript_over_a_takeover(world: World) -> None:
    run = await world.submit()
    early = await world.follow(run["id"])
    hands = await world.claim(run["id"])
    kept = await hands.step("0", "kept ")
    await hands.begin_step("1")
    await hands.text("1", "lost")
    await early.until("text.delta", count=2)
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    late = await world.follow(run["id"])
    await late.until("run.resumed")
    resumed = next(event for event in late.events if event.type == "run.resumed")
    assert resumed.data["keep_through"] == str(kept)
    reconnected = await world.follow(run["id"], Last_Event_ID=str(early.last_id))
    await heir.step("1", "again")
    await heir.finish()
    for stream in (early, late, reconnected):
        await stream.until_end()
    assert early.fold.text == late.fold.text == "kept again"
    assert early.frames == late.frames
    assert early.duplicates == late.duplicates == 0
    record = (await world.http.get(f"/v1/runs/{run['id']}")).json()
    assert record["output"] == {"text": "kept again"}


async def test_f41_a_reload_at_any_moment_shows_what_those_who_stayed_see(world: World) -> None:
    run = await world.submit()
    stayed = await world.follow(run["id"])
    reloads: list[tuple[str, int, Stream, Stream]] = []

    async def reload(moment: str) -> None:
        """A page that forgot all, and one that kept its cursor, as what stayed is up to date."""
        end = (await world.log_end(run["id"])).last_id
        await stayed.until_id(str(end))
        anew = await world.follow(run["id"])
        await anew.until_id(str(end))
        assert stayed.ids[-1] == str(end)
        assert (anew.fold.text, anew.frames) == (stayed.fold.text, stayed.frames), moment
        resumed = await world.follow(run["id"], Last_Event_ID=str(end))
        reloads.append((moment, len(stayed.frames), anew, resumed))

    await reload("queued")
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")
    await reload("between steps")
    await hands.begin_step("1")
    await hands.text("1", "lo", "st")
    await reload("in a step")
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    await reload("taken over")
    await heir.step("1", "two ")
    await heir.text(None, "three")
    await heir.finish()
    await stayed.until_end()
    for moment, seen, anew, resumed in reloads:
        await anew.until_end()
        await resumed.until_end()
        assert anew.frames == stayed.frames, moment
        assert resumed.frames == stayed.frames[seen:], moment
        assert anew.duplicates == resumed.duplicates == 0
    messages = (await world.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["items"]
    assert "".join(part["text"] for part in messages[-1]["parts"]) == stayed.fold.text == "one two three"


async def test_a_zombies_last_words_are_dropped(world: World) -> None:
    run = await world.submit()
    zombie = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    await zombie.emit("custom", {"position": None, "name": "n", "data": 1})
    await reclaim(world.db, zombie)
    last_word = zombie.make("custom", {"position": None, "name": "n", "data": 2})
    heir = await world.claim(run["id"], pod="runner-2")
    end = await world.log_end(run["id"])
    zombie._seq = end.seq  # it guesses the end right, which the fence alone would let pass
    await zombie.append(last_word)
    heir._seq = (await world.log_end(run["id"])).seq
    await heir.finish()
    await stream.until_end()
    late = await world.follow(run["id"])
    await late.until_end()
    assert stream.ids == late.ids == ["0-1", "1-1", "1-2", "2-1", "2-2"]


async def test_the_header_wins_over_the_query_and_cursors_are_exclusive(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "a", "b")
    await hands.finish()
    path = f"/v1/runs/{run['id']}/events"
    both = await world.follow(f"{path}?after=1-1", Last_Event_ID="1-5")
    await both.until_end()
    assert both.ids == ["1-6"]
    by_query = await world.follow(f"{path}?after=1-4")
    await by_query.until_end()
    assert by_query.ids == ["1-5", "1-6"]


async def test_a_cursor_at_the_end_gets_a_clean_end_and_one_after_it_is_refused(world: World) -> None:
    run = await world.submit(thread="t")
    hands = await world.claim(run["id"])
    await hands.finish()
    stream = await world.follow(run["id"], Last_Event_ID="1-2")
    await stream.until_end()
    assert stream.events == []
    for path, cursor in ((f"runs/{run['id']}", "1-999"), ("threads/t", f"{run['id']}:1-3")):
        answer = await world.http.get(f"/v1/{path}/events", params={"after": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor"), path


async def test_a_cursor_ahead_of_a_live_runs_log_is_brought_back_by_a_snapshot(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    kept = await hands.step("0", "one ")
    stream = await world.follow(run["id"], Last_Event_ID="1-9999")
    await stream.until("snapshot")
    assert stream.ids == [str(kept)]
    await hands.step("1", "two")
    await hands.finish()
    await stream.until_end()
    assert stream.ids == ["1-4", "1-5", "1-6", "1-7", "1-8"]
    assert stream.types[-1] == "run.completed"
    assert stream.fold.text == "one two"


async def test_a_cursor_ahead_of_a_log_that_ends_in_a_step_is_mended_too(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    await hands.text("0", "a", "b")
    stream = await world.follow(run["id"], Last_Event_ID="1-9999")
    await stream.until("snapshot")
    await hands.text("0", "c")
    await hands.end_step("0")
    await hands.finish()
    await stream.until_end()
    assert stream.types[-1] == "run.completed"
    assert stream.fold.text == "abc"


@pytest.mark.parametrize("told", [True, False])
async def test_a_run_that_ends_as_a_viewer_ahead_of_it_comes_still_shows_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr("holdfast_gateway.http.events.check_cursor", lambda run, cursor: None)  # it looked before
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "hi")
    await hands.finish(tell=told)
    stream = await world.follow(run["id"], Last_Event_ID="1-999")
    await stream.until_end()
    assert stream.types == ["snapshot", "run.completed"]
    assert stream.fold.text == "hi"


async def test_a_cursor_at_the_logs_end_is_not_ahead_of_it(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    last = await hands.emit("text.delta", {"position": "0", "text": "a"})
    stream = await world.follow(run["id"], Last_Event_ID=str(last))
    await hands.end_step("0")
    await hands.finish()
    await stream.until_end()
    assert stream.ids == ["1-4", "1-5"]


async def test_a_submit_can_be_followed_at_once_and_begins_with_its_queueing(world: World) -> None:
    await world.load()
    body = {"agent": "echo", "input": CHAT}
    stream = await Stream.open(
        f"{world.url}/v1/runs", method="POST", headers={"Accept": "text/event-stream"}, body=body
    )
    try:
        assert stream.answer.status_code == 200
        run_id = stream.answer.headers["x-workflow-run-id"]
        assert stream.answer.headers["location"] == f"/v1/runs/{run_id}"
        await stream.until("run.queued")
        assert stream.events[0].data["run_id"] == run_id
        hands = await world.claim(run_id)
        await hands.step("0", "hi")
        await hands.finish(Outcome.FAILED, error="agent_error")
        await stream.until_end()
        assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 6))]
        assert stream.types[-1] == "run.failed"
        assert stream.events[-1].data == {"error": {"code": "agent_error", "message": "it went wrong"}}
    finally:
        await stream.close()
