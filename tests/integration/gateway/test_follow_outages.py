"""Streams while NATS or Postgres is away: they stay open, say so by comments only, and go on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from nats.aio.msg import Msg

from holdfast_gateway import polling
from holdfast_gateway.http.guards import REQUEST_TIMEOUT_S
from holdfast_gateway.tail import Tail
from holdfast_local.servers import NatsServer, PostgresServer
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.test_long_poll import Poller
from tests.integration.gateway.world import World
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


async def test_f33_a_quiet_stream_has_comments_between_its_events_and_headers_at_once(
    shared_nats: NatsServer, postgres_url: str
) -> None:
    async with World(postgres_url, shared_nats.url, keepalive_interval_s=0.2) as world:
        run = await world.submit()
        stream = await world.follow(run["id"])
        assert stream.answer.status_code == 200
        await wait_until(lambda: len(stream.comments) >= 4, description="comments")
        assert stream.comments[1][1] == b": keepalive\n\n"
        gaps = [
            after - before for (before, _), (after, _) in zip(stream.comments[1:], stream.comments[2:], strict=False)
        ]
        assert all(0.1 < gap < 0.5 for gap in gaps), gaps
        hands = await world.claim(run["id"])
        await hands.step("0", "a")
        await hands.finish()
        await stream.until_end()


async def test_a_stream_outlives_a_restart_of_nats(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url, keepalive_interval_s=0.2) as world:
        run = await world.submit()
        hands = await world.claim(run["id"])
        stream = await world.follow(run["id"])
        await hands.begin_step("0")
        await hands.text("0", "a")
        await stream.until("text.delta")
        nats.kill()
        seen = len(stream.comments)
        await wait_until(lambda: len(stream.comments) > seen + 2, description="comments while NATS is away")
        came_meanwhile = await world.follow(run["id"])
        await wait_until(lambda: len(came_meanwhile.comments) > 2, description="comments on the new stream too")
        await nats.start()
        await wait_until(lambda: world._link.up, description="the runner's link is back")
        await hands.text("0", "b")
        await hands.end_step("0")
        await hands.finish()
        for each in (stream, came_meanwhile):
            await each.until_end()
            assert each.fold.text == "ab"
            assert each.duplicates == 0


async def test_events_that_came_while_the_gateway_was_cut_off_are_read_at_the_reconnect(
    shared_nats: NatsServer, postgres_url: str
) -> None:
    async with Proxy.before(shared_nats.url) as proxy, World(postgres_url, proxy.url(shared_nats.url)) as world:
        run = await world.submit()
        world.nats_url = shared_nats.url  # the runner's own link is whole
        hands = await world.claim(run["id"])
        stream = await world.follow(run["id"])
        await stream.until("run.started")
        proxy.cut()
        await hands.step("0", "a", "b")
        await hands.finish()
        proxy.restore()
        await stream.until_end()
        assert stream.ids == ["0-1", *(f"1-{n}" for n in range(1, 7))]


async def test_f35_nats_is_away_and_the_run_has_ended_so_the_record_tells_all(
    nats: NatsServer, postgres_url: str
) -> None:
    async with World(postgres_url, nats.url, reconcile_interval_s=0.3) as world:
        run = await world.submit()
        hands = await world.claim(run["id"])
        await hands.step("0", "one ")
        stream = await world.follow(run["id"])
        await stream.until("step.completed")
        nats.kill()
        hands._since_step = "two"
        hands.shown += "two"
        hands._next = type(hands._next)(1, 9)
        await hands.finish(tell=False)
        await stream.until_end()
        assert stream.types[-2:] == ["snapshot", "run.completed"]
        assert stream.fold.text == "one two"
        late = await world.follow(run["id"])
        await late.until_end()
        assert late.types == ["snapshot", "run.completed"]
        assert late.fold.text == "one two"


async def test_a_gap_waits_for_the_record_and_goes_on(world: World, thawed: PostgresServer) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    stream = await world.follow(run["id"])
    kept = await hands.step("0", "one ")
    await stream.until_id(str(kept))
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    await heir.begin_step("1")
    await heir.emit("text.delta", {"position": "1", "text": "tw"})
    await stream.until_id("2-3")
    thawed.pause()
    heir.make("text.delta", {"position": "1", "text": "lost"})  # 2-4 never arrives
    await heir.text("1", "o", "!")  # 2-5 and 2-6; one is held back while the viewer lacks something
    with pytest.raises(AssertionError):
        await wait_until(lambda: "2-5" in stream.ids, description="nothing may pass the gap", timeout_s=1.0)
    thawed.resume()
    await stream.until_id("2-5")
    assert stream.types[-2:] == ["snapshot", "text.delta"]


async def test_f38_restarts_of_nats_and_new_connections_double_no_subscription(
    nats: NatsServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: Counter[int] = Counter()
    hear = Tail._hear

    def count(tail: Tail, message: Msg) -> None:
        heard[int((message.headers or {})["Nats-Sequence"])] += 1
        hear(tail, message)

    monkeypatch.setattr(Tail, "_hear", count)
    async with World(postgres_url, nats.url) as world:
        run = await world.submit()
        hands = await world.claim(run["id"])
        stream = await world.follow(run["id"])
        carrier = world.gateway._parts.carrier
        await stream.until("run.started")
        for way in ("restart", "restart", "close"):
            if way == "restart":
                nats.kill()
                await nats.start()
                await wait_until(lambda: world._link.up, description="the runner's link is back")
            else:
                await carrier.client.close()  # as the client does for good on an error of the server
            await world.until_ready()
            shown = await hands.emit("custom", {"position": None, "name": way, "data": None})
            await stream.until_id(str(shown))
        heard.clear()
        await hands.text(None, "a", "b")
        await hands.finish()
        await stream.until_end()
        assert set(heard.values()) == {1}
        assert len(heard) == 3
        assert stream.duplicates == 0


async def test_f38_a_gateway_that_starts_while_nats_is_away_serves_and_catches_up(
    nats: NatsServer, postgres_url: str
) -> None:
    nats.kill()
    async with World(postgres_url, nats.url, wait_ready=False) as world:
        await wait_until(lambda: _listens(world), description="it listens")
        ready = await world.http.get("/readyz")
        assert ready.status_code == 503
        assert "NATS" in str(ready.json()["reasons"])
        await wait_until(lambda: _finds_the_record(world), description="it has found the record")
        begun = time.monotonic()
        run = await world.submit()  # 202
        assert time.monotonic() - begun < 1.5
        stream = await world.follow(run["id"])
        await nats.start()
        await world.until_ready()
        hands = await world.claim(run["id"])
        await hands.step("0", "a")
        await hands.finish()
        await stream.until_end()
        assert stream.fold.text == "a"


async def test_a_poll_while_nats_is_away_answers_in_time_and_knows_no_end(
    nats: NatsServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REQUEST_TIMEOUT_S > polling._READING_S
    monkeypatch.setattr(polling, "_READING_S", 0.5)
    async with World(postgres_url, nats.url) as world:
        run = await world.submit()
        hands = await world.claim(run["id"])
        await hands.step("0", "a")
        poller = Poller(world, run["id"])
        await poller.poll()
        nats.kill()
        begun = time.monotonic()
        assert await poller.poll() == {"events": [], "next": "1-4", "more": False, "ended": False}
        assert time.monotonic() - begun < 2
        await nats.start()
        await world.until_ready()
        await wait_until(lambda: world._link.up, description="the runner's link is back")
        await hands.finish()
        await poller.to_the_end()
        assert poller.fold.text == "a"


async def _finds_the_record(world: World) -> bool:
    return (await world.http.get("/v1/runs")).status_code == 200


async def _listens(world: World) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
    except OSError:
        return False
    writer.close()
    return (await world.http.get("/healthz")).status_code == 200
