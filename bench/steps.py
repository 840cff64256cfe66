"""The journal: what a step costs as it grows, and how long a run of 2,000 steps takes to be resumed.

What a step costs is told twice: by the clock, from end to end in the record, and in computing time of all that works for it (both
runners, the gateway, Postgres, NATS), which other processes on the machine disturb less. The first hundred steps are left out: a
runner that was started anew has connections to open and statements to prepare.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import asyncpg
import psutil

from bench.figures import Case, Row, Say, seconds, spread
from bench.streams.meter import cpu_s
from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

_STEPS = 2000
_FIRST, _LAST = (100, 500), (1600, 2000)  # the steps that are compared: from, to
_GROWTH_MAX = 1.2
_AGENTS = str(Path(__file__).with_name("many_steps.py"))
_ENDS = """
    SELECT extract(epoch FROM finished_at)::float8 AS at FROM steps
    WHERE run_id = $1 AND status = 'completed' ORDER BY finished_at
"""


async def resume_of_2000_steps(rounds: int, say: Say) -> list[Row]:
    """A run that has finished 2,000 steps is in its next one when its owner is killed: how long until that step begins anew?"""
    resumes: list[float] = []
    by_clock: list[float] = []
    by_computing: list[float] = []
    async with Stack() as stack:
        await stack.start(runners=0)
        for name in ("runner-1", "runner-2"):
            await stack.add("runner", name, {"HOLDFAST_AGENTS": _AGENTS})
        for number in range(rounds):
            flag = stack.folder / f"go-{number}"
            answer = await stack.http.post(
                f"{stack.url()}/v1/runs", json={"agent": "many-steps", "input": {"steps": _STEPS, "flag": str(flag)}}
            )
            viewer = Viewer(stack.url, answer.json()["id"])
            async with viewer.following():
                by_computing.append(_ratio([await _computing(stack, viewer, *part) for part in (_FIRST, _LAST)]))
                await viewer.until("step.started", count=_STEPS + 1, timeout_s=60)
                by_clock.append(await _clock(stack, viewer.run_id))
                owner, seen = await stack.owner(viewer.run_id), len(viewer.events)
                killed_at = time.monotonic()
                stack.services[owner].kill()
                await _until_events(viewer, seen + 2)
                assert viewer.types()[seen:] == ["run.resumed", "step.started"]
                resumes.append(viewer.events[-1][0] - killed_at)
                flag.touch()
                await viewer.until("run.completed", timeout_s=60)
            await stack.services[owner].start()
            say(
                f"{number + 1} of {rounds}: resume {resumes[-1]:.2f} s, of the first steps' cost the last ones' is"
                f" {by_clock[-1]:.2f} by the clock, {by_computing[-1]:.2f} in computing time"
            )
    what = f"a step's cost at the end of {_STEPS:,} beside its cost at the start"
    return [
        seconds(f"`kill -9` of the owner of a run of {_STEPS:,} steps → its next step starts", resumes, worst_max=2.0),
        _growth(f"{what}, by the clock", by_clock),
        _growth(f"{what}, in computing time", by_computing),
    ]


def _growth(what: str, ratios: Sequence[float]) -> Row:
    return Row(what, spread(ratios, ".2f"), f"≤ {_GROWTH_MAX}", statistics.median(ratios) <= _GROWTH_MAX)


def _ratio(first_and_last: Sequence[float]) -> float:
    first, last = first_and_last
    return last / first


def _events_at(step: int) -> int:
    """How many events there are when so many steps have ended, or nearly so."""
    return 2 * step


async def _until_events(viewer: Viewer, count: int) -> None:
    """Unlike :meth:`Viewer.until`, this costs the same however many there are."""
    await wait_until(lambda: len(viewer.events) >= count, description=f"{count} events", timeout_s=120)


async def _computing(stack: Stack, viewer: Viewer, first: int, last: int) -> float:
    """Seconds of computing for one of these steps."""
    await _until_events(viewer, _events_at(first))
    began, before = len(viewer.events), _computed(stack)
    await _until_events(viewer, _events_at(last))
    return (_computed(stack) - before) / (len(viewer.events) - began)


def _computed(stack: Stack) -> float:
    """The computing time of all processes so far."""
    leaders = [stack.postgres.pid, stack.nats.pid, *(service.pid for service in stack.services.values())]
    found = [psutil.Process(pid) for pid in leaders if pid is not None]
    return sum(cpu_s(each.pid) for leader in found for each in (leader, *leader.children(recursive=True)))


async def _clock(stack: Stack, run_id: str) -> float:
    """The median time from a step's end to the next one's in the record, of the last steps in that of the first."""
    record = await asyncpg.connect(stack.postgres.url)
    try:
        ends = [row["at"] for row in await record.fetch(_ENDS, run_id)]
    finally:
        await record.close()
    gaps = [after - before for before, after in pairwise(ends)]
    return _ratio([statistics.median(gaps[part[0] : part[1]]) for part in (_FIRST, _LAST)])


CASES = {"steps": Case(resume_of_2000_steps, 5)}
