"""What the sweeps mend: lost requests, unheeded cancels, forgotten agents; and that a failing one stops nothing."""

from __future__ import annotations

from holdfast import metrics
from holdfast.bus import requests
from holdfast.bus.connection import Link, make_broker, start
from holdfast.store import owner, stranger
from tests.integration.reaper.world import World, counted, reaping
from tests.support.wait import wait_until


async def _age(world: World) -> None:
    """As if every run had been queued a while ago."""
    await world.sql("UPDATE runs SET queued_at = now() - interval '1 minute'")


async def test_f19_a_run_whose_request_was_never_published_gets_one(world: World) -> None:
    run = await world.submit()
    before = counted(metrics.REQUESTS_RESTORED)
    async with reaping(world.settings(), ready=False):
        await world.until_requested(run)
        age_s = await world.sql("SELECT extract(epoch FROM now() - queued_at)::float FROM runs WHERE id = $1", run)
        assert age_s >= 2.0, "its gateway had its time"
        await wait_until(lambda: counted(metrics.REQUESTS_RESTORED) == before + 1, description="it is counted")


async def test_f18_a_request_that_was_taken_and_lost_is_restored(world: World) -> None:
    run = await world.submit()
    await _age(world)
    async with reaping(world.settings(), ready=False):
        await world.until_requested(run)
        await world.lose_request(run)
        await world.until_requested(run)


async def test_a_request_that_is_there_is_left_alone_and_a_busy_thread_gets_none(world: World) -> None:
    pod = await world.pod("a")
    running = await world.running(pod)
    behind = await world.submit(thread=(await world.run(running)).thread_id)
    free = await world.submit()
    last = await world.submit()
    await _age(world)
    link = Link("test requests")
    broker = make_broker([world.nats.url], link)
    await start(broker, link)
    await requests.publish(broker, "default", free)
    await broker.stop()
    first_seq = await world.request_of(free)
    async with reaping(world.settings(), ready=False):
        await world.until_requested(last)
        await world.lose_request(last)
        await world.until_requested(last)  # two sweeps have passed over all of them
    assert await world.request_of(free) == first_seq
    assert await world.request_of(behind) is None


async def test_f19_the_sweep_goes_round_when_there_is_more_than_a_batch(world: World) -> None:
    runs = [await world.submit() for _ in range(10)]
    await _age(world)
    async with reaping(world.settings(sweep_batch_size=3, sweep_interval_s=0.1), ready=False):
        await world.until_requested(*runs)
        await world.lose_request(min(runs))
        await world.until_requested(*runs)


async def test_f12_f18_requests_that_nats_lost_with_its_data_are_restored(world: World) -> None:
    run = await world.submit()
    await _age(world)
    async with reaping(world.settings(), ready=False):
        await world.until_requested(run)
        client = await world.client()
        await client.jetstream().purge_stream("RUN_REQUESTS")
        await world.until_requested(run)


async def test_a_cancel_that_a_live_owner_does_not_heed_is_forced_after_its_grace(world: World) -> None:
    pod = await world.pod("a")
    run = await world.running(pod)
    following = await world.submit(thread=(await world.run(run)).thread_id)
    patient = await world.running(pod)
    async with reaping(world.settings(cancel_grace_s=1.0), ready=False):
        await stranger.cancel(world.db, "default", run)
        await world.until_status(run, "cancelled")
        told = await world.until_told(run, "run.cancelled")
        await world.until_requested(following)
    assert (str(told.id), told.data) == ("2-1", {"keep_through": None})
    waited_s = await world.sql(
        "SELECT extract(epoch FROM finished_at - cancel_requested_at)::float FROM runs WHERE id = $1", run
    )
    assert waited_s >= 1.0
    assert await world.status(patient) == "running"


async def test_agents_of_pods_that_are_gone_for_a_day_are_forgotten(world: World) -> None:
    pods = [await world.pod(name) for name in ("gone", "here")]
    for pod in pods:
        await owner.say_agents(world.db, pod.owner, "default", [("echo", "1", "", {})])
    await world.sql("UPDATE agents SET seen_at = now() - interval '25 hours' WHERE pod = 'gone'")

    async def only_here() -> bool:
        return bool(await world.sql("SELECT array_agg(pod) = ARRAY['here'] FROM agents"))

    async with reaping(world.settings(), ready=False):
        await wait_until(only_here, description="the agents of the pod that is gone to be forgotten")


async def test_a_sweep_that_fails_is_counted_and_stops_no_other(world: World) -> None:
    await world.sql("DROP TABLE agents")
    waiting = await world.submit()
    await _age(world)
    before = counted(metrics.SWEEP_FAILURES, sweep="agents")
    async with reaping(world.settings(), ready=False):
        await wait_until(
            lambda: counted(metrics.SWEEP_FAILURES, sweep="agents") > before, description="the failure to be counted"
        )
        await world.until_requested(waiting)
        await world.lose_request(waiting)
        await world.until_requested(waiting)
