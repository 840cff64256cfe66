"""What must not look like death: outages of NATS, cut links of pods, cut links and pauses of the reaper itself."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast import metrics
from holdfast.bus import names
from tests.integration.reaper.process import ReaperProcess
from tests.integration.reaper.world import TTL_S, Watched, World, counted, reaping
from tests.support.pods import FakePod
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow  # whole processes in every test


async def _assert_none_robbed(world: World, pods: Sequence[FakePod]) -> None:
    assert [pod.replaced_by for pod in pods] == [None] * len(pods)
    owners = [pod.boot for pod in pods]
    crashed = "SELECT count(*) FROM attempts WHERE boot = ANY ($1::uuid[]) AND ended_at IS NOT NULL"
    assert await world.sql(crashed, owners) == 0, "runs were taken from pods that live"


@pytest.mark.slow
@pytest.mark.parametrize("emptied", [False, True], ids=["restarted", "restarted_and_emptied"])
async def test_f09_f12_nats_restarts_and_nobody_alive_is_robbed_and_deaths_are_seen_after_it(
    world: World, emptied: bool
) -> None:
    pods = [await world.pod(name) for name in "abc"]
    for pod in pods:
        await world.running(pod)
    died = await world.pod("d")
    lost = await world.running(died)
    async with reaping(world.settings()) as watched:
        world.nats.kill()
        if emptied:
            shutil.rmtree(world.nats.data_dir / "jetstream")
        await died.kill()
        await world.nats.start()
        await world.until_status(lost, "queued")
        await world.until_requested(lost)
        await watched.until_beats(pods)
        await _assert_none_robbed(world, pods)


async def test_f12_f24_nats_away_for_longer_than_the_ttl_expires_keys_but_no_owner(world: World) -> None:
    pods = [await world.pod(name) for name in "abc"]
    for pod in pods:
        await world.running(pod)
    async with reaping(world.settings()) as watched:
        world.nats.kill()
        await asyncio.sleep(TTL_S + 0.5)  # the outage
        assert any("NATS" in problem for problem in await watched.reaper.not_ready())
        await world.nats.start()
        await watched.until_ready()
        await watched.until_beats(pods)
        await _assert_none_robbed(world, pods)


async def test_f09_a_watch_that_fell_silent_is_made_anew(world: World) -> None:
    pod = await world.pod("a")
    run = await world.running(pod)
    async with reaping(world.settings()) as watched:
        await watched.reaper._watch._subscription.unsubscribe()  # the connection stays, and nobody says a word
        await watched.until_beats([pod])
        await watched.until_ready()
        assert await world.status(run) == "running"


async def test_f38_a_reaper_whose_connection_flaps_has_one_watch(world: World) -> None:
    """Its old consumers outlive the connection on the server, and the library subscribes to them again."""
    pod = await world.pod("a")
    async with (
        Proxy.before(world.nats.url) as proxy,
        reaping(world.settings(nats_url=(proxy.url(world.nats.url),)), ready=False) as watched,
    ):
        for _ in range(3):
            await watched.until_beats([pod], more=1)
            proxy.reset()
        await watched.until_beats([pod], more=2)
        settled = len(watched.beats(pod))
        await watched.until_beats([pod], more=4)
        revisions = [beat.revision for beat in watched.beats(pod)[settled:]]
        assert len(set(revisions)) == len(revisions)


async def test_f23_any_single_link_of_a_pod_cut_for_less_than_the_ttl_reclaims_nothing(world: World) -> None:
    deaths = counted(metrics.DEATHS)

    async def cut(proxy: Proxy, way: str, length_s: float) -> None:
        proxy.cut() if way == "reset" else proxy.stall()
        await asyncio.sleep(length_s)  # the cut
        proxy.restore() if way == "reset" else proxy.resume()

    async with AsyncExitStack() as stack:
        pods: list[FakePod] = []
        cuts = []
        for n, (link, way, length_s) in enumerate(
            itertools.product(("nats", "postgres"), ("reset", "stalled"), (0.3, 0.6, 1.0))
        ):
            url = world.nats.url if link == "nats" else world.postgres_url
            proxy = await stack.enter_async_context(Proxy.before(url))
            nats_url = proxy.url(url) if link == "nats" else None
            postgres_url = proxy.url(url) if link == "postgres" else None
            pods.append(await world.pod(f"pod-{n}", nats_url=nats_url, postgres_url=postgres_url))
            await world.running(pods[-1])
            cuts.append((proxy, way, length_s))
        watched = await stack.enter_async_context(reaping(world.settings()))
        await asyncio.gather(*(cut(*each) for each in cuts))
        await watched.until_beats(pods)
        await _assert_none_robbed(world, pods)
    assert counted(metrics.DEATHS) == deaths


@pytest.mark.slow
async def test_f12_reapers_that_are_cut_off_declare_nobody_dead_until_they_see_again(world: World) -> None:
    """One loses NATS, the other Postgres."""
    pod = await world.pod("a")
    run = await world.running(pod)
    async with (
        Proxy.before(world.nats.url) as nats_proxy,
        Proxy.before(world.postgres_url) as postgres_proxy,
        reaping(world.settings(nats_url=(nats_proxy.url(world.nats.url),)), ready=False) as without_nats,
        reaping(world.settings(postgres_url=postgres_proxy.url(world.postgres_url))) as without_postgres,
    ):
        await without_nats.until_ready()
        for proxy, watched in ((nats_proxy, without_nats), (postgres_proxy, without_postgres)):
            proxy.cut()

            async def shown(watched: Watched = watched) -> bool:
                return any("link lost" in problem for problem in await watched.reaper.not_ready())

            await wait_until(shown, description="readiness to show the lost link")
        await asyncio.sleep(TTL_S)  # the cut
        nats_proxy.restore()
        postgres_proxy.restore()
        deaths = counted(metrics.DEATHS)
        for watched in (without_nats, without_postgres):
            await watched.until_ready()
            await watched.until_beats([pod])
        assert await world.status(run) == "running"
        await pod.kill()
        await wait_until(lambda: counted(metrics.DEATHS) == deaths + 2, description="both to notice a death again")
        await world.until_status(run, "queued")


@pytest.fixture
async def processes(world: World, tmp_path: Path) -> AsyncIterator[list[ReaperProcess]]:
    """Two reapers as processes, just started."""
    made = [ReaperProcess(world.settings(), tmp_path / f"reaper-{n}.log") for n in range(2)]
    for process in made:
        await process.start()
    yield made
    for process in made:
        await process.kill()


@pytest.mark.slow
async def test_f12_a_reaper_process_that_was_frozen_wakes_up_and_robs_nobody(
    world: World, processes: list[ReaperProcess]
) -> None:
    frozen, other = processes
    lives, first = await world.pod("lives"), await world.pod("first")
    kept, run = await world.running(lives), await world.running(first)
    await wait_until(lambda: frozen.has_logged("reaper.watching"), description="the reaper to watch")
    await first.kill()
    await wait_until(lambda: frozen.has_logged("pod.dead", str(first.boot)), description="the reaper to see a death")
    await world.until_status(run, "queued")
    await other.kill()  # -9: a reaper holds nothing that another needs
    dies = await world.pod("second")
    lost = await world.running(dies)
    frozen.send(signal.SIGSTOP)
    await asyncio.sleep(TTL_S + 0.5)  # it is frozen, and its own key expires
    frozen.send(signal.SIGCONT)
    await dies.kill()
    await world.until_status(lost, "queued")
    assert await world.status(kept) == "running"
    assert not frozen.has_logged(str(lives.boot)), "it has not even suspected the living"


async def test_f08_a_bucket_that_cannot_be_made_is_shown_by_readiness_and_tried_again(world: World) -> None:
    context = (await world.client()).jetstream()
    await context.delete_stream(names.BUCKET_STREAM)
    await context.add_stream(name="somebody_elses", subjects=[names.heartbeat_key(">")])
    async with reaping(world.settings(), ready=False) as watched:

        async def shown() -> bool:
            return any("cannot watch the heartbeat bucket" in each for each in await watched.reaper.not_ready())

        await wait_until(shown, description="readiness to show that the bucket cannot be made")
        await context.delete_stream("somebody_elses")
        await watched.until_ready()
