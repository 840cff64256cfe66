"""Events larger than a message, on a NATS server with small ones: whole for every viewer, whatever was cut off (F36)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from holdfast.bus import event_log, names
from holdfast.bus.parts import split
from holdfast.runs import EventId
from holdfast.settings import RunnerSettings
from holdfast.store.migrate import migrate
from holdfast.wire.events import frame_id
from holdfast_agent.load import load
from holdfast_local.servers import NatsServer, PostgresServer
from holdfast_runner.service import Runner
from tests.integration.gateway.conftest import empty_database
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.large_agents import SAID
from tests.integration.gateway.stream import Stream
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import CHAT, World
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_PAYLOAD_BYTES_MAX = 64 * 1024
_AGENTS = Path(__file__).with_name("large_agents.py")
LARGE = "x" * (4 * _PAYLOAD_BYTES_MAX)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One gateway for all of these tests, whose viewers may have less wait for them than one large event."""
    url = await empty_database(postgres)
    await asyncio.to_thread(migrate, url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast_local.servers.nats._PAYLOAD_BYTES_MAX", _PAYLOAD_BYTES_MAX)
        nats = NatsServer(tmp_path_factory.mktemp("small_nats"))
        await nats.start()
    async with World(url, nats.url, reconcile_interval_s=0.3, viewer_queue_bytes_max=64 * 1024) as made:
        yield made
    await nats.stop()


class Cut:
    """One event of an owner, appended part by part; what was not appended never will be."""

    def __init__(self, hands: Hands, frame: bytes) -> None:
        self.parts = list(split(frame, frame_id(frame), event_log.message_bytes_max(hands._client)))
        self._hands, self._id = hands, frame_id(frame)

    async def append(self, count: int = 1) -> None:
        """The next parts."""
        hands = self._hands
        for part in self.parts[:count]:
            hands._seq = await event_log.append_part(
                hands._client,
                hands.lease.run_id,
                part,
                last_id=self._id if part.is_final else EventId(self._id.attempt, self._id.n - 1),
                attempt=self._id.attempt,
                boot=hands.lease.owner.boot,
                expected_seq=hands._seq,
            )
        del self.parts[:count]


async def begun(world: World) -> tuple[str, Hands, Stream]:
    """A run in the middle of a step, with somebody who follows it."""
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "kept ")
    await hands.begin_step("1")
    stream = await world.follow(run["id"])
    await stream.until_id("1-5")
    return run["id"], hands, stream


def large(hands: Hands) -> Cut:
    """The step's text, in at least five parts, none of them appended yet."""
    cut = Cut(hands, hands.make("text.delta", {"position": "1", "text": LARGE}))
    assert len(cut.parts) >= 5
    return cut


async def test_f36_a_large_event_is_one_event_to_whoever_follows(world: World) -> None:
    run_id, hands, early = await begun(world)
    await hands.text("1", "small ", LARGE, " small")
    await early.until_id("1-8")
    midway = await world.follow(run_id, Last_Event_ID="1-6")
    await hands.end_step("1")
    await hands.finish()
    late = await world.follow(run_id)
    for stream in (early, midway, late):
        await stream.until_end()
    assert early.frames == late.frames
    assert midway.frames == late.frames[-4:]
    assert late.fold.text == f"kept small {LARGE} small"


async def test_f36_viewers_come_between_any_two_parts(world: World) -> None:
    run_id, hands, early = await begun(world)
    cut, viewers = large(hands), [early]
    while len(cut.parts) > 1:
        await cut.append()
        viewers.append(await world.follow(run_id))
        await viewers[-1].until_id("1-5")  # and is not kept waiting for what is not there yet
    await cut.append()
    await hands.end_step("1")
    await hands.finish()
    for stream in viewers:
        await stream.until_end()
        assert stream.frames == early.frames
        assert "snapshot" not in stream.types
    assert early.fold.text == f"kept {LARGE}"


async def test_f36_a_death_between_parts_leaves_nothing_that_a_viewer_sees(world: World) -> None:
    run_id, hands, early = await begun(world)
    await large(hands).append(3)
    await reclaim(world.db, hands)
    heir = await world.claim(run_id, pod="runner-2")
    await heir.begin_step("1", tries=2)
    await heir.text("1", LARGE)
    await heir.end_step("1")
    await heir.finish()
    late = await world.follow(run_id)
    for stream in (early, late):
        await stream.until_end()
        assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 6)), *(f"2-{n}" for n in range(1, 6))]
        assert stream.fold.text == f"kept {LARGE}"
    assert early.frames == late.frames


