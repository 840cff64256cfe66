"""PgQueuer: an async no-op entrypoint, from its page "Performance Tuning".

- Tables are ``durable``, its default (the faster levels lose jobs in a crash), with the autovacuum settings that it recommends.
- A worker has one connection of its own, not a pool, as that page says, by asyncpg and uvloop, as in its own benchmark; a larger
  ``batch_size`` than its default, since jobs are short (of 10, 100, 250 and 500, more than 250 gave no more).
- Jobs are enqueued in lists, which its ``enqueue`` takes and its own benchmark does.
- It ends several jobs in one statement, where they have ended within a moment: each is durable before it counts as done.
"""

from __future__ import annotations

import asyncio
import signal

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.saying import Submitting, main, ready

_BATCH = 250


async def _queries(url: str) -> Queries:
    return Queries(AsyncpgDriver(await asyncpg.connect(url)))


async def _prepare(url: str) -> None:
    queries = await _queries(url)
    await queries.install()
    await queries.optimize_autovacuum()


async def _work(url: str) -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

    @pgq.entrypoint("noop")
    async def noop(job: Job) -> None:
        del job

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pgq.shutdown.set)
    ready()
    await pgq.run(batch_size=_BATCH)


async def _submit(url: str, jobs: int) -> None:
    queries = await _queries(url)
    with Submitting():
        for first in range(0, jobs, _BATCH):
            some = min(_BATCH, jobs - first)
            await queries.enqueue(["noop"] * some, [None] * some, [0] * some)


if __name__ == "__main__":
    main(
        prepare=lambda url: uvloop.run(_prepare(url)),
        work=lambda url: uvloop.run(_work(url)),
        submit=lambda url, jobs: uvloop.run(_submit(url, jobs)),
    )
