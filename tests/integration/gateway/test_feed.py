"""The feed over HTTP: a snapshot, then every change once and in order, from any cursor and at any gateway; and the pods."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import asyncpg
import httpx2
import pytest
import pytest_asyncio

from holdfast.store.feed import Change
from holdfast.store.migrate import migrate
from holdfast_gateway.feed import frames
from holdfast_local.ports import free_ports
from holdfast_local.servers import NatsServer, PostgresServer
from tests.integration.gateway.conftest import empty_database
from tests.integration.gateway.feeding import WHOLE_LIFE, FeedStream, Said, Tenant
from tests.integration.gateway.world import World
from tests.integration.store.interleaved import uncommitted
from tests.support.pods import FakePod
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_KEEPALIVE_S = 0.3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: PostgresServer, shared_nats: NatsServer) -> AsyncIterator[World]:
    """One gateway for all of these tests; each has a tenant of its own."""
    url = await empty_database(postgres)
    await asyncio.to_thread(migrate, url)
    async with World(url, shared_nats.url, auth="keys", keepalive_interval_s=_KEEPALIVE_S) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(world: World) -> AsyncIterator[Tenant]:
    made = await Tenant.make(world.db)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def pod(world: World) -> AsyncIterator[Callable[..., FakePod]]:
    """Pods that live until the test's end."""
    made: list[FakePod] = []

    def make(name: str) -> FakePod:
        made.append(FakePod(name, nats_url=world.nats_url, postgres_url=world.postgres_url, interval_s=0.3, ttl_s=2))
        return made[-1]

    yield make
    for each in made:
        await each.kill()


async def test_without_a_cursor_comes_a_snapshot_then_every_change_once(world: World, tenant: Tenant) -> None:
    over, waiting = await tenant.submit(), await tenant.submit()
    await tenant.cancel(over)
    await tenant.wait(await tenant.claim(waiting))
    stream = await tenant.feed(world.url)
    await stream.until_said("snapshot")
    assert stream.said[0].type == "snapshot"
    [shown] = stream.said[0].data["runs"]
    assert (shown["id"], shown["status"], shown["attempt"], shown["agent"]) == (str(waiting), "waiting", 1, "echo")
    assert shown["created_at"] < shown["at"]
    assert stream.said[0].data["more"] is False
    run_id = await tenant.whole_life()
    await stream.until_status(run_id, "deleted")
    assert stream.told_of(run_id) == WHOLE_LIFE
    assert stream.runs == {str(waiting): "waiting"}
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["x-accel-buffering"] == "no"


async def test_from_every_cursor_comes_the_exact_rest(world: World, tenant: Tenant) -> None:
    first = await tenant.feed(world.url)
    await first.until_said("snapshot")
    run_id = await tenant.whole_life()
    await first.until_status(run_id, "deleted")
    assert len(set(first.cursors)) == len(WHOLE_LIFE) + 1
    seen = first.of_runs
    again = [await tenant.feed(world.url, cursor, header=n % 2 == 0) for n, cursor in enumerate(first.cursors)]
    last = await tenant.submit()
    for n, stream in enumerate(again):
        await stream.until_status(last, "queued")
        assert stream.of_runs[:-1] == seen[n + 1 :]
    assert len({stream.of_runs[-1] for stream in again}) == 1


async def test_f41_a_cursor_older_than_what_is_kept_is_shown_a_snapshot_in_place_of_what_is_missing(
    world: World, tenant: Tenant
) -> None:
    first = await tenant.feed(world.url)
    await first.until_said("snapshot")
    run_id = await tenant.submit()
    await tenant.claim(run_id)
    await first.until_status(run_id, "running")
    snapshot, queued, running = first.cursors
    await _forget(world, upto=queued)
    old, at_the_mark = await tenant.feed(world.url, snapshot), await tenant.feed(world.url, queued)
    await old.until_said("snapshot")
    assert old.runs == {str(run_id): "running"}
    await at_the_mark.until_status(run_id, "running")
    assert at_the_mark.cursors == [running]
    ahead = await tenant.feed(world.url, "999999999999-1")
    await ahead.until_said("snapshot")
    next_one = await tenant.submit()
    for stream in (old, at_the_mark, ahead, first):
        await stream.until_status(next_one, "queued")
        assert stream.runs == {str(run_id): "running", str(next_one): "queued"}


