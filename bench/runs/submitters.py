"""``python -m bench.runs.submitters PORT RUNS CONNECTIONS submit|follow``: submits so many runs, one by one on each connection.

Prints one line of JSON: ``first_ns`` and ``last_ns`` (CLOCK_MONOTONIC: the same for all processes) are when the first request was
sent and when the last answer was whole; ``cpu_s`` is what this process has used in between.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from bench.runs.connection import Connection, Refused, connect, request


async def _main(port: int, runs: int, connections: int, mode: str) -> None:
    follow = mode == "follow"
    waiting = iter(range(runs))  # shared: who is free takes the next
    opened = [await connect(port) for _ in range(connections)]

    async def submit(connection: Connection) -> None:
        for _ in waiting:
            answer = await connection.ask(request(port, follow=follow))
            if follow and b"event: run.completed" not in answer:
                raise Refused(f"a run did not complete: {answer[-500:]!r}")

    first_ns, cpu_s = time.monotonic_ns(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for connection in opened:
            group.create_task(submit(connection))
    told = {"first_ns": first_ns, "last_ns": time.monotonic_ns(), "cpu_s": time.process_time() - cpu_s}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
