"""Runs that wait are woken: by their timers, on time, and by the end of their child. Children do not outlive their parents."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from holdfast import metrics
from holdfast.runs import Outcome
from holdfast.store import Database, Woken, owner, stranger
from holdfast_reaper.act import Reclaimer
from holdfast_reaper.sweeps import Sweep
from tests.integration.reaper.world import World, counted, reaping
from tests.support.wait import wait_until

NEVER_S = 3600.0


async def _woken_late_by_s(world: World, run_id: UUID) -> float:
    """How long after its time a run was queued, by the record's own clock."""
    late = await world.sql(
        """SELECT extract(epoch FROM r.queued_at - w.wake_at)::float
           FROM runs r JOIN waits w ON w.run_id = r.id WHERE r.id = $1""",
        run_id,
    )
    return float(late)


async def test_a_timer_wakes_its_run_on_time_and_the_run_gets_its_request(world: World) -> None:
    pod = await world.pod("a")
    run = await world.waiting(pod, "sleep", seconds=1.0)
    asks = await world.waiting(pod, "ask")
    async with reaping(world.settings(sweep_interval_s=NEVER_S), ready=False):
        await world.until_status(run, "queued")
        await world.until_requested(run)
    assert 0 <= await _woken_late_by_s(world, run) < 0.5
    assert await world.status(asks) == "waiting"
    woken = await world.run(run)
    assert (woken.crashes, woken.attempt) == (0, 1)
    claimed = await owner.claim(world.db, run, pod.owner, {"echo": "1"})
    assert claimed is not None
    assert claimed.from_why == "woken"
    [step] = (await owner.journal(world.db, run)).steps
    assert (step.status, step.output, step.told) == ("completed", None, False)


async def test_a_timer_that_is_known_is_met_though_looks_are_rare(world: World) -> None:
    """Nobody looks twice a second for a sleep of a month: the next look is when the next time comes."""
    pod = await world.pod("a")
    run = await world.waiting(pod, "sleep", seconds=2.0)
    async with reaping(world.settings(sweep_interval_s=NEVER_S, wake_interval_s=NEVER_S), ready=False):
        await world.until_status(run, "queued")
    assert 0 <= await _woken_late_by_s(world, run) < 0.5


async def test_timers_that_came_while_no_reaper_was_there_are_all_woken_in_batches(world: World) -> None:
    pod = await world.pod("a")
    runs = [await world.waiting(pod, "sleep", seconds=NEVER_S) for _ in range(10)]
    await world.sql("UPDATE waits SET wake_at = now()")
    settings = world.settings(sweep_interval_s=NEVER_S, wake_interval_s=NEVER_S, sweep_batch_size=3)
    async with reaping(settings, ready=False):
        await world.until_requested(*runs)


async def test_two_reapers_race_for_timers_and_each_run_is_woken_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[UUID] = []
    wake = stranger.wake

    async def counting(db: Database, *, run_ids: list[UUID] | None, limit: int) -> list[Woken]:
        won = await wake(db, run_ids=run_ids, limit=limit)
        woken.extend(each.id for each in won)
        return won

    monkeypatch.setattr(stranger, "wake", counting)
    pod = await world.pod("a")
    runs = [await world.waiting(pod, "sleep", seconds=3.0) for _ in range(20)]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(reaping(world.settings(sweep_batch_size=7), ready=False))
        await world.until_requested(*runs)
    assert sorted(woken) == sorted(runs)


async def test_f27_the_end_of_a_child_wakes_its_parent(world: World) -> None:
    pod = await world.pod("a")
    child = uuid4()
    parent = await world.waiting(pod, "child", child=child)
    lease = await world.claim(child, pod)
    async with reaping(world.settings(sweep_interval_s=NEVER_S), ready=False):
        await owner.finish(
            world.db,
            lease,
            outcome=Outcome.COMPLETED,
            output={"n": 1},
            error=None,
            terminal_event_id="1-1",
            shown_text="",
        )
        await world.until_status(parent, "queued")
        await world.until_requested(parent)
    [step] = (await owner.journal(world.db, parent)).steps
    assert step.status == "completed"
    assert step.output == {"run_id": str(child), "status": "completed", "output": {"n": 1}, "error": None}


async def test_f27_a_child_that_a_reaper_ends_wakes_its_parent_at_once(world: World, reclaimer: Reclaimer) -> None:
    """No sweep runs here: whoever ends a run sees to its parent."""
    pod, other = await world.pod("a"), await world.pod("b")
    child = uuid4()
    parent = await world.waiting(pod, "child", child=child)
    await world.sql("UPDATE runs SET on_owner_lost = 'fail' WHERE id = $1", child)
    await world.claim(child, other)
    assert await reclaimer.reclaim(other.owner, lambda: True)
    assert await world.status(child) == "failed"
    assert await world.status(parent) == "queued"
    assert await world.request_of(parent) is not None
    [step] = (await owner.journal(world.db, parent)).steps
    assert (step.output["status"], step.output["error"]["code"]) == ("failed", "owner_lost")


async def test_children_of_a_parent_that_has_ended_are_cancelled_whatever_they_do(world: World) -> None:
    pod = await world.pod("a")
    queued, running, waiting, grandchild = (uuid4() for _ in range(4))
    parents = [await world.waiting(pod, "child", child=child) for child in (queued, running, waiting)]
    running_lease = await world.claim(running, pod)
    await world.suspend(await world.claim(waiting, pod), "child", child=grandchild)
    healthy_child = uuid4()
    healthy = await world.waiting(pod, "child", child=healthy_child)
    for parent in parents:
        await stranger.cancel(world.db, "default", parent)
    async with reaping(world.settings(), ready=False):
        for child in (queued, waiting, grandchild):
            await world.until_status(child, "cancelled")
            await world.until_told(child, "run.cancelled")

        async def asked() -> bool:
            return (await world.run(running)).cancel_requested_at is not None

        await wait_until(asked, description="the owner of the running child to be asked to end it")
        finished = await owner.finish(
            world.db, running_lease, outcome=Outcome.COMPLETED, output=None, error=None, terminal_event_id="1-1",
            shown_text="",
        )  # fmt: skip
    assert finished.status == "cancelled"
    assert await world.status(healthy) == "waiting"
    assert await world.status(healthy_child) == "queued"


async def test_a_sweep_for_timers_that_fails_stops_no_other(world: World) -> None:
    await world.sql("ALTER TABLE waits RENAME COLUMN wake_at TO gone")
    run = await world.submit(deadline_s=0.1)
    before = counted(metrics.SWEEP_FAILURES, sweep="timers")
    async with reaping(world.settings(), ready=False):
        await wait_until(
            lambda: counted(metrics.SWEEP_FAILURES, sweep="timers") > before, description="the failure to be counted"
        )
        await world.until_status(run, "failed")


async def test_a_look_that_asks_for_the_next_one_sooner_gets_it_but_is_never_waited_for_longer() -> None:
    looks: list[float] = []
    asked = iter([0.0, 0.1, NEVER_S])
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def look() -> float | None:
        looks.append(loop.time())
        sooner = next(asked, None)
        if sooner is None:
            enough.set()
        return sooner

    task = asyncio.create_task(Sweep("test", 0.4, look).keep())
    async with asyncio.timeout(10):
        await enough.wait()
    task.cancel()
    first, second, third = (later - earlier for earlier, later in pairwise(looks))
    assert 0 < first < 0.4
    assert 0.1 <= second < 0.4
    assert 0.4 <= third < NEVER_S
