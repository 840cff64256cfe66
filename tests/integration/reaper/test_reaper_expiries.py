"""Deadlines and stalls: who is ended and who is not, and that it is told."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast import metrics
from holdfast.errors import LostOwnership
from holdfast.runs import Lease
from holdfast.store import owner
from tests.integration.reaper.world import World, counted, reaping
from tests.support.pods import FakePod


async def _start_step(world: World, lease: Lease, position: str, **more: Any) -> None:
    await owner.intend(
        world.db, lease, position=position, kind="tool", name="work", input_hash=b"h", tries=1, code_version="1", **more
    )


async def _finish_step(world: World, lease: Lease, position: str) -> None:
    await owner.checkpoint(
        world.db, lease, position=position, output={}, shown_text="", finish_id=None, last_event_id=None
    )


async def _silent_for(world: World, run_id: UUID, seconds: float) -> None:
    """As if nothing had moved since."""
    await world.sql(
        "UPDATE runs SET claimed_at = now() - make_interval(secs => $2 + 1), "
        "last_progress_at = now() - make_interval(secs => $2) WHERE id = $1",
        run_id,
        seconds,
    )


async def _is_told(world: World, run_id: UUID, code: str, attempt: int) -> None:
    told = await world.until_told(run_id, "run.failed")
    run = await world.run(run_id)
    assert (run.status, run.error, run.terminal_event_id) == ("failed", told.data["error"], f"{attempt}-1")
    assert (str(told.id), told.data["error"]["code"]) == (f"{attempt}-1", code)
    assert run.run_owner_pod is None


async def test_f14_a_run_that_moves_is_never_a_stall_however_long_it_runs(world: World) -> None:
    """Progress is a finished step, or events that flow: each moves the time from which idleness counts."""
    pod = await world.pod("a")
    steps, streams = [Lease(await world.running(pod, idle_timeout_s=3), pod.owner, 1) for _ in range(2)]
    silent = await world.running(pod, idle_timeout_s=3)
    for lease in (steps, streams):
        await world.sql("UPDATE runs SET claimed_at = now() - interval '30 days' WHERE id = $1", lease.run_id)
    finished = 0
    async with reaping(world.settings(sweep_interval_s=0.1), ready=False):
        while await world.status(silent) == "running":  # its sweep has passed over the others, again and again
            await _start_step(world, steps, str(finished))
            await _finish_step(world, steps, str(finished))
            await owner.progress(world.db, streams)
            finished += 1
        await _is_told(world, silent, "stalled", 2)
    assert finished
    assert [await world.status(lease.run_id) for lease in (steps, streams)] == ["running", "running"]


async def test_f14_waiting_for_a_person_or_a_time_is_never_a_stall_nor_is_being_queued(world: World) -> None:
    pod = await world.pod("a")
    child = uuid4()
    patient = [
        await world.waiting(pod, "ask", idle_timeout_s=1),
        await world.waiting(pod, "sleep", seconds=3600.0, idle_timeout_s=1),
        await world.waiting(pod, "child", child=child, idle_timeout_s=1),
        await world.submit(idle_timeout_s=1),
    ]
    stalled = await world.running(pod, idle_timeout_s=1)
    for run in (*patient, stalled):
        await _silent_for(world, run, 30 * 86400.0)
    async with reaping(world.settings(sweep_interval_s=0.1), ready=False):
        await _is_told(world, stalled, "stalled", 2)
        second = await world.running(pod, idle_timeout_s=1)
        await _silent_for(world, second, 60.0)
        await world.until_status(second, "failed")  # one more whole sweep
    assert [await world.status(run) for run in patient] == ["waiting"] * 3 + ["queued"]


async def test_f14_a_step_may_take_its_own_longer_timeout(world: World) -> None:
    pod = await world.pod("a")
    lengthy, over, earlier = [Lease(await world.running(pod, idle_timeout_s=1), pod.owner, 1) for _ in range(3)]
    await _start_step(world, lengthy, "0", timeout_s=600.0)
    await _start_step(world, over, "0", timeout_s=60.0)
    await _start_step(world, earlier, "0", timeout_s=600.0)
    await _finish_step(world, earlier, "0")  # its time is over with it
    for lease in (lengthy, over, earlier):
        await _silent_for(world, lease.run_id, 120.0)
    async with reaping(world.settings(), ready=False):
        await _is_told(world, over.run_id, "stalled", 2)
        await _is_told(world, earlier.run_id, "stalled", 2)
    assert await world.status(lengthy.run_id) == "running"


async def test_a_stalled_run_frees_its_thread_and_its_owner_has_lost_it(world: World) -> None:
    pod = await world.pod("a")
    stalled = await world.running(pod, idle_timeout_s=1)
    following = await world.submit(thread=(await world.run(stalled)).thread_id)
    await _silent_for(world, stalled, 60.0)
    before = counted(metrics.RUNS_ENDED, status="failed")
    async with reaping(world.settings(), ready=False):
        await _is_told(world, stalled, "stalled", 2)
        await world.until_requested(following)
    assert counted(metrics.RUNS_ENDED, status="failed") == before + 1
    with pytest.raises(LostOwnership):
        await owner.progress(world.db, Lease(stalled, pod.owner, 1))


async def _late(world: World, pod: FakePod) -> dict[UUID, int]:
    """Runs in every state in which a deadline counts -> the attempt that ends each."""
    queued = await world.submit(deadline_s=0.01)
    waiting = await world.waiting(pod, "ask", deadline_s=0.01)
    running = Lease(await world.running(pod, deadline_s=0.01), pod.owner, 1)
    await owner.progress(world.db, running)
    return {queued: 1, waiting: 2, running.run_id: 2}


async def test_a_deadline_ends_a_run_that_is_queued_waits_or_runs(world: World) -> None:
    pod = await world.pod("a")
    late = await _late(world, pod)
    in_time = [await world.submit(deadline_s=3600.0), await world.running(pod, deadline_s=3600.0), await world.submit()]
    async with reaping(world.settings(), ready=False):
        for run, attempt in late.items():
            await _is_told(world, run, "deadline", attempt)
    assert [await world.status(run) for run in in_time] == ["queued", "running", "queued"]


async def test_three_reapers_race_and_each_run_is_expired_once(world: World) -> None:
    pod = await world.pod("a")
    late = [run for _ in range(5) for run in await _late(world, pod)]
    before = counted(metrics.RUNS_ENDED, status="failed")
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(
                reaping(world.settings(sweep_interval_s=0.05, sweep_batch_size=4), ready=False)
            )
        for run in late:
            await world.until_told(run, "run.failed")
        assert [len([each for each in await world.events(run) if each.type == "run.failed"]) for run in late] == [
            1
        ] * 15
    assert counted(metrics.RUNS_ENDED, status="failed") == before + 15


async def test_a_child_that_is_late_wakes_its_parent(world: World) -> None:
    pod = await world.pod("a")
    child = uuid4()
    parent = await world.waiting(pod, "child", child=child)
    await world.sql("UPDATE runs SET deadline_at = now() WHERE id = $1", child)
    async with reaping(world.settings(wake_interval_s=3600.0), ready=False):
        await world.until_status(child, "failed")
        await world.until_requested(parent)
    [step] = (await owner.journal(world.db, parent)).steps
    assert step.output["error"]["code"] == "deadline"
