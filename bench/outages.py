"""The servers taken away under runs that viewers follow: how long the pause is, and whether anybody was robbed or anything lost.

Default settings; two runners, a gateway and a reaper as processes of their own that nobody restarts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg

from bench.figures import Row, Say, none_of, seconds
from bench.followed import TALKING, FollowedRun, all_go_on, reclaims
from holdfast.bus import names
from tests.support.stack import Stack
from tests.support.wait import wait_until

_RUNS = 4
_STEPPING = {"agent": "paced-steps", "input": {"pause_s": 0.02}}
_AGENTS = str(Path(__file__).with_name("many_steps.py"))


async def nats_leader_lost(rounds: int, say: Say) -> list[Row]:
    """Of a cluster of three, the leader of the event log's stream killed under runs that talk, and started again."""
    pauses: list[float] = []
    async with Stack(nats_nodes=3) as stack:
        assert stack.cluster is not None
        await stack.start()
        runs = await asyncio.gather(*(FollowedRun.begin(stack, TALKING, first="text.delta") for _ in range(_RUNS)))
        await stack.cluster.until_whole()
        for number in range(rounds):
            leader = await stack.cluster.leader(names.EVENTS_STREAM)
            killed_at = time.monotonic()
            leader.kill()
            await stack.cluster.leader(names.EVENTS_STREAM)
            led_s = time.monotonic() - killed_at
            await all_go_on(runs, "text.delta")
            pauses.append(max(ended - began for began, ended in (run.longest_pause(killed_at) for run in runs)))
            say(
                f"{leader.name} killed, {number + 1} of {rounds}: a leader after {led_s:.1f} s, pause {pauses[-1]:.1f} s"
            )
            await leader.start()
            await stack.cluster.until_whole()
            await all_go_on(runs, "text.delta")
        counted = await _counted(stack, runs, "NATS leader killed", rounds)
    return [
        seconds(
            "leader of three NATS nodes killed → longest pause at a viewer", pauses, median_max=10.0, worst_max=15.0
        ),
        *counted,
    ]


async def postgres_restarts(rounds: int, say: Say) -> list[Row]:
    """Postgres crashed (SIGQUIT) and started again under runs that do steps."""
    since_kill: list[float] = []
    since_back: list[float] = []
    async with Stack() as stack:
        await stack.start(runners=0)
        for name in ("runner-1", "runner-2"):
            await stack.add("runner", name, {"HOLDFAST_AGENTS": _AGENTS})
        runs = await asyncio.gather(
            *(FollowedRun.begin(stack, _STEPPING, first="step.completed") for _ in range(_RUNS))
        )
        for number in range(rounds):
            killed_at, back_at = await _crash(stack)
            await all_go_on(runs, "step.completed")
            # A step that was at work may still be shown as done, but none begins: the pause ends when the record is back.
            done = max(run.next_of("step.completed", run.longest_pause(killed_at)[1]) for run in runs)
            since_kill.append(done - killed_at)
            since_back.append(done - back_at)
            say(
                f"Postgres killed, {number + 1} of {rounds}: back after {back_at - killed_at:.2f} s, "
                f"all runs have done a step after {done - killed_at:.2f} s"
            )
        missing = sum([await _not_in_the_record(stack, run) for run in runs])
        counted = await _counted(stack, runs, "Postgres crashed", rounds)
    return [
        seconds(f"Postgres crashed → all of {_RUNS} runs have done a step", since_kill, worst_max=5.0),
        seconds("Postgres takes connections again → the same", since_back, median_max=1.0, worst_max=2.0),
        *counted,
        none_of("finished steps that a viewer has seen and the record lacks", missing, rounds),
    ]


async def _crash(stack: Stack) -> tuple[float, float]:
    """Postgres ends without a checkpoint and is started at once. Returns when it was killed, and when it took a connection."""
    assert stack.postgres.pid is not None
    killed_at = time.monotonic()
    os.kill(stack.postgres.pid, signal.SIGQUIT)
    await stack.postgres.exited()
    await stack.postgres.spawn()

    async def accepts() -> bool:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await (await asyncpg.connect(stack.postgres.url, timeout=5.0)).close()
            return True
        return False

    await wait_until(accepts, description="Postgres takes connections", timeout_s=60.0)
    return killed_at, time.monotonic()


async def _not_in_the_record(stack: Stack, run: FollowedRun) -> int:
    """Steps that a viewer was told are completed. The newest may be about to be committed: it gets the time for that."""
    seen = {event.data["position"] for _, event in run.viewer.events if event.type == "step.completed"}
    connection = await asyncpg.connect(stack.postgres.url)
    try:
        recorded: set[str] = set()

        async def all_there() -> bool:
            query = "SELECT position FROM steps WHERE run_id = $1 AND status = 'completed'"
            recorded.update(row["position"] for row in await connection.fetch(query, run.viewer.run_id))
            return seen <= recorded

        with suppress(AssertionError):
            await wait_until(all_there, description="the record has what was shown", timeout_s=5.0)
        return len(seen - recorded)
    finally:
        await connection.close()


async def _counted(stack: Stack, runs: Sequence[FollowedRun], fault: str, rounds: int) -> list[Row]:
    """End the runs, and count what must not have happened."""
    ended = sum(run.is_over for run in runs)
    await asyncio.gather(*(run.end() for run in runs))
    return [
        none_of(f"reclaims, {fault} under 2 healthy runners", await reclaims(stack), rounds),
        none_of(f"runs ended by it, {fault}", ended, rounds),
        none_of(f"events lost or doubled at a viewer, {fault}", sum(run.wrong_ids() for run in runs), rounds),
        none_of(f"event logs replaced by a snapshot, {fault}", sum(run.snapshots() for run in runs), rounds),
    ]
