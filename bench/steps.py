"""The journal: what a step costs as it grows, and how long a run of 2,000 steps takes to be resumed."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path

from bench.figures import Row, seconds
from bench.recovery import Say
from tests.support.stack import Stack
from tests.support.viewer import Viewer

_STEPS = 2000
_AGENTS = str(Path(__file__).with_name("many_steps.py"))


async def resume_of_2000_steps(rounds: int, say: Say) -> list[Row]:
    """A run that has finished 2,000 steps is in its next one when its owner is killed: how long until that step begins anew?"""
    resumes: list[float] = []
    growth: list[float] = []
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
                await viewer.until("step.started", count=_STEPS + 1, timeout_s=120)
                growth.append(_growth(viewer))
                owner = await stack.owner(viewer.run_id)
                killed_at = time.monotonic()
                stack.services[owner].kill()
                await viewer.until("step.started", count=_STEPS + 2, timeout_s=60)
                resumes.append(viewer.events[-1][0] - killed_at)
                flag.touch()
                await viewer.until("run.completed", timeout_s=60)
            await stack.services[owner].start()
            say(f"{number + 1} of {rounds}: resume {resumes[-1]:.2f} s, last steps cost {growth[-1]:.2f} of the first")
    ratio = statistics.median(growth)
    return [
        seconds(f"`kill -9` of the owner of a run of {_STEPS:,} steps → its next step starts", resumes, worst_max=2.0),
        Row(
            f"a step's cost at the end of {_STEPS:,} beside its cost at the start",
            f"median {ratio:.2f} (min {min(growth):.2f}, max {max(growth):.2f} of {len(growth)})",
            "≤ 1.2",
            ratio <= 1.2,
        ),
    ]


def _growth(viewer: Viewer) -> float:
    """The median time from step to step of the last quarter, in that of the first."""
    times = [at for at, event in viewer.events if event.type == "step.completed"]
    gaps = [after - before for before, after in pairwise(times)]
    quarter = len(gaps) // 4
    return statistics.median(gaps[-quarter:]) / statistics.median(gaps[:quarter])
