"""A client's connection as cheap as it can be: HTTP/1.1 kept alive, one request at a time, bytes looked at as little as possible.

An HTTP library takes a millisecond of computing time for each request, more than what is to be measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast
from uuid import uuid4

_BODY = b'{"agent":"noop","input":{}}'
_END_OF_STREAM = b"0\r\n\r\n"
_LENGTH = b"content-length:"


class Refused(Exception):
    """The server's answer was not what was asked for; the message is its beginning."""


def request(port: int, *, follow: bool) -> bytes:
    """A submit under a key of its own, answered at once, or (``follow``) with the run's events until it has ended."""
    accept = "text/event-stream" if follow else "application/json"
    head = (
        f"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {uuid4()}\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    )
    return head.encode() + _BODY


class Connection(asyncio.Protocol):
    """``await connection.ask(request)`` returns the whole answer. ``marks``: bytes whose first arrival is timed."""

    def __init__(self, marks: Sequence[bytes] = ()) -> None:
        self._marks = marks
        self._answer = b""
        self._done: asyncio.Future[bytes] | None = None
        self.seen_ns: dict[bytes, int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no class of asyncio's

    async def ask(self, wanted: bytes) -> bytes:
        """Send a request and wait for the end of its answer.

        Raises:
            Refused: the answer is not a 2xx, or there is none.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._answer = b""
        self.seen_ns = {}
        self._transport.write(wanted)
        return await self._done

    def data_received(self, data: bytes) -> None:
        """Gather until the answer is whole."""
        self._answer += data
        for mark in self._marks:
            if mark not in self.seen_ns and mark in self._answer:
                self.seen_ns[mark] = time.monotonic_ns()
        if self._done is not None and not self._done.done() and _is_whole(self._answer):
            if self._answer.startswith(b"HTTP/1.1 2"):
                self._done.set_result(self._answer)
            else:
                self._done.set_exception(Refused(self._answer[:1000].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """A server of the bench never closes first."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(Refused(f"closed: {exc!r} after {self._answer[-300:]!r}"))


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        return answer.endswith(_END_OF_STREAM)
    length = head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]
    return len(answer) >= end + 4 + int(length)


async def connect(port: int, marks: Sequence[bytes] = ()) -> Connection:
    """A new connection to a gateway on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(marks), "127.0.0.1", port)
    return connection
