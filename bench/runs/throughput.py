"""No-op jobs per second, end to end: Holdfast and its peers in turn, on one Postgres, each submitted from its own API.

Of each system so many worker processes, started anew for its turn, and none of the others'. A turn begins with some jobs that are
not counted. The submitter runs at the same time as the workers. A round takes all systems in an order that moves on, so that what
disturbs the machine disturbs each of them; the first round is smaller and dropped.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from bench.figures import Row, Say
from bench.runs.holdfast import Holdfast
from bench.runs.peer import KINDS, PYTHON, Peer
from bench.runs.rows import FOLLOWED, OURS, Turns, rows
from bench.runs.system import Taken
from tests.support.stack import Stack

WORKERS = (1, 2)
_JOBS = 2_000
_TIMES_MORE = {"PgQueuer": 5}  # or its turn would be over in a moment
_WARM_UP = 100


async def throughput(rounds: int, say: Say) -> list[Row]:
    """All systems, with each number of workers."""
    versions = peer_versions()
    turns: Turns = {}
    who = [(workers, name) for workers in WORKERS for name in (OURS, *(kind.name for kind in KINDS))]
    async with Stack(env={"HOLDFAST_LOG_LEVEL": "info"}) as stack:
        for number in range(rounds + 1):
            for workers, name in who[number % len(who) :] + who[: number % len(who)]:
                taken = await _turn(stack, workers, name, _JOBS if number else _WARM_UP)
                for system, one in taken.items():
                    which = f"round {number} of {rounds}" if number else "warm-up"
                    say(f"{which}, {system}, {workers} worker{'s'[: workers > 1]}: {one.in_short()}")
                    if number:
                        turns.setdefault((workers, system), []).append(one)
    return [row for workers in WORKERS for row in rows(workers, turns, versions)]


async def _turn(stack: Stack, workers: int, name: str, jobs: int) -> dict[str, Taken]:
    """One system's turn; Holdfast's is two: submitted, and submitted with each run's events followed."""
    if name == OURS:
        system = Holdfast(stack, workers)
        with ExitStack() as running:
            running.callback(system.kill)
            await system.start()
            taken = {}
            for mode, shown in (("submit", OURS), ("follow", FOLLOWED)):
                await system.turn(_WARM_UP, mode)
                taken[shown] = await system.turn(jobs, mode)
            await system.stop()
        return taken
    peer = Peer(stack, next(kind for kind in KINDS if kind.name == name), workers)
    with ExitStack() as running:
        running.callback(peer.kill)
        await peer.start()
        await peer.turn(_WARM_UP)
        one = await peer.turn(jobs * _TIMES_MORE.get(name, 1))
        await peer.stop()
    return {name: one}


def peer_versions() -> dict[str, str]:
    """Which versions of the peers are installed.

    Raises:
        RuntimeError: they are not: ``make bench`` makes their environment.
    """
    if not PYTHON.exists():
        raise RuntimeError(f"there is no {PYTHON.parent.parent.name}: run it as `make bench ONLY=runs.throughput`")
    asked = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(PYTHON), "-c", asked, *(kind.distribution for kind in KINDS)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {kind.name: version for kind, version in zip(KINDS, said, strict=True)}
