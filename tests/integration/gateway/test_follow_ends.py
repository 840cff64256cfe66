"""How a run ends for those who follow it when the log does not say so: the record does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from holdfast.runs import EventId, Outcome
from holdfast.store import stranger
from holdfast.wire.events import frame
from holdfast_local.servers import NatsServer
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import World


@pytest.fixture
async def eager(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway that reconciles often."""
    async with World(postgres_url, shared_nats.url, reconcile_interval_s=0.2) as made:
        yield made


async def test_f34_a_terminal_event_that_never_came_is_made_from_the_record_for_those_who_wait(eager: World) -> None:
    run = await eager.submit()
    hands = await eager.claim(run["id"])
    stream = await eager.follow(run["id"])
    await hands.step("0", "hi")
    await hands.finish(tell=False)
    await stream.until_end()
    assert stream.ids[-1] == "1-5"
    assert stream.types[-1] == "run.completed"
    assert stream.events[-1].data == {"output": {"text": "hi"}}
    assert stream.frames[-1] == frame(EventId(1, 5), "run.completed", {"output": {"text": "hi"}})


async def test_f34_who_comes_after_the_end_does_not_wait_for_the_next_reconciling(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "hi")
    await hands.finish(tell=False)
    async with asyncio.timeout(2.0):  # the next reconciling would be in 30 s
        stream = await world.follow(run["id"], Last_Event_ID="1-3")
        await stream.until_end()
    assert stream.ids == ["1-4", "1-5"]