async def _forget(world: World, *, upto: str) -> None:
    """As the reaper does to old changes."""
    connection = await asyncpg.connect(world.postgres_url)
    xid, change = upto.split("-")
    await connection.execute("DELETE FROM changes WHERE (xid, id) <= ($1::text::xid8, $2)", xid, int(change))
    await connection.execute("UPDATE changes_forgotten SET xid = $1::text::xid8, id = $2", xid, int(change))
    await connection.close()


async def test_what_commits_late_is_not_passed_over(world: World, tenant: Tenant) -> None:
    stream = await tenant.feed(world.url)
    await stream.until_said("snapshot")
    async with uncommitted(world.postgres_url) as slow:
        early = await Tenant(slow.db, tenant.name, "").submit()
        late = await tenant.submit()
        before = len(stream.comments)
        await wait_until(lambda: len(stream.comments) >= before + 2, description="readings in between")
        assert [said.type for said in stream.said if said.id] == ["snapshot"]
    await stream.until_status(late, "queued")
    assert list(stream.runs) == [str(early), str(late)]


async def test_a_tenant_is_told_of_its_own_runs_alone(world: World, tenant: Tenant) -> None:
    other = await Tenant.make(world.db)
    ours, theirs = await tenant.feed(world.url), await other.feed(world.url)
    for stream in (ours, theirs):
        await stream.until_said("snapshot")
    run_id = await tenant.whole_life()
    await ours.until_status(run_id, "deleted")
    their_run = await other.submit()
    await theirs.until_status(their_run, "queued")
    assert theirs.of_runs[1:] == [frame for frame in theirs.of_runs if str(their_run).encode() in frame]
    assert {said.data["run_id"] for said in ours.said if said.type == "run.changed"} == {str(run_id)}
    await other.close()


