"""Holdfast as it is compared: one gateway, one reaper, so many runners; runs submitted over HTTP.

Default settings, but for a runner's slots: docs/operations.md recommends more for short runs, as the peers' docs do for theirs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import asyncpg

from bench.runs.system import Program, Taken, all_ended
from bench.runs.used import Split
from tests.support.stack import Stack

CONNECTIONS = 32
SLOTS = "64"
_FOLLOWED_AT_ONCE = 64  # a connection that follows is taken until its run has ended
_AGENT = str(Path(__file__).with_name("noop.py"))
_SOME_LEFT = (
    "SELECT EXISTS (SELECT 1 FROM runs WHERE status = 'queued') OR EXISTS (SELECT 1 FROM runs WHERE status = 'running')"
)
_COMPLETED = "SELECT count(*) FROM runs WHERE status = 'completed'"


class Holdfast:
    """One Holdfast on a stack's servers. A turn's mode: ``submit``, or ``follow`` (each run's events reach a client, too)."""

    def __init__(self, stack: Stack, runners: int) -> None:
        self._stack, self._runners = stack, runners
        self._names: list[str] = []

    async def start(self) -> None:
        """Start its services."""
        for kind, count in (("gateway", 1), ("runner", self._runners), ("reaper", 1)):
            for number in range(1, count + 1):
                name = f"{kind}-{number}"
                self._names.append(name)
                await self._stack.add(
                    kind, name, {"HOLDFAST_AGENTS": _AGENT, "HOLDFAST_SLOTS": SLOTS} if kind == "runner" else {}
                )
        self._record = await asyncpg.connect(self._stack.postgres.url)

    async def stop(self) -> None:
        """Stop them in good order: the next system shall find an idle machine."""
        await self._record.close()
        for name in self._names:
            await self._stack.services.pop(name).stop()
        self._names = []

    def kill(self) -> None:
        """End whatever of it runs."""
        for name in self._names:
            if name in self._stack.services:
                self._stack.services.pop(name).kill()
        self._names = []

    def port(self) -> int:
        """The gateway's."""
        return int(self._stack.services["gateway-1"].where.rpartition(":")[2])

    def pids(self) -> dict[str, list[int]]:
        """Its processes, by part."""
        servers = {"Postgres": self._stack.postgres.pid, "NATS": self._stack.nats.pid}
        parts: dict[str, list[int]] = {"gateway": [], "runners": [], "reaper": []}
        for name in self._names:
            part = "runners" if name.startswith("runner") else name.partition("-")[0]
            parts[part].append(_alive(self._stack.services[name].pid, name))
        return parts | {part: [_alive(pid, part)] for part, pid in servers.items()}

    async def turn(self, jobs: int, mode: str = "submit") -> Taken:
        """Submit so many runs, and wait until the record has ended all of them."""
        connections = CONNECTIONS if mode == "submit" else _FOLLOWED_AT_ONCE
        split = Split(self.pids())
        command = [sys.executable, "-m", "bench.runs.submitters", str(self.port()), str(jobs), str(connections), mode]
        log_path = self._stack.folder / "submitters.log"
        return await all_ended(lambda: Program(command, log_path), jobs, self, split)

    async def ended(self) -> int:
        """See ``Record``."""
        return int(await self._record.fetchval(_COMPLETED))

    async def some_left(self) -> bool:
        """See ``Record``."""
        return bool(await self._record.fetchval(_SOME_LEFT))


def _alive(pid: int | None, name: str) -> int:
    if pid is None:
        raise RuntimeError(f"{name} has ended")
    return pid
