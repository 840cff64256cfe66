"""Recovery, with default settings: how long until a run goes on, and whether anybody alive is ever robbed.

Two runners, a gateway and a reaper as processes of their own that nobody restarts; a viewer on a real connection. Here runners
die, and links; times are from the signal to the viewer's ``run.resumed``. ``outages`` takes the servers away.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from uuid import UUID

import nats

from bench import outages
from bench.figures import Case, Row, Say, none_of, seconds
from bench.followed import TALKING, FollowedRun, all_go_on, reclaims
from holdfast.bus import event_log
from holdfast.runs import EventId
from holdfast.wire.events import frame_id, split
from tests.support.proxy import Proxy
from tests.support.stack import Stack

_LINK_RUNS = 4


async def kill_to_resumed(rounds: int, say: Say) -> list[Row]:
    """``kill -9`` of the owner."""
    times: list[float] = []
    async with Stack() as stack:
        await stack.start()
        for number in range(rounds):
            run = await FollowedRun.begin(stack, TALKING, first="text.delta")
            viewer = run.viewer
            owner = await stack.owner(viewer.run_id)
            killed_at = time.monotonic()
            stack.services[owner].kill()
            await viewer.until("run.resumed")
            times.append(viewer.first("run.resumed")[0] - killed_at)
            say(f"kill {number + 1} of {rounds}: {times[-1]:.2f} s")
            await run.end()
            await stack.services[owner].start()
    return [seconds("kill -9 of the owner → `run.resumed`", times, median_max=2.0, worst_max=4.0)]


async def freeze_to_resumed(rounds: int, say: Say) -> list[Row]:
    """``SIGSTOP`` of the owner until another goes on, then ``SIGCONT``: the zombie must write nothing more."""
    times: list[float] = []
    late = 0
    async with Stack() as stack:
        await stack.start()
        for number in range(rounds):
            run = await FollowedRun.begin(stack, TALKING, first="text.delta")
            viewer = run.viewer
            owner = await stack.owner(viewer.run_id)
            frozen_at = time.monotonic()
            stack.services[owner].pause()
            await viewer.until("run.resumed", timeout_s=30.0)
            times.append(viewer.first("run.resumed")[0] - frozen_at)
            stack.services[owner].resume()
            say(f"freeze {number + 1} of {rounds}: {times[-1]:.2f} s")
            await viewer.until("text.delta", count=viewer.types().count("text.delta") + 40)
            await run.end()
            late += _of_lower_attempts(await _log(stack, viewer.run_id))
            await stack.services[owner].until_ready()
    return [
        seconds("SIGSTOP of the owner → `run.resumed`", times, worst_max=7.0),
        none_of("events of the frozen owner after the takeover", late, rounds),
    ]


async def nats_restarts(rounds: int, say: Say) -> list[Row]:
    """NATS killed and started again under two healthy runners: nobody may be declared dead."""
    async with Stack() as stack:
        await stack.start()
        runs = [await FollowedRun.begin(stack, TALKING, first="text.delta") for _ in range(_LINK_RUNS)]
        for number in range(rounds):
            stack.nats.kill()
            await stack.nats.start()
            await all_go_on(runs, "text.delta")
            say(f"NATS restart {number + 1} of {rounds}")
        count = await reclaims(stack)
        await asyncio.gather(*(run.end() for run in runs))
    return [none_of("reclaims, NATS restarted under 2 healthy runners", count, rounds)]


async def link_cuts(rounds: int, say: Say, *, seed: int) -> list[Row]:
    """One link of one pod cut for 0.3 to 3 s: a pod that has the other link is alive."""
    dice = random.Random(seed)
    async with Stack() as stack:
        await asyncio.gather(
            stack.add("gateway", "gateway-1"),
            stack.add("reaper", "reaper-1"),
            *(stack.add("runner", f"runner-{n}", proxied=True) for n in (1, 2)),
        )
        runs = [await FollowedRun.begin(stack, TALKING, first="text.delta") for _ in range(_LINK_RUNS)]
        for number in range(rounds):
            pod = dice.choice(["runner-1", "runner-2"])
            link = dice.choice(["postgres", "nats"])
            duration_s = dice.uniform(0.3, 3.0)
            await _cut(getattr(stack.links[pod], link), duration_s, stall=dice.random() < 0.5)
            say(f"cut {number + 1} of {rounds}: {pod}'s link to {link} for {duration_s:.1f} s")
        await all_go_on(runs, "text.delta")
        count = await reclaims(stack)
        await asyncio.gather(*(run.end() for run in runs))
    return [none_of(f"reclaims, one link of one pod cut for 0.3 to 3 s (seed {seed})", count, rounds)]


async def _cut(proxy: Proxy, duration_s: float, *, stall: bool) -> None:
    """Reset the link, or hold its bytes back, for that long (the length of the fault is what is being tested)."""
    if stall:
        proxy.stall()
    else:
        proxy.cut()
    await asyncio.sleep(duration_s)
    proxy.resume()
    proxy.restore()


async def _log(stack: Stack, run_id: str) -> list[EventId]:
    """The ids in a run's log as the stream holds them; a gateway would filter what must not be there."""
    client = await nats.connect(stack.nats.url)
    try:
        entries = [entry async for entry in event_log.read(client, UUID(run_id), 0)]
    finally:
        await client.close()
    return [frame_id(frame) for entry in entries for frame in split(entry.payload)]


def _of_lower_attempts(ids: list[EventId]) -> int:
    """How many events stand behind one of a higher attempt."""
    return sum(
        later.attempt < max(earlier).attempt for later, earlier in ((ids[i], ids[:i]) for i in range(1, len(ids)))
    )


async def _link_cuts(rounds: int, say: Say) -> list[Row]:
    return await link_cuts(rounds, say, seed=int(os.environ.get("SEED") or time.time_ns() % 1_000_000))


CASES = {
    "recovery.kill": Case(kill_to_resumed, 20),
    "recovery.freeze": Case(freeze_to_resumed, 20),
    "recovery.nats": Case(nats_restarts, 20),
    "recovery.nats_leader": Case(outages.nats_leader_lost, 20),
    "recovery.postgres": Case(outages.postgres_restarts, 20),
    "recovery.links": Case(_link_cuts, 50),
}
