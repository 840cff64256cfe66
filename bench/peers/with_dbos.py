"""DBOS: a no-op workflow without a step, on a queue.

- The queue has no limits (its page "Queues & Concurrency"): a worker takes all that is there at each poll. Nothing wakes a
  worker, it polls: every second by default, here every 50 ms (``polling_interval_sec``), or the poll were all that is measured.
- The workflow is a plain function, as in its own examples: as a coroutine it was slower here.
- Jobs come from its client, which it recommends for other processes. It has no call for many jobs, but one that takes a
  transaction: two threads enqueue a hundred in each (a seventh faster than four that enqueue one by one, of which more were no
  faster).
- Each process has an ``executor_id`` of its own, as its page on queues asks for.
"""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench.peers.saying import Submitting, main, ready

_QUEUE = "bench"
_THREADS = 2
_BATCH = 100
_POLL_S = 0.05


def _launch(url: str) -> DBOS:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "application_version": "1",
        "executor_id": f"bench-{os.getpid()}",
        "log_level": "WARNING",
    }
    dbos = DBOS(config=config)

    @DBOS.workflow(name="noop")
    def noop() -> None: ...

    DBOS.launch()
    DBOS.register_queue(_QUEUE, polling_interval_sec=_POLL_S)
    return dbos


def _prepare(url: str) -> None:
    _launch(url)
    DBOS.destroy()


def _work(url: str) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    _launch(url)
    ready()
    ended.wait()
    DBOS.destroy()


def _submit(url: str, jobs: int) -> None:
    client = DBOSClient(system_database_url=url)
    options: EnqueueOptions = {"queue_name": _QUEUE, "workflow_name": "noop", "app_version": "1"}
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))

    def enqueue(some: int) -> None:
        with engine.begin() as transaction:
            for _ in range(some):
                client.enqueue_in_transaction(transaction, options)

    with ThreadPoolExecutor(_THREADS) as threads, Submitting():
        for _ in threads.map(enqueue, (min(_BATCH, jobs - first) for first in range(0, jobs, _BATCH))):
            pass
    engine.dispose()
    client.destroy()


if __name__ == "__main__":
    main(prepare=_prepare, work=_work, submit=_submit)
