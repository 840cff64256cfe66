"""``python -m bench.streams.viewers PORT PATHS BOARD [sample]``: a crowd of viewers, each one connection, as cheap as they come.

``PATHS`` is a file with one path for each viewer. Events are counted by a mark that each holds once, wherever the socket cuts the
bytes. With ``sample``, the time from an event's append to its arrival here is measured too, so that should be a few viewers.
Who is refused tries again after a moment, as any client does; how often that was is counted.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.streams.board import Board
from bench.streams.writer import MARK, STAMP

_CONNECTING_AT_ONCE_MAX = 64
_STAMPED = re.compile(STAMP + rb"(\d+)\D")
_LONGEST_STAMP = 64
_RETRY_PAUSE_S = 0.25


class TryLater(Exception):
    """The server refused the stream; the message is its answer."""


class Crowd:
    """What all viewers of this process have counted."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.connected = self.received = self.lost = self.refused = 0

    def tell(self) -> None:
        """Let the other process see it."""
        self.board.count(self.connected, self.received, self.lost, self.refused)


class Counting(asyncio.Protocol):
    """A viewer that counts events."""

    def __init__(self, crowd: Crowd, request: bytes, opened: asyncio.Future[None]) -> None:
        self._crowd, self._request, self._opened = crowd, request, opened
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no class of asyncio's
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count."""
        self._last = data
        if not self._opened.done():
            self._open(data)
        self._crowd.received += data.count(MARK)
        self._crowd.tell()

    def _open(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 200 "):
            self._opened.set_result(None)
            self._crowd.connected += 1
        else:
            self._opened.set_exception(TryLater(data[:400].decode(errors="replace")))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream of the bench never ends by itself."""
        if not self._opened.done():
            self._opened.set_exception(TryLater(f"closed before the headers: {exc}"))
        elif self._opened.exception() is None:
            print(
                f"stream {self._crowd.lost + 1} has ended: {exc!r}; its last bytes: {self._last[-200:]!r}", flush=True
            )
            self._crowd.lost += 1
            self._crowd.tell()


class Sampling(Counting):
    """A viewer that looks at its watch, too."""

    _rest = b""

    def data_received(self, data: bytes) -> None:
        """Measure what has come whole."""
        now = time.monotonic_ns()
        data_ = self._rest + data
        end = 0
        for match in _STAMPED.finditer(data_):
            self._crowd.board.sample(now - int(match[1]))
            end = match.end()
        self._rest = data_[end:][-_LONGEST_STAMP:]
        super().data_received(data)


async def _main(port: int, paths: list[str], board: Board, kind: type[Counting]) -> None:
    loop = asyncio.get_running_loop()
    crowd = Crowd(board)
    places = asyncio.Semaphore(_CONNECTING_AT_ONCE_MAX)

    async def view(path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        async with places:
            while True:
                opened: asyncio.Future[None] = loop.create_future()
                await loop.create_connection(partial(kind, crowd, request, opened), "127.0.0.1", port)
                try:
                    await opened
                    break
                except TryLater as why:
                    print(why, flush=True)
                    crowd.refused += 1
                    await asyncio.sleep(_RETRY_PAUSE_S)
            crowd.tell()

    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(view(path))
    await asyncio.Event().wait()


if __name__ == "__main__":
    with Board(Path(sys.argv[3])) as shared:
        wanted = Path(sys.argv[2]).read_text(encoding="utf-8").split()
        uvloop.run(_main(int(sys.argv[1]), wanted, shared, Sampling if sys.argv[4:] == ["sample"] else Counting))
