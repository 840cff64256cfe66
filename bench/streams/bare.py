"""``python -m bench.streams.bare PORT NATS_URL``: the least that a server of streams in Python can do.

It hears every run's live subject, with the client library that the gateway uses, and writes each message to each socket that
asked for this run: no replay, no order, no record, no keepalive, no limit. The same loop (uvloop), the same kind of sockets, the
same HTTP framing, one process. What the gateway costs beyond this is what it costs to be right.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import nats
import uvloop
from nats.aio.msg import Msg

from holdfast.bus import names

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\nd\r\n: holdfast\n\n\r\n"
)
_LIVE = names.live_subject("")


class Socket(asyncio.Protocol):
    """One viewer's connection."""

    def __init__(self, sockets: dict[str, set[asyncio.Transport]]) -> None:
        self._sockets = sockets
        self._run = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        """The request: its path names the run."""
        self._run = data.split(b"/", 4)[3].decode()
        self._sockets.setdefault(self._run, set()).add(self._transport)
        self._transport.write(_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._sockets.get(self._run, set()).discard(self._transport)


async def _main(port: int, nats_url: str) -> None:
    sockets: dict[str, set[asyncio.Transport]] = {}

    async def hear(message: Msg) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(message.data), message.data)
        for transport in sockets.get(message.subject.removeprefix(_LIVE), ()):
            transport.write(chunk)

    client = await nats.connect(nats_url)
    await client.subscribe(f"{_LIVE}*", cb=hear, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    server = await asyncio.get_running_loop().create_server(lambda: Socket(sockets), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))
