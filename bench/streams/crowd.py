"""The viewers of one server, as whoever measures it holds them; and the processes that a bench starts."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.streams.board import Board
from bench.streams.writer import Log
from holdfast_local.child import Child
from tests.support.wait import wait_until

PATIENCE_S = 180.0
_PROBES_MAX = 40
_VIEWERS = "bench.streams.viewers"


class Children:
    """The processes and files of one round, in a folder that goes with the servers' own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._started: list[Child] = []
        self._paths = 0

    def start(self, module: str, *arguments: str) -> Child:
        """Run a module of the bench."""
        child = Child(
            [sys.executable, "-m", module, *arguments],
            log_path=self._folder / f"{module}.log",
            cwd=Path(__file__).parents[2],
        )
        self._started.append(child)
        return child

    def path(self, kind: str) -> Path:
        """A path where nothing is yet."""
        self._paths += 1
        return self._folder / f"{kind}-{self._name}-{self._paths}"

    def said(self, module: str) -> str:
        """The end of what a module's processes have printed."""
        return (self._folder / f"{module}.log").read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """Kill all of them."""
        for child in self._started:
            child.kill()


class Viewers:
    """All viewers of one server: a crowd that only counts, and a few that look at their watch, each a process of its own."""

    def __init__(self, children: Children, port: int, logs: list[Log], count: int) -> None:
        self._children = children
        paths = [f"/v1/runs/{log.lease.run_id}/events" for log in logs] * (count // len(logs))
        probes = min(_PROBES_MAX, count)
        self._count = count
        self._open = ExitStack()
        self._crowds = [
            self._watch(children, port, some, kind)
            for some, kind in ((paths[:probes], ["sample"]), (paths[probes:], []))
            if some
        ]
        self.probes = self._crowds[0][1]

    def _watch(self, children: Children, port: int, paths: list[str], kind: list[str]) -> tuple[Child, Board]:
        wanted, shared = children.path("paths"), children.path("board")
        wanted.write_text("\n".join(paths), encoding="utf-8")
        board = self._open.enter_context(Board(shared))
        child = children.start(_VIEWERS, str(port), str(wanted), str(shared), *kind)
        self._open.callback(child.kill)
        return child, board

    def __enter__(self) -> Viewers:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [child.pid for child, _ in self._crowds]

    @property
    def received(self) -> int:
        """Events, over all viewers."""
        return sum(board.received for _, board in self._crowds)

    @property
    def refused(self) -> int:
        """How often one of them was refused, and came again."""
        return sum(board.refused for _, board in self._crowds)

    @property
    def lost(self) -> int:
        """Connections that have ended."""
        return sum(board.lost for _, board in self._crowds)

    async def connected(self) -> float:
        """Wait until all streams are open; returns the seconds from the first to the last."""
        loop = asyncio.get_running_loop()

        def some() -> int:
            self._check()
            return sum(board.connected for _, board in self._crowds)

        await wait_until(lambda: some() > 0, description="the first viewer is connected", timeout_s=30.0)
        began_at = loop.time()
        await wait_until(lambda: some() == self._count, description="all are connected", timeout_s=PATIENCE_S)
        return loop.time() - began_at

    async def have(self, events: int) -> None:
        """Wait until so many events have come."""

        def came() -> bool:
            self._check()
            return self.received >= events

        await wait_until(came, description=f"{events} events at {self._count} viewers", timeout_s=PATIENCE_S)

    def _check(self) -> None:
        lost = self.lost > 0 or any(child.exit_code is not None for child, _ in self._crowds)
        assert not lost, f"a viewer has lost its stream: {self._children.said(_VIEWERS)}"