async def test_f16_f35_a_run_that_ended_without_a_log_shows_its_end(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.finish(Outcome.FAILED, tell=False, error="agent_error")
    client = await world.nats()
    await client.jetstream().purge_stream("RUN_EVENTS", subject=f"runs.events.{run['id']}")
    stream = await world.follow(run["id"])
    await stream.until_end()
    assert stream.types[-1] == "run.failed"
    assert stream.events[-1].data == {"error": {"code": "agent_error", "message": "it went wrong"}}


async def test_f35_a_log_that_is_gone_is_replaced_by_the_record(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "one ")
    await hands.step("1", "two")
    await hands.text(None, " end")
    await hands.finish()
    client = await world.nats()
    await client.jetstream().purge_stream("RUN_EVENTS", subject=f"runs.events.{run['id']}")
    stream = await world.follow(run["id"])
    await stream.until_end()
    assert stream.types == ["snapshot", "run.completed"]
    assert stream.fold.text == "one two end"
    picture = stream.events[0].data
    assert picture["run"] == {"id": run["id"], "status": "completed", "attempt": 1, "run_owner_pod": None}
    assert [step["position"] for step in picture["steps"]] == ["0", "1"]
    assert picture["steps"][0] == {
        "position": "0",
        "call_id": None,
        "input": None,
        "kind": "model",
        "name": "chat",
        "status": "completed",
        "output": {"at": "0"},
        "error": None,
        "text": "one ",
        "last_event_id": "1-4",
    }


async def test_f37_a_failure_in_the_middle_is_shown_as_a_failure(world: World) -> None:
    run = await world.submit()
    stream = await world.follow(run["id"])
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    await hands.text("0", "half")
    await hands.finish(Outcome.FAILED, error="model_unavailable")
    await stream.until_end()
    assert stream.types[-1] == "run.failed"
    assert stream.fold.text == "half"
    assert (await world.http.get(f"/v1/runs/{run['id']}")).json()["status"] == "failed"


async def test_f54_a_queued_run_that_is_cancelled_ends_for_those_who_follow(world: World) -> None:
    run = await world.submit()
    stream = await world.follow(run["id"])
    await stream.until("run.queued")
    answer = await world.http.post(f"/v1/runs/{run['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"
    await stream.until_end()
    assert stream.ids == ["0-1", "1-1"]
    assert stream.events[-1].data == {"keep_through": None}


async def test_an_end_by_somebody_else_says_what_to_keep(eager: World) -> None:
    run = await eager.submit()
    stream = await eager.follow(run["id"])
    hands = await eager.claim(run["id"])
    kept = await hands.step("0", "kept")
    await hands.begin_step("1")
    await hands.text("1", " lost")
    await stream.until("text.delta", count=2)
    assert await stranger.cancel(eager.db, "default", UUID(run["id"]))
    await reclaim(eager.db, hands)  # its owner died meanwhile, and the reaper before it told of the end
    await stream.until_end()
    assert stream.ids[-1] == "2-1"
    assert stream.events[-1].type == "run.cancelled"
    assert stream.events[-1].data == {"keep_through": str(kept)}
    assert stream.fold.text == "kept"


@pytest.mark.parametrize("first_of_all", [True, False])
async def test_an_end_by_somebody_else_keeps_what_finished_while_the_log_was_away(
    eager: World, first_of_all: bool
) -> None:
    """Such a step has no event id, so no ``keep_through`` can name it; it is in the record, and so it is to be shown."""
    run = await eager.submit()
    stream = await eager.follow(run["id"])
    hands = await eager.claim(run["id"])
    if not first_of_all:
        await hands.step("0", "told ")
    await hands.begin_step("1")
    hands._since_step = "untold"  # neither the text nor the step's end could be appended
    hands.make("step.completed", {})
    await hands.checkpoint("1", None)
    assert await stranger.cancel(eager.db, "default", UUID(run["id"]))
    await reclaim(eager.db, hands)
    await stream.until_end()
    assert stream.types[-2:] == ["snapshot", "run.cancelled"]
    late = await eager.follow(run["id"])
    again = await eager.follow(run["id"], Last_Event_ID=str(stream.events[-2].id))
    for each in (late, again):
        await each.until_end()
    messages = (await eager.http.get(f"/v1/threads/{run['thread_id']}/messages")).json()["items"]
    recorded = "".join(part["text"] for part in messages[-1]["parts"])
    assert recorded == ("untold" if first_of_all else "told untold")
    for each in (stream, late, again):
        assert each.fold.text == recorded
        assert each.types[-1] == "run.cancelled"
        assert each.duplicates == 0


async def test_an_interruption_ends_a_stream_only_while_it_lasts(eager: World) -> None:
    run = await eager.submit()
    run_id = UUID(run["id"])
    stream = await eager.follow(run["id"])
    hands = await eager.claim(run["id"])
    await hands.step("0", "kept")
    await eager.db.run(
        lambda connection: connection.execute("UPDATE runs SET on_owner_lost = 'interrupt' WHERE id = $1", run_id)
    )
    await reclaim(eager.db, hands)
    await stream.until_end()
    assert stream.types[-1] == "run.interrupted"
    # it is resumed: the event is in the log now, and not the last one
    interrupted = frame(EventId(2, 1), "run.interrupted", {"reason": "owner_lost", "keep_through": "1-4"})
    await hands.append(interrupted)
    late = await eager.follow(run["id"])
    await late.until_end()
    assert late.types[-1] == "run.interrupted"
    await eager.db.run(
        lambda connection: connection.execute(
            "UPDATE runs SET status = 'queued', terminal_event_id = NULL WHERE id = $1", run_id
        )
    )
    again = await eager.follow(run["id"])
    await again.until("run.interrupted")
    heir = await eager.claim(run["id"], pod="runner-2")
    await heir.finish()
    await again.until_end()
    assert again.ids[-3:] == ["2-1", "3-1", "3-2"]


async def test_f55_what_a_late_owner_says_does_not_change_the_end(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.finish()
    answer = await world.http.post(f"/v1/runs/{run['id']}/cancel")
    assert answer.status_code == 409
    assert answer.json()["code"] == "run_ended"
    stream = await world.follow(run["id"])
    await stream.until_end()
    assert stream.types[-1] == "run.completed"
    assert (await world.http.get(f"/v1/runs/{run['id']}")).json()["status"] == "completed"
