"""``python -m bench.runs.alone [RUNS] [RUNNERS] [ROUNDS]``: Holdfast without peers: its pace, and what computes."""

from __future__ import annotations

import asyncio
import statistics
import sys

from bench.runs.holdfast import Holdfast
from bench.runs.system import Taken
from tests.support.stack import Stack

_WARM_UP = 100


async def _main(runs: int, runners: int, rounds: int) -> None:
    async with Stack(env={"HOLDFAST_LOG_LEVEL": "info"}) as stack:
        system = Holdfast(stack, runners)
        await system.start()
        taken: dict[str, list[Taken]] = {"submit": [], "follow": []}
        for number in range(rounds):
            for mode, turns in taken.items():
                await system.turn(_WARM_UP, mode)
                turns.append(await system.turn(runs, mode))
                print(f"{number + 1} of {rounds}, {mode}: {turns[-1].in_short()}", flush=True)
        await system.stop()
    for mode, turns in taken.items():
        parts = {part: statistics.median(one.each_us()[part] for one in turns) for part in turns[0].used}
        rate = statistics.median(one.rate for one in turns)
        split = ", ".join(f"{part} {us:,.0f}" for part, us in parts.items())
        print(f"median, {mode}: {rate:,.0f} runs/s; µs of computing time each: {sum(parts.values()):,.0f} = {split}")


if __name__ == "__main__":
    wanted = [int(text) for text in sys.argv[1:]]
    asyncio.run(_main(*(wanted + [1000, 1, 3][len(wanted) :])))