async def test_an_event_is_encoded_once_for_all_followers(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [await tenant.feed(world.url) for _ in range(12)]
    for stream in streams:
        await stream.until_said("snapshot")
    await wait_until(
        lambda: len(world.gateway._parts.feed._followed[tenant.name].followers) == 12, description="all have joined"
    )
    encoded = 0
    change_frame = frames.change_frame

    def counting(change: Change) -> bytes:
        nonlocal encoded
        encoded += 1
        return change_frame(change)

    monkeypatch.setattr(frames, "change_frame", counting)
    run_id = await tenant.whole_life()
    for stream in streams:
        await stream.until_status(run_id, "deleted")
    assert encoded == len(WHOLE_LIFE)
    assert len({b"".join(stream.of_runs[1:]) for stream in streams}) == 1


async def test_f33_while_the_record_is_away_there_are_comments_and_then_it_goes_on(
    world: World, tenant: Tenant, thawed: PostgresServer
) -> None:
    stream = await tenant.feed(world.url)
    await stream.until_said("snapshot")
    thawed.pause()
    before = len(stream.comments)
    await wait_until(lambda: len(stream.comments) >= before + 3, description="comments")
    thawed.resume()
    run_id = await tenant.whole_life()
    await stream.until_status(run_id, "deleted")
    assert stream.told_of(run_id) == WHOLE_LIFE
    assert stream.ended is None


async def test_pods_are_told_whole_first_and_then_as_they_change(
    world: World, tenant: Tenant, pod: Callable[[str], FakePod]
) -> None:
    name = f"pod-{uuid4().hex[:8]}"
    first = await tenant.feed(world.url)
    await first.until_said("snapshot")
    assert first.pods is not None
    assert name not in first.pods
    born = await pod(name).start()
    await wait_until(lambda: name in (first.pods or {}), description="the pod in the feed")
    second = await tenant.feed(world.url, first.cursors[-1])
    await second.until_said("pods")
    assert second.said[0].type == "pods"
    assert second.cursors == []
    [listed] = [each for each in await _listed(world, tenant) if each["pod"] == name]
    assert second.pods is not None
    for shown in (first.pods[name], second.pods[name]):
        assert {**shown, "last_seen": None} == {**listed, "last_seen": None}
    assert "host" not in listed
    operator = await Tenant.make(world.db, operator=True)
    seen = await operator.feed(world.url)
    await seen.until_said("snapshot")
    assert (seen.pods or {})[name]["host"] == "test"
    born._life = born._life.model_copy(update={"running": 3})
    for stream in (first, second, seen):
        await wait_until(lambda s=stream: (s.pods or {})[name]["running"] == 3, description="its running")  # type: ignore[misc]
    told = [said for said in first.said if said.type == "pod.changed" and said.data["pod"] == name]
    assert [said.data["running"] for said in told] == [0, 3], "a heartbeat that says nothing new is not told"
    await born.say_goodbye()
    for stream in (first, second, seen):
        await wait_until(lambda s=stream: name not in (s.pods or {}), description="it is gone")  # type: ignore[misc]
    assert Said(None, "pod.gone", {"pod": name, "boot": str(born.boot)}) in second.said
    assert all(said.id is None for said in second.said)
    await operator.close()


async def _listed(world: World, tenant: Tenant) -> list[dict[str, object]]:
    answer = await world.http.get("/v1/pods", headers={"Authorization": f"Bearer {tenant.key}"})
    return list(answer.json()["items"])


async def test_without_nats_the_feed_tells_of_runs_and_says_that_pods_are_not_known(world: World) -> None:
    nowhere = f"nats://127.0.0.1:{free_ports(1)[0]}"
    async with World(world.postgres_url, nowhere, auth="keys", wait_ready=False) as blind:
        await wait_until(lambda: blind.gateway._parts.record._problem is None, description="its record")
        tenant = await Tenant.make(world.db)
        stream = await tenant.feed(blind.url)
        await stream.until_said("snapshot")
        assert stream.said[0].data["pods"] is None
        run_id = await tenant.whole_life()
        await stream.until_status(run_id, "deleted")
        assert stream.told_of(run_id) == WHOLE_LIFE
        await tenant.close()


async def test_a_gateway_that_drains_cuts_the_feed_and_another_goes_on_from_the_cursor(
    world: World, tenant: Tenant
) -> None:
    async with World(world.postgres_url, world.nats_url, auth="keys", streams_per_key_max=1) as leaving:
        stream = await tenant.feed(leaving.url)
        await stream.until_said("snapshot")
        refused = await leaving.http.get("/v1/feed", headers={"Authorization": f"Bearer {tenant.key}"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        run_id = await tenant.submit()
        await stream.until_status(run_id, "queued")
        leaving.begin_stop()
        await stream.until_end("cut")
    await _goes_on(world, tenant, stream)


async def test_a_gateway_that_is_killed_loses_nothing_of_the_feed(world: World, tenant: Tenant) -> None:
    port = free_ports(1)[0]
    env = {
        "HOLDFAST_POSTGRES_URL": world.postgres_url, "HOLDFAST_NATS_URL": world.nats_url, "HOLDFAST_PORT": str(port),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast_gateway", env={**os.environ, **env}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await wait_until(lambda: _serves(url, world, tenant), description="it serves", timeout_s=30.0)
        stream = await tenant.feed(url)
        await stream.until_said("snapshot")
        run_id = await tenant.submit()
        await stream.until_status(run_id, "queued")
        process.send_signal(signal.SIGKILL)
        await stream.until_end("cut")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await _goes_on(world, tenant, stream)


async def _serves(url: str, world: World, tenant: Tenant) -> bool:
    try:
        answer = await world.http.get(f"{url}/v1/runs", headers={"Authorization": f"Bearer {tenant.key}"})
    except httpx2.TransportError:
        return False
    return answer.status_code == 200


async def _goes_on(world: World, tenant: Tenant, before: FeedStream) -> None:
    """At another gateway comes exactly what happened meanwhile."""
    run_id = await tenant.whole_life()
    after = await tenant.feed(world.url, before.cursors[-1])
    await after.until_status(run_id, "deleted")
    assert after.told_of(run_id) == WHOLE_LIFE
    assert len(after.cursors) == len(WHOLE_LIFE)


@pytest.mark.parametrize("cursor", ["1", "x-1", "1-1-1", "1:1-1"])
async def test_what_is_no_cursor_is_refused(world: World, tenant: Tenant, cursor: str) -> None:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    refused = await world.http.get("/v1/feed", params={"after": cursor}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")


async def test_nobody_follows_without_a_key_and_nothing_is_read_for_nobody(world: World, tenant: Tenant) -> None:
    assert (await world.http.get("/v1/feed")).status_code == 401
    stream = await tenant.feed(world.url)
    await stream.until_said("snapshot")
    feed = world.gateway._parts.feed
    await wait_until(lambda: tenant.name in feed._followed, description="it has joined")
    await stream.close()
    await wait_until(lambda: not feed.count and not feed._followed, description="it has left")
    assert not feed._somebody.is_set()
    assert not feed._somebody_joined.is_set()
