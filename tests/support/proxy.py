"""A TCP proxy on loopback whose links can be cut, stalled, or cut at a chosen moment.

It forwards bytes and knows no protocol. What is stalled is not read, so the sockets' own buffers bound it, and arrives later,
even when the sender has given up and gone: a late write. What is cut is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK_BYTES_MAX = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Direction(enum.Enum):
    """Which way bytes go."""

    UP = "to the server"
    DOWN = "to the client"


@dataclass(eq=False)
class _Link:
    """One client's connection with its connection to the server, and a gate for each direction."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    gates: dict[Direction, asyncio.Event] = field(default_factory=lambda: {each: asyncio.Event() for each in Direction})
    is_reset: bool = False

    def reset(self) -> None:
        """Both ends see "connection reset"; what was on its way is lost, and whoever waits at a gate finds that out."""
        self.is_reset = True
        for gate in self.gates.values():
            gate.set()
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


@dataclass(eq=False)
class _Trap:
    direction: Direction
    matches: Callable[[bytes], bool]
    sprung: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """``async with Proxy(host, port) as proxy``: clients connect to ``127.0.0.1:proxy.port``, or to ``proxy.url(...)``.

    All of it is used from one event loop. At the start everything is forwarded. ``links_ever`` counts the connections taken.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = target_host, target_port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._traps: list[_Trap] = []
        self._stalled: set[Direction] = set()
        self._is_cut = False
        self.port = 0
        self.links_ever = 0

    @classmethod
    def before(cls, url: str) -> Self:
        """A proxy for the server of ``url``, which names host and port."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port)

    def url(self, target_url: str) -> str:
        """``target_url`` by way of this proxy."""
        parts = urlsplit(target_url)
        login = parts.netloc.rpartition("@")[0]
        address = f"127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=f"{login}@{address}" if login else address))

    @property
    def links(self) -> int:
        """How many connections are open."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset what is open; until ``restore`` every new connection is reset as soon as it is made."""
        self._is_cut = True
        self.reset()

    def restore(self) -> None:
        """Take new connections again."""
        self._is_cut = False

    def reset(self) -> None:
        """Reset what is open; new connections are served."""
        for link in list(self._links):
            link.reset()

    def stall(self, *directions: Direction, new_links: bool = True) -> None:
        """Hold bytes back in these directions (none named: both), as a cut cable does: nobody is told.

        With ``new_links=False`` only connections that are open now are held, and a client that connects anew gets through.
        """
        for direction in directions or tuple(Direction):
            for link in self._links:
                link.gates[direction].clear()
            if new_links:
                self._stalled.add(direction)

    def resume(self) -> None:
        """End every stall: what was held arrives now."""
        self._stalled.clear()
        for link in self._links:
            for gate in link.gates.values():
                gate.set()

    def cut_when(self, direction: Direction, matches: Callable[[bytes], bool]) -> asyncio.Event:
        """Once: the first chunk in ``direction`` that ``matches`` is thrown away and its connection reset.

        ``Direction.UP`` loses a request before the server has it; ``Direction.DOWN`` loses the answer to one that was carried
        out. Returns the event that is set when it has happened.
        """
        trap = _Trap(direction, matches)
        self._traps.append(trap)
        return trap.sprung

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.links_ever += 1
        link = _Link(writers=[writer])
        self._links.add(link)
        try:
            if not self._is_cut:
                await self._join(link, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # asyncio.Server owns this task and would log a cancellation; stopping ends it on purpose
        finally:
            link.reset()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _join(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for direction in Direction:
            if direction not in self._stalled:
                link.gates[direction].set()
        await link.gates[Direction.UP].wait()
        if link.is_reset:
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        link.writers.append(upstream_writer)
        pumps = [
            asyncio.create_task(self._pump(link, Direction.UP, reader, upstream_writer)),
            asyncio.create_task(self._pump(link, Direction.DOWN, upstream_reader, writer)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump(
        self, link: _Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        gate = link.gates[direction]
        while True:
            await gate.wait()
            chunk = await reader.read(_CHUNK_BYTES_MAX)
            await gate.wait()  # it may have closed during the read
            if not chunk or link.is_reset:
                break
            if self._springs(direction, chunk):
                link.reset()
                return
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _springs(self, direction: Direction, chunk: bytes) -> bool:
        for trap in self._traps:
            if trap.direction is direction and trap.matches(chunk):
                self._traps.remove(trap)
                trap.sprung.set()
                return True
        return False
