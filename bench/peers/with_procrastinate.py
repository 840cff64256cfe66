"""procrastinate: an async no-op task.

- Jobs are deferred in batches: its page "Batch defer multiple jobs" recommends that where there are many.
- The worker runs two jobs at once (its default is one): of 2, 4, 8, 16 and 30 the fastest on two cores, since more of them only
  contend. It is woken by LISTEN, and keeps finished jobs: its defaults.
- Its pool has a connection for each job at once and one more: "Mind the size of your PostgreSQL pool" in its discussions says so
  for short jobs. It runs on uvloop, as PgQueuer does.
"""

from __future__ import annotations

import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.tasks import Task

from bench.peers.saying import Submitting, main, ready

_AT_ONCE = 2
_BATCH = 100


def _app(url: str, connections: int) -> tuple[App, Task[[], None, []]]:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=connections, max_size=connections))

    @app.task(name="noop")
    async def noop() -> None: ...

    return app, noop


async def _prepare(url: str) -> None:
    app, _ = _app(url, 1)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def _work(url: str) -> None:
    app, _ = _app(url, _AT_ONCE + 1)
    async with app.open_async():
        ready()
        await app.run_worker_async(concurrency=_AT_ONCE)


async def _submit(url: str, jobs: int) -> None:
    app, noop = _app(url, 1)
    async with app.open_async():
        with Submitting():
            for first in range(0, jobs, _BATCH):
                await noop.batch_defer_async(*({} for _ in range(min(_BATCH, jobs - first))))


if __name__ == "__main__":
    main(
        prepare=lambda url: uvloop.run(_prepare(url)),
        work=lambda url: uvloop.run(_work(url)),
        submit=lambda url, jobs: uvloop.run(_submit(url, jobs)),
    )
