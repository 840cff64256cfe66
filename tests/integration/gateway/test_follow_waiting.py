"""What those who follow a run see while it waits: its stream goes on, the text is kept, and the question is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from holdfast.bus import names
from holdfast.runs import EventId
from holdfast_local.servers import NatsServer
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.test_answers import QUESTION, answered
from tests.integration.gateway.test_follow_gaps import _forget
from tests.integration.gateway.world import World


@pytest.fixture
async def eager(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway that reconciles often, and whose keepalives come soon."""
    async with World(postgres_url, shared_nats.url, reconcile_interval_s=0.2, keepalive_interval_s=0.3) as made:
        yield made


async def talking(world: World) -> tuple[str, Hands, UUID]:
    """A run that has finished a step, has said something outside of steps, and is about to ask."""
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "step ")  # 1-2 to 1-4
    await hands.text(None, "and ", "more")  # 1-5, 1-6
    return run["id"], hands, await hands.open("1", "ask", question=QUESTION)


async def go_on(world: World, run_id: str, question_id: UUID) -> None:
    assert (await answered(world, run_id, question_id, "yes"))[0] == 202
    heir = await world.claim(run_id, pod="runner-2")
    await heir.step("2", "!")
    await heir.finish()


async def lose_the_log(world: World, run_id: str) -> None:
    stream = (await world.nats()).jetstream()
    await stream.purge_stream(names.EVENTS_STREAM, subject=names.events_subject(UUID(run_id)))


async def recorded(world: World, run_id: str) -> str:
    """The answer as the transcript has it."""
    run = (await world.http.get(f"/v1/runs/{run_id}")).json()
    messages = (await world.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["items"]
    return "".join(part["text"] for part in messages[-1]["parts"])


async def test_a_wait_does_not_end_a_stream_and_what_was_shown_is_kept(world: World) -> None:
    run_id, hands, question_id = await talking(world)
    stream = await world.follow(run_id)
    assert await hands.suspend() == "waiting"
    await stream.until("run.waiting")
    assert stream.events[-1].data["question_id"] == str(question_id)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await stream.until("run.resumed")
    assert stream.ended is None
    late = await world.follow(run_id)
    await late.until("run.waiting")
    await go_on(world, run_id, question_id)
    for each in (stream, late):
        await each.until_end()
        assert each.fold.text == "step and more!"
    assert await recorded(world, run_id) == "step and more!"
    resumed = stream.events[stream.types.index("run.resumed")].data
    assert (resumed["reason"], resumed["keep_through"]) == ("answered", "1-7")


async def test_a_cancel_while_it_waits_keeps_what_was_shown(world: World) -> None:
    run_id, hands, _ = await talking(world)
    stream = await world.follow(run_id)
    await hands.suspend()
    await stream.until("run.waiting")
    assert (await world.http.post(f"/v1/runs/{run_id}/cancel")).json()["status"] == "cancelled"
    await stream.until_end()
    assert (stream.types[-1], stream.fold.text) == ("run.cancelled", "step and more")
    assert await recorded(world, run_id) == "step and more"


async def test_a_snapshot_holds_the_text_that_a_suspended_attempt_had_shown(world: World) -> None:
    run_id, hands, question_id = await talking(world)
    await hands.suspend()
    await go_on(world, run_id, question_id)
    await _forget(world, hands, "1-3", "1-5", "1-7")
    stream = await world.follow(run_id)
    await stream.until_end()
    shown = stream.events[stream.types.index("snapshot")].data["steps"]
    assert [(each["position"], each["kind"], each["status"], each["text"]) for each in shown[:2]] == [
        ("0", "model", "completed", "step "),
        (None, "text", "completed", "and more"),
    ]
    assert shown[1]["last_event_id"] == "1-7"
    assert stream.fold.text == "step and more!"


async def test_who_comes_when_the_log_is_lost_sees_what_is_asked(world: World) -> None:
    run_id, hands, question_id = await talking(world)
    await hands.suspend()
    await lose_the_log(world, run_id)
    stream = await world.follow(run_id)
    await stream.until("snapshot")
    data = stream.events[-1].data
    assert data["run"]["status"] == "waiting"
    assert [(wait["question_id"], wait["question"]) for wait in data["run"]["waiting"]] == [
        (str(question_id), QUESTION)
    ]
    assert stream.fold.text == "step and more"
    await go_on(world, run_id, question_id)
    await stream.until_end()
    assert stream.types.count("snapshot") == 1
    assert stream.fold.text == "step and more!"


async def test_who_follows_while_the_log_loses_the_question_is_shown_it(eager: World) -> None:
    run_id, hands, question_id = await talking(eager)
    stream = await eager.follow(run_id)
    await stream.until("text.delta", count=3)
    hands._open[0]["finish_id"] = EventId(1, 7)  # its owner could not append that any more
    assert await hands.suspend(tell=False) == "waiting"
    await stream.until("snapshot")
    assert stream.events[-1].data["run"]["waiting"][0]["question_id"] == str(question_id)
    assert stream.fold.text == "step and more"
    with pytest.raises(TimeoutError):  # once is enough
        async with asyncio.timeout(0.8):
            await stream.until("snapshot", count=2)
    again = await eager.follow(run_id, Last_Event_ID=str(stream.last_id))
    await go_on(eager, run_id, question_id)
    for each in (stream, again):
        await each.until_end()
    assert stream.fold.text == "step and more!"


async def test_a_question_that_a_torn_viewer_is_not_shown_at_once_comes_with_the_next_keepalive(eager: World) -> None:
    run_id, hands, _ = await talking(eager)
    await _forget(eager, hands, "1-5")
    stream = await eager.follow(run_id)
    await stream.until("snapshot")
    await hands.tell_waits()
    await hands.suspend(tell=False)
    await stream.until("run.waiting")
    await stream.until("snapshot", count=2)
    assert stream.fold.text == "step and more"
