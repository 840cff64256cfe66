"""One address before several gateways: each connection goes to the first one that takes connections."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

_CHUNK_BYTES_MAX = 64 * 1024


class Balancer:
    """``async with Balancer([port, …]) as balancer``. It is made for one client, which connects anew."""

    def __init__(self, targets: list[int]) -> None:
        self._targets = targets
        self.port = 0
        self._links: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Reset what is open."""
        for link in list(self._links):
            link.abort()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._links.add(writer.transport)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # asyncio.Server owns this task and would log a cancellation
        finally:
            writer.transport.abort()
            self._links.discard(writer.transport)
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in self._targets:
            with contextlib.suppress(ConnectionRefusedError):
                upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            return
        pumps = [
            asyncio.create_task(_pump(reader, upstream_writer)),
            asyncio.create_task(_pump(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(pumps, timeout=0.2)  # what is on its way still
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            upstream_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES_MAX):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
