"""A run's events by long poll: the same events as the stream's, in as many answers as it takes, and the same end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.runs import EventId, Fold
from holdfast.wire.events import frame_id
from holdfast_gateway import polling
from holdfast_gateway.polling import ANSWER_BYTES_MAX
from holdfast_local.servers import NatsServer
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.test_follow_gaps import _forget
from tests.integration.gateway.world import World
from tests.support.wait import wait_until

JSON = {"Accept": "application/json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def world(module_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """The module's gateway; nobody follows anything at a test's end."""
    monkeypatch.setattr(polling, "_KEPT_S", 0.3)
    yield module_world
    await module_world.close_streams()
    await wait_until(lambda: module_world.gateway.followed == 0, description="polls leave no tail behind")


class Poller:
    """A client of long polls: it keeps the cursor that it was told, and folds."""

    def __init__(self, world: World, run_id: str) -> None:
        self.world, self.run_id = world, run_id
        self.fold = Fold()
        self.events: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.ticket: str | None = None
        self.ended = False
        self.answers = 0

    async def ask(self, wait_s: float = 0) -> httpx2.Response:
        given = {"after": self.cursor, "ticket": self.ticket}
        params: dict[str, Any] = {"wait_s": wait_s, **{name: value for name, value in given.items() if value}}
        return await self.world.http.get(
            f"/v1/runs/{self.run_id}/events", params=params, headers=JSON, timeout=wait_s + 10
        )

    async def poll(self, wait_s: float = 0) -> dict[str, Any]:
        answer = await self.ask(wait_s)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        body: dict[str, Any] = answer.json()
        assert body.keys() == {"events", "next", "more", "ended", "ticket"}
        self.answers += 1
        self.ticket = body.pop("ticket")
        assert self.ticket is None or not body["ended"]
        for event in body["events"]:
            assert self.fold.apply(EventId.parse(event["id"]), event["type"], event["data"])
        self.events += body["events"]
        self.cursor, self.ended = body["next"], body["ended"]
        return body

    async def to_the_end(self, wait_s: float = 5) -> None:
        async with asyncio.timeout(20):
            while not self.ended:
                await self.poll(wait_s)

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


async def test_what_is_there_comes_at_once_and_what_is_not_when_it_comes(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.begin_step("0")
    await hands.text("0", 'a"\n', "b")
    poller = Poller(world, run["id"])
    begun = time.monotonic()
    first = await poller.poll(30)
    assert time.monotonic() - begun < 2
    assert (first["next"], first["more"], first["ended"]) == ("1-4", False, False)
    assert poller.ids == ["0-1", "1-1", "1-2", "1-3", "1-4"]
    begun = time.monotonic()
    assert await poller.poll(0.5) == {"events": [], "next": "1-4", "more": False, "ended": False}
    assert 0.5 <= time.monotonic() - begun < 2
    assert (await poller.poll())["events"] == []
    waiting = asyncio.create_task(poller.poll(30))
    await wait_until(lambda: world.gateway.followed == 1, description="it waits")
    begun = time.monotonic()
    await hands.text("0", "c")
    assert [event["id"] for event in (await waiting)["events"]] == ["1-5"]
    assert time.monotonic() - begun < 2
    following = asyncio.create_task(poller.to_the_end(30))
    await hands.end_step("0")
    await hands.finish()
    await following
    stream = await world.follow(run["id"])
    await stream.until_end()
    assert poller.ids == stream.ids
    assert [event["data"] for event in poller.events] == [event.data for event in stream.events]
    assert poller.fold.text == stream.fold.text == 'a"\nbc'
    # at the end, and asked again: nothing more, and over
    assert await poller.poll(30) == {"events": [], "next": "1-7", "more": False, "ended": True}


async def test_a_poll_goes_on_where_the_one_before_stopped_and_does_not_read_the_log_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[polling._PollingViewer] = []
    begin = polling._PollingViewer.__init__

    def note(viewer: polling._PollingViewer, *args: Any, **options: Any) -> None:
        made.append(viewer)
        begin(viewer, *args, **options)

    monkeypatch.setattr(polling._PollingViewer, "__init__", note)
    monkeypatch.setattr(polling, "_KEPT_S", 10.0)
    run = await world.submit()
    hands = await world.claim(run["id"])
    first, other = Poller(world, run["id"]), Poller(world, run["id"])
    await hands.begin_step("0")
    for word in "abcde":
        await hands.text("0", word)
        await first.poll(5)
    assert len(made) == 1
    monkeypatch.setattr(polling, "_KEPT_S", 0.05)
    # an answer that got lost is asked for again, a ticket is for the place that it was given at, and none may be taken by another
    for cursor, ticket in (("1-4", first.ticket), ("1-4", "nobodys"), (first.cursor, None)):
        other.cursor, other.ticket = cursor, ticket
        again = (await other.ask()).json()
        assert [event["id"] for event in again["events"]] == first.ids[first.ids.index(str(cursor)) + 1 :]
    assert len(made) == 4
    await first.poll()
    await wait_until(lambda: world.gateway.followed == 0, description="nobody has gone on in time")
    await hands.text("0", "f")
    await first.poll(5)
    assert len(made) == 5
    assert first.fold.text == "abcdef"


async def test_a_poll_before_the_first_event_has_no_cursor_to_give(world: World) -> None:
    run = await world.submit()
    client = await world.nats()
    await client.jetstream().purge_stream("RUN_EVENTS", subject=f"runs.events.{run['id']}")
    assert await Poller(world, run["id"]).poll() == {"events": [], "next": None, "more": False, "ended": False}


async def test_much_comes_in_bounded_answers_that_say_that_there_is_more(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    for n in range(12):
        await hands.emit("custom", {"position": None, "name": str(n), "data": "x" * 300_000})
    await hands.finish()
    poller = Poller(world, run["id"])
    while not poller.ended:
        body = await poller.poll(5)
        assert body["events"]
        assert len(json.dumps(body)) < ANSWER_BYTES_MAX + 10_000
        assert body["more"] is not body["ended"]
    assert poller.ids == ["0-1", *(f"1-{n}" for n in range(1, 15))]
    assert poller.answers >= 4


async def test_what_has_come_is_not_held_back_by_a_log_that_does_not_answer_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    for n in range(4):
        await hands.emit("custom", {"position": None, "name": str(n), "data": "x" * 40_000})
    read = event_log.Reading.to_the_end

    async def stalls(reading: event_log.Reading, client: Client) -> AsyncIterator[event_log.Entry]:
        async for entry in read(reading, client):
            if frame_id(entry.payload) == EventId(1, 5):
                await asyncio.Event().wait()
            yield entry

    poller = Poller(world, run["id"])
    with monkeypatch.context() as patched:
        patched.setattr(event_log.Reading, "to_the_end", stalls)
        patched.setattr(polling, "_READING_S", 0.3)
        begun = time.monotonic()
        assert (await poller.poll(30))["next"] in {"1-3", "1-4"}
        assert time.monotonic() - begun < 2
    poller.ticket = None
    await hands.finish()
    await poller.to_the_end()
    assert poller.ids == ["0-1", *(f"1-{n}" for n in range(1, 7))]


async def test_f32_the_same_folding_rule_holds_over_a_takeover_and_a_torn_log(world: World) -> None:
    run = await world.submit()
    poller = Poller(world, run["id"])
    hands = await world.claim(run["id"])
    await hands.step("0", "kept ")
    await hands.begin_step("1")
    await hands.text("1", "lost")
    await poller.poll(5)
    assert poller.fold.text == "kept lost"
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    await heir.step("1", "again")
    await poller.poll(5)
    assert poller.fold.text == "kept again"
    await heir.begin_step("2")
    await heir.text("2", " a", "b", "c")
    await _forget(world, hands, str(EventId(2, 7)))
    torn = Poller(world, run["id"])
    await torn.poll(1)
    await torn.poll(1)
    await heir.end_step("2")
    await heir.finish()
    for each in (poller, torn):
        await each.to_the_end()
        assert each.fold.text == "kept again abc"


async def test_a_question_that_a_torn_log_holds_back_is_shown_also_to_who_does_not_wait(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.text(None, "a", "b", "c")
    await hands.open("0", "ask", question={"text": "?"}, schema={})
    await _forget(world, hands, "1-3")
    poller = Poller(world, run["id"])
    await poller.poll()
    assert [event["type"] for event in poller.events][-1] == "snapshot"
    await hands.suspend()

    async def asked() -> bool:
        await poller.poll()
        return "run.waiting" in [event["type"] for event in poller.events]

    await wait_until(asked, description="the question is shown")
    assert poller.fold.text == "abc"


async def test_a_drain_is_no_end_and_neither_is_a_deleted_run(shared_nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, shared_nats.url) as world:
        run = await world.submit(thread="t")
        gone = Poller(world, run["id"])
        await gone.poll()
        waiting = asyncio.create_task(gone.ask(30))
        await wait_until(lambda: not world.gateway._parts.polls._kept, description="it waits")
        (tail,) = world.gateway._parts.tails._tails.values()
        tail.vanish()  # what the reconciling finds in a while
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
        await Poller(world, run["id"]).poll()  # what is kept for a next poll does not hold up a stop
        waiting = asyncio.create_task(gone.ask(30))
        await wait_until(lambda: len(tail_of(world)) == 2, description="one waits, one is kept")
        begun = time.monotonic()
        world.begin_stop()
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert answer.headers["retry-after"] == "1"
        await world.stop()
        assert time.monotonic() - begun < 2
        assert world.gateway.followed == 0


def tail_of(world: World) -> set[Any]:
    """Who follows the one run that is followed."""
    return {follower for tail in world.gateway._parts.tails._tails.values() for follower in tail.followers}


async def test_what_is_asked_for_decides(world: World) -> None:
    run = await world.submit(thread="t")
    path = f"/v1/runs/{run['id']}/events"
    for accept in ("text/event-stream", "application/json, text/event-stream", "*/*"):
        stream = await world.follow(f"{path}?wait_s=1", Accept=accept)
        assert stream.answer.headers["content-type"].startswith("text/event-stream"), accept
        await stream.close()
    for accept in ("Application/JSON; q=0.9", "text/html, application/json"):
        answer = await world.http.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json", accept
    for bad in ("-1", "60.5", "x"):
        assert (await world.http.get(path, params={"wait_s": bad}, headers=JSON)).status_code == 422
    for bad in ("x", "1-x", "1-999"):
        answer = await world.http.get(path, params={"after": bad}, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
    thread = await world.http.get("/v1/threads/t/events", headers=JSON)
    assert (thread.status_code, thread.json()["code"]) == (422, "not_supported")
    assert "text/event-stream" in thread.json()["detail"]
