"""What follows from a death: what each run becomes, who is told, and that many reapers do it once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from holdfast import metrics
from holdfast.errors import LostOwnership
from holdfast.runs import Lease
from holdfast.store import owner, stranger
from holdfast_reaper.act import Reclaimer
from tests.integration.reaper.world import World, counted, reaping
from tests.support.pods import FakePod
from tests.support.wait import wait_until

NO_SWEEPS_S = 3600.0
"""A sweep interval that leaves only what a death itself brings about."""


async def _finish_a_step(world: World, pod: FakePod, run: UUID) -> None:
    """The owner has started, and finished a step, whose event is 1-2; 1-3 came after it."""
    lease = Lease(run, pod.owner, 1)
    for event_id, event_type in (("1-1", "run.started"), ("1-2", "step.completed"), ("1-3", "text.delta")):
        await world.write_event(run, event_id, event_type, boot=pod.boot)
    await owner.intend(world.db, lease, position="0", kind="model", name="chat", input_hash=b"h", tries=1)
    await owner.checkpoint(world.db, lease, position="0", output={}, shown_text="hi", last_event_id="1-2")


async def test_f10_three_reapers_race_and_each_run_is_reclaimed_once(world: World) -> None:
    pod = await world.pod("a")
    runs = [await world.running(pod) for _ in range(25)]
    before, deaths = counted(metrics.RUNS_RECLAIMED), counted(metrics.DEATHS)
    async with AsyncExitStack() as stack:
        settings = world.settings(sweep_batch_size=10)
        watched = await asyncio.gather(*(stack.enter_async_context(reaping(settings, ready=False)) for _ in range(3)))
        await asyncio.gather(*(each.until_ready() for each in watched))
        await pod.kill()
        await world.until_requested(*runs)
        await wait_until(lambda: counted(metrics.DEATHS) == deaths + 3, description="all three to have seen it")
    assert counted(metrics.RUNS_RECLAIMED) == before + len(runs)
    assert await world.sql("SELECT count(*) FROM runs WHERE status = 'queued' AND crashes = 1 AND attempt = 1") == 25


async def test_f02_a_cancel_of_a_dead_owners_run_ends_it(world: World) -> None:
    pod = await world.pod("a")
    run = await world.running(pod)
    await _finish_a_step(world, pod, run)
    following = await world.submit(thread=(await world.run(run)).thread_id)
    async with reaping(world.settings(sweep_interval_s=NO_SWEEPS_S)):
        await pod.kill()
        cancelled = await stranger.cancel(world.db, "default", run)
        assert cancelled is not None
        assert cancelled.status == "running", "its owner would have to end it"
        await world.until_status(run, "cancelled")
        told = await world.until_told(run, "run.cancelled")
        await world.until_requested(following)
    assert (str(told.id), told.data) == ("2-1", {"keep_through": "1-2"})
    assert (await world.run(run)).terminal_event_id == "2-1"


async def test_runs_that_fail_or_are_interrupted_are_told_and_free_their_thread(
    world: World, reclaimer: Reclaimer
) -> None:
    pod = await world.pod("a")
    fails, interrupted, crashed = [await world.running(pod, max_crashes=n) for n in (5, 5, 1)]
    for run in (fails, interrupted, crashed):
        await _finish_a_step(world, pod, run)
    await world.sql("UPDATE runs SET on_owner_lost = 'fail' WHERE id = $1", fails)
    await world.sql("UPDATE runs SET on_owner_lost = 'interrupt' WHERE id = $1", interrupted)
    following = await world.submit(thread=(await world.run(fails)).thread_id)
    assert await reclaimer.reclaim(pod.owner, lambda: True)
    failed = await world.until_told(fails, "run.failed")
    looped = await world.until_told(crashed, "run.failed")
    asked = await world.until_told(interrupted, "run.interrupted")
    assert await world.request_of(following) is not None
    assert failed.data["error"]["code"] == "owner_lost"
    assert looped.data["error"]["code"] == "crash_loop"
    assert (asked.data["reason"], asked.data["error"]["code"], asked.data["keep_through"]) == (
        "owner_lost",
        "owner_lost",
        "1-2",
    )
    assert {str(event.id) for event in (failed, looped, asked)} == {"2-1"}
    assert {event.data["keep_through"] for event in (failed, looped, asked)} == {"1-2"}


@pytest.mark.slow
async def test_f15_a_run_that_loses_pod_after_pod_is_given_up_but_waiting_in_between_is_progress(world: World) -> None:
    run = await world.submit(max_crashes=2)
    async with reaping(world.settings(sweep_interval_s=NO_SWEEPS_S)) as watched:

        async def lose_a_pod(name: str, *, wait_first: bool = False) -> None:
            pod = await world.pod(name)
            await watched.until_beats([pod], more=1)
            lease = await world.claim(run, pod)
            if wait_first:
                await world.suspend(lease, "sleep", seconds=0.01)
                await world.until_status(run, "queued")
                await world.claim(run, pod)
            await pod.kill()

            async def taken() -> bool:
                return (await world.run(run)).run_owner_pod != name

            await wait_until(taken, description=f"the run to be taken from {name}")

        await lose_a_pod("a")
        assert (await world.run(run)).crashes == 1
        await lose_a_pod("b", wait_first=True)
        assert (await world.status(run), (await world.run(run)).crashes) == ("queued", 1)
        await lose_a_pod("c")
        told = await world.until_told(run, "run.failed")
    assert told.data["error"]["code"] == "crash_loop"


async def test_f11_a_zombie_that_was_reclaimed_has_lost_its_fence(world: World, reclaimer: Reclaimer) -> None:
    pod = await world.pod("a")
    run = await world.running(pod)
    assert await reclaimer.reclaim(pod.owner, lambda: True)
    with pytest.raises(LostOwnership):
        await owner.progress(world.db, Lease(run, pod.owner, 1))


async def test_many_runs_are_all_taken_in_bounded_batches(world: World, reclaimer: Reclaimer) -> None:
    pod = await world.pod("a")
    runs = [await world.running(pod) for _ in range(90)]
    asked: list[bool] = []

    def still_dead() -> bool:
        asked.append(True)
        return True

    assert await reclaimer.reclaim(pod.owner, still_dead)
    assert len(asked) == 3
    assert all([await world.request_of(run) is not None for run in runs])


async def test_a_reclaim_stops_when_its_owner_is_not_held_dead_any_more(world: World, reclaimer: Reclaimer) -> None:
    """The reaper may have been frozen between verdict and statement."""
    pod = await world.pod("a")
    run = await world.running(pod)
    assert not await reclaimer.reclaim(pod.owner, lambda: False)
    assert await world.status(run) == "running"


async def test_a_reclaim_goes_through_while_nats_is_away(world: World, reclaimer: Reclaimer) -> None:
    pod = await world.pod("a")
    runs = [await world.running(pod) for _ in range(90)]
    world.nats.kill()
    async with asyncio.timeout(10):
        assert await reclaimer.reclaim(pod.owner, lambda: True)
    for run in runs:
        assert await world.status(run) == "queued"