async def test_f36_a_stranger_s_end_follows_unfinished_parts(world: World) -> None:
    run_id, hands, early = await begun(world)
    await large(hands).append(3)
    await reclaim(world.db, hands)
    assert (await world.http.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
    late = await world.follow(run_id)
    for stream in (early, late):
        await stream.until_end()
        assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 6)), "2-1"]
        assert stream.types[-1] == "run.cancelled"
        assert stream.fold.text == "kept "
    assert early.frames == late.frames
    assert (await world.log_end(run_id)).last_id == EventId(2, 1)


async def test_f36_unfinished_parts_at_the_log_s_end_hold_nobody_up(world: World) -> None:
    run_id, hands, early = await begun(world)
    await large(hands).append(3)
    ahead = await world.follow(run_id, Last_Event_ID="1-90")  # of a log that lost its end
    await ahead.until("snapshot")
    assert ahead.ids == ["1-5"]
    hands._next = EventId(1, 6)  # the end's id is the unfinished event's: nobody had acknowledged that one
    await hands.finish(tell=False)
    late = await world.follow(run_id)
    for stream in (early, late, ahead):
        await stream.until_end()
        assert stream.ids[-1] == "1-6"
        assert stream.types[-1] == "run.completed"
        assert stream.fold.text == "kept "


async def test_f36_an_event_whose_first_part_is_gone_is_a_gap(world: World) -> None:
    run_id, hands, early = await begun(world)
    cut = large(hands)
    await cut.append()
    first_seq = hands._seq
    await cut.append(100)
    hands.shown, hands._since_step = f"kept {LARGE}", LARGE
    client = await world.nats()
    await client.jetstream().delete_msg(names.EVENTS_STREAM, first_seq)
    late = await world.follow(run_id)
    await late.until_id("1-5")
    await hands.end_step("1")
    await hands.finish()
    for stream in (early, late):
        await stream.until_end()
        assert stream.fold.text == f"kept {LARGE}"
    assert "snapshot" in late.types
    assert "snapshot" not in early.types


async def test_f36_what_a_gateway_writes_may_be_large_too(world: World) -> None:
    run_id, hands, _ = await begun(world)
    await hands.text("1", LARGE)
    await hands.end_step("1")
    await hands.finish()
    answer = await world.http.post(f"/v1/runs/{run_id}/fork", json={})
    assert answer.status_code == 202, answer.text
    fork_id = answer.json()["id"]

    async def is_told() -> bool:
        return (await world.log_end(fork_id)).last_id is not None

    await wait_until(is_told, description="the fork's log begins with what was copied")
    messages, _ = await event_log._batch(await world.nats(), UUID(fork_id), 0, 5.0)
    assert names.PART_HEADER in messages[0].headers
    fork = await world.follow(fork_id)
    await fork.until("snapshot")
    assert fork.types == ["run.queued", "snapshot"]
    assert fork.fold.text == f"kept {LARGE}"


async def test_f36_a_run_whose_tool_answers_with_a_mib_of_escapes(world: World) -> None:
    settings = RunnerSettings(
        postgres_url=world.postgres_url,
        nats_url=(world.nats_url,),
        POD_NAME="large-1",
        step_bytes_max=4 * 1024 * 1024,
    )
    stop = asyncio.Event()
    runner = Runner(settings, load([str(_AGENTS)]))
    running = asyncio.create_task(runner.run(stop))
    try:

        async def is_ready() -> bool:
            return running.done() or not await runner.not_ready()

        await wait_until(is_ready, description="the runner is ready", timeout_s=20)
        answer = await world.http.post("/v1/runs", json={"agent": "escapes", "input": CHAT})
        assert answer.status_code == 202, answer.text
        run_id = answer.json()["id"]
        early = await world.follow(run_id)
        await early.until_end(timeout_s=30.0)
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=30)
    assert early.types[-1] == "run.completed", early.events[-1].data
    late = await world.follow(run_id)
    await late.until_end(timeout_s=20.0)
    assert early.frames == late.frames
    assert "snapshot" not in late.types
    [completed] = [event for event in late.events if event.type == "step.completed"]
    [echoed] = [event for event in late.events if event.type == "custom"]
    assert completed.data["output"] == SAID
    assert len(echoed.data["data"]) == 100_000
    assert late.events[-1].data["output"] == len(SAID)
