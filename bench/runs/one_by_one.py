"""``python -m bench.runs.one_by_one PORT RUNS``: one run after the other, each followed on the connection that submits it.

Prints one line of JSON: for each kind of event the milliseconds from before the request is sent until the event is at the socket.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from bench.runs.connection import connect, request

_EVENTS = ("run.queued", "run.started", "run.completed")
_WARM_UP = 30
_PAUSE_S = 0.02  # the system is idle again by then


async def _main(port: int, runs: int) -> None:
    marks = {event: f"event: {event}\n".encode() for event in _EVENTS}
    connection = await connect(port, list(marks.values()))
    times: dict[str, list[float]] = {event: [] for event in _EVENTS}
    for number in range(_WARM_UP + runs):
        wanted = request(port, follow=True)
        sent_ns = time.monotonic_ns()
        await connection.ask(wanted)
        if number >= _WARM_UP:
            for event, mark in marks.items():
                times[event].append((connection.seen_ns[mark] - sent_ns) / 1e6)
        await asyncio.sleep(_PAUSE_S)
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2])))
