"""Who is declared dead, and how soon: a killed, restarted, departed, silent or unseen pod."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import metrics
from tests.integration.reaper.world import INTERVAL_S, TTL_S, Watched, World, counted, reaping
from tests.support.pods import FakePod
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


def _silent_s(watched: Watched, pod: FakePod) -> float:
    return watched.reaper.senses.now() - watched.beats(pod)[-1].at


async def test_f05_f07_a_killed_pods_run_is_queued_again_and_a_healthy_pods_is_left_alone(world: World) -> None:
    killed, healthy = await world.pod("a"), await world.pod("b")
    lost, kept = await world.running(killed), await world.running(healthy)
    async with reaping(world.settings()) as watched:
        loop = asyncio.get_running_loop()
        await killed.kill()
        began = loop.time()
        await world.until_status(lost, "queued")
        assert loop.time() - began < TTL_S, "the fast path is faster than the TTL"
        await world.until_requested(lost)
        late = await world.running(
            killed
        )  # cut off from the bucket alone it could still claim: the sweep of owners sees it
        await world.until_status(late, "queued")
        await watched.until_beats([healthy])
    run = await world.run(lost)
    assert (run.attempt, run.crashes) == (1, 1)
    assert (await world.run(kept)).run_owner_boot == healthy.boot
    assert await world.sql("SELECT ended_why FROM attempts WHERE run_id = $1", lost) == "owner_lost"
    assert await world.request_of(kept) is None


@pytest.mark.slow
async def test_f07_without_sessions_the_ttl_decides_for_the_silent_and_for_the_never_seen(world: World) -> None:
    pod = await world.pod("a")
    ghost = FakePod("ghost", nats_url="-", postgres_url="-", interval_s=INTERVAL_S, ttl_s=TTL_S)
    run = await world.running(pod)
    async with reaping(world.settings(probe_sessions=False)) as watched:
        await pod.kill()
        began = watched.reaper.senses.now()
        unseen = await world.running(ghost)
        await world.until_status(run, "queued")
        assert _silent_s(watched, pod) >= TTL_S
        await world.until_status(unseen, "queued")
        assert watched.reaper.senses.now() - began >= TTL_S


async def test_f01_f06_a_restart_under_the_same_name_and_a_goodbye_are_noticed_at_once(world: World) -> None:
    before, leaves = await world.pod("only"), await world.pod("leaves")
    run, unreleased = await world.running(before), await world.running(leaves)
    async with reaping(
        world.settings(probe_sessions=False)
    ) as watched:  # neither probes nor the TTL can be what notices
        await before.kill()
        after = await world.pod("only")
        began = watched.reaper.senses.now()
        await world.until_status(run, "queued")
        await leaves.say_goodbye()
        await world.until_status(unreleased, "queued")
        assert watched.reaper.senses.now() - began < 1.0
        kept = await world.running(after)
        await watched.until_beats([after])
        assert await world.status(kept) == "running"


@pytest.mark.slow
async def test_f04_a_pod_that_may_live_is_dead_after_the_ttl_only_and_a_false_death_is_counted(world: World) -> None:
    """A frozen one has both links. One that nobody answers for holds its lock. One that lost its lock may yet answer."""
    async with Proxy.before(world.nats.url) as nats_proxy, Proxy.before(world.postgres_url) as postgres_proxy:
        frozen = await world.pod("frozen")
        mute = await world.pod("mute", nats_url=nats_proxy.url(world.nats.url))
        hung = await world.pod("hung", postgres_url=postgres_proxy.url(world.postgres_url))
        runs = {pod: await world.running(pod) for pod in (frozen, mute, hung)}
        before = counted(metrics.FALSE_DEATHS)
        async with reaping(world.settings()) as watched:

            async def silence_of(pod: FakePod) -> float:
                await world.until_status(runs[pod], "queued")
                return _silent_s(watched, pod)

            frozen.freeze()
            hung.freeze()
            postgres_proxy.cut()
            nats_proxy.cut()
            assert min(await asyncio.gather(*(silence_of(pod) for pod in runs))) >= TTL_S
            frozen.thaw()
            await wait_until(lambda: counted(metrics.FALSE_DEATHS) == before + 1, description="the false death counted")
            again = await world.running(frozen)
            await watched.until_beats([frozen])
            assert await world.status(again) == "running", "it lives again, and keeps what it claims"
