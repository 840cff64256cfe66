"""``make bench [ONLY=recovery.kill] [ROUNDS=20] [SEED=1]``: measure, print a table, write ``bench/report.md``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from bench import recovery, steps
from bench.figures import Row, versions
from bench.streams import measure as streams
from bench.streams.cases import CASES

Measure = Callable[[int, recovery.Say], Coroutine[None, None, list[Row]]]
_REPORT = Path(__file__).parent / "report.md"


def _measures(seed: int) -> dict[str, tuple[Measure, int]]:
    """Name -> (what measures it, how many rounds it has by default)."""
    return {
        "recovery.kill": (recovery.kill_to_resumed, 20),
        "recovery.freeze": (recovery.freeze_to_resumed, 20),
        "recovery.nats": (recovery.nats_restarts, 20),
        "steps": (steps.resume_of_2000_steps, 5),
        "recovery.links": (lambda rounds, say: recovery.link_cuts(rounds, say, seed=seed), 50),
        **{name: (partial(streams.measure, case), 5) for name, case in CASES.items()},
    }


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> int:
    """Run what was asked for. Returns 1 when a figure is not what it should be."""
    seed = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
    measures = _measures(seed)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", help=f"one or more of: {', '.join(measures)}, or the part before the dot")
    wanted = parser.parse_args().only
    chosen = {
        name: each for name, each in measures.items() if not wanted or name in wanted or name.split(".")[0] in wanted
    }
    if not chosen:
        parser.error(f"nothing is called {' '.join(wanted)}; there are: {', '.join(measures)}")
    rows: list[Row] = []
    for name, (measure, rounds_default) in chosen.items():
        rounds = int(os.environ.get("ROUNDS") or rounds_default)
        print(f"{name}, {rounds} rounds", flush=True)
        rows += asyncio.run(measure(rounds, _say))
    table = "\n".join(["| what | measured | wanted | holds |", "|---|---|---|---|", *(row.line() for row in rows)])
    load = os.getloadavg()[0]
    report = f"# Report\n\n{versions()}. {os.cpu_count()} cores, load at the end {load:.1f}, seed {seed}.\n\n{table}\n"
    _REPORT.write_text(report, encoding="utf-8")
    print(f"\n{table}\n\nwritten to {_REPORT.relative_to(Path.cwd())}")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
