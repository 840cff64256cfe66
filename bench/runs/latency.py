"""How long one run takes that has an idle system for itself: from its submit until its events are at the client's socket."""

from __future__ import annotations

import sys

from bench.figures import Row, Say
from bench.runs.holdfast import Holdfast
from bench.runs.rows import latency_row
from bench.runs.system import Program
from tests.support.stack import Stack

_RUNS = 200
_SEEN = (
    ("submit → its first event at the client (`run.queued`)", "run.queued", True),
    ("submit → the runner's first event at the client (`run.started`)", "run.started", True),
    ("submit → `run.completed` at the client, one step in between", "run.completed", False),
)


async def latency(rounds: int, say: Say) -> list[Row]:
    """``rounds`` times 200 runs, one after the other, on one gateway, one runner and one reaper."""
    seen: dict[str, list[float]] = {event: [] for _, event, _ in _SEEN}
    async with Stack(env={"HOLDFAST_LOG_LEVEL": "info"}) as stack:
        system = Holdfast(stack, 1)
        await system.start()
        for number in range(rounds):
            client = Program(
                [sys.executable, "-m", "bench.runs.one_by_one", str(system.port()), str(_RUNS)],
                stack.folder / "one_by_one.log",
            )
            try:
                for event, times in (await client.result()).items():
                    seen[event] += times
            finally:
                client.kill()
            shown = "; ".join(
                latency_row(event, seen[event], wanted=False).figure for event in ("run.queued", "run.started")
            )
            say(f"{number + 1} of {rounds}: so far {shown}")
        await system.stop()
    return [latency_row(what, seen[event], wanted=wanted) for what, event, wanted in _SEEN]
