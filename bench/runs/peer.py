"""A peer as it is compared: its programs (``bench.peers``) in an environment of their own, on a database of the same Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.runs.system import Program, Taken, all_ended
from bench.runs.used import Split
from tests.support.stack import Stack

PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Kind:
    """Which peer, and how its own record says that jobs are left, and how many it has ended well."""

    name: str
    distribution: str
    module: str
    some_left: str
    ended: str


PROCRASTINATE = Kind(
    "procrastinate",
    "procrastinate",
    "bench.peers.with_procrastinate",
    "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
    "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
)
DBOS = Kind(
    "DBOS",
    "dbos",
    "bench.peers.with_dbos",
    "SELECT EXISTS (SELECT 1 FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING'))",
    "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
)
PGQUEUER = Kind(
    "PgQueuer",
    "pgqueuer",
    "bench.peers.with_pgqueuer",
    "SELECT EXISTS (SELECT 1 FROM pgqueuer)",  # it deletes what has ended, and keeps it in its log
    "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
)
KINDS = (PROCRASTINATE, DBOS, PGQUEUER)


class Peer:
    """One peer on a stack's Postgres, with so many worker processes."""

    def __init__(self, stack: Stack, kind: Kind, workers: int) -> None:
        self._stack, self._kind, self._workers = stack, kind, workers
        self._running: list[Program] = []

    async def start(self) -> None:
        """Make its database when there is none, start its workers."""
        database = f"peer_{self._kind.distribution}"
        server = await asyncpg.connect(self._stack.postgres.url)
        try:
            known = await server.fetchval("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)", database)
            if not known:
                await server.execute(f"CREATE DATABASE {database}")
        finally:
            await server.close()
        self._url = self._stack.postgres.url.removesuffix("/postgres") + f"/{database}"
        if not known:
            await self._program("prepare").succeeded()
        self._running = [self._program("work", number=number) for number in range(self._workers)]
        for program in self._running:
            await program.until_says("ready")
        self._record = await asyncpg.connect(self._url)

    async def stop(self) -> None:
        """End its workers."""
        await self._record.close()
        self.kill()

    def kill(self) -> None:
        """End whatever of it runs."""
        for program in self._running:
            program.kill()
        self._running = []

    async def turn(self, jobs: int) -> Taken:
        """Submit so many jobs, and wait until its record has ended all of them."""
        assert self._stack.postgres.pid is not None
        split = Split({"workers": [each.pid for each in self._running], "Postgres": [self._stack.postgres.pid]})
        return await all_ended(lambda: self._program("submit", str(jobs)), jobs, self, split)

    async def ended(self) -> int:
        """See ``Record``."""
        return int(await self._record.fetchval(self._kind.ended))

    async def some_left(self) -> bool:
        """See ``Record``."""
        return bool(await self._record.fetchval(self._kind.some_left))

    def _program(self, what: str, *arguments: str, number: int = 0) -> Program:
        command = [str(PYTHON), "-m", self._kind.module, what, self._url, *arguments]
        return Program(command, self._stack.folder / f"{self._kind.distribution}-{what}-{number}.log")
