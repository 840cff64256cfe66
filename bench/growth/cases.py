"""``growth``: runs cost the same among a million that have ended; ``growth.queued``: and beside 100,000 that are queued."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable

from bench.figures import Case, Row, Say, ratios, spread
from bench.growth.filling import Filling
from bench.growth.life import Cost, Filled, filled

_RUNS = 300
_SWEEPS = 20
_RATIO_MAX = 1.25
_ACTIVE = {"running": 50, "waiting": 1000}


async def among_ended(rounds: int, say: Say) -> list[Row]:
    """1,000 and 1,000,000 ended runs."""
    fillings = [Filling(ended=1_000, **_ACTIVE), Filling(ended=1_000_000, **_ACTIVE)]
    return await _compared("among 1,000,000 ended runs", "among 1,000", fillings, rounds, say)


async def among_queued(rounds: int, say: Say) -> list[Row]:
    """None and 100,000 queued runs: half alone on their threads, half on ten threads, to one of which is submitted, too."""
    fillings = [Filling(ended=1_000, **_ACTIVE), Filling(ended=1_000, queued=100_000, **_ACTIVE)]
    return await _compared("beside 100,000 queued runs", "beside none", fillings, rounds, say, chat="chat-3")


async def _compared(
    many: str, few: str, fillings: list[Filling], rounds: int, say: Say, *, chat: str | None = None
) -> list[Row]:
    say(f"filling: {many}")
    works: dict[str, tuple[Callable[[Filled], Callable[[], Awaitable[object]]], int]] = {
        "a run": (lambda each: each.run, _RUNS),
        "a round of all sweeps": (lambda each: each.sweep, _SWEEPS),
        "the first pages of lists": (lambda each: each.lists, _SWEEPS),
    }
    if chat is not None:
        works["a submit to a thread with 5,000 queued"] = (lambda each: lambda: each.submit(chat), _SWEEPS)
    costs: dict[str, list[list[Cost]]] = {name: [[], []] for name in works}
    async with filled(fillings) as databases:
        for number in range(rounds + 1):
            for name, (work, times) in works.items():
                for place, each in enumerate(databases):
                    cost = await each.cost(work(each), times)
                    if number:  # the first round is for plans and caches
                        costs[name][place].append(cost)
            if number:
                say(f"round {number}: a run {costs['a run'][1][-1].computing_us:,.0f} µs {many}")
    rows = []
    for name, (with_few, with_many) in costs.items():
        computing = ratios([each.computing_us for each in with_many], [each.computing_us for each in with_few])
        wall = ratios([each.wall_us for each in with_many], [each.wall_us for each in with_few])
        medians = [statistics.median(each.computing_us for each in costs[name][place]) for place in (1, 0)]
        is_run = name == "a run"
        rows.append(
            Row(
                f"{name}, {many}: Postgres's computing time, in that {few}",
                f"{spread(computing, '.2f')} ({medians[0]:,.0f} against {medians[1]:,.0f} µs)",
                f"median ≤ {_RATIO_MAX:g}" if is_run else "told",
                statistics.median(computing) <= _RATIO_MAX,
                timed=False,
            )
        )
        if is_run:
            rows.append(Row(f"{name}, {many}: time on the wall, in that {few}", spread(wall, ".2f"), "told", True))
    return rows


CASES = {"growth": Case(among_ended, 5), "growth.queued": Case(among_queued, 5)}
