"""One connection of an event stream, read in the background: what came, when, and how it ended."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any, Self

import httpx2

from holdfast.runs import EventId, Fold
from holdfast.wire.events import Event, decode
from tests.support.wait import wait_until

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP alone: each would read the machine's certificates otherwise, which takes long."""


class Stream:
    """``events`` as they came, ``comments``, ``fold`` of the events; ``ended`` is None, ``"clean"`` or ``"cut"``."""

    def __init__(self, client: httpx2.AsyncClient, answer: httpx2.Response) -> None:
        self.answer = answer
        self.frames: list[bytes] = []
        self.events: list[Event] = []
        self.comments: list[tuple[float, bytes]] = []
        self.fold = Fold()
        self.duplicates = 0
        self.ended: str | None = None
        self.paused = asyncio.Event()
        self.paused.set()
        self._client = client
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, *, method: str = "GET", headers: Mapping[str, str], body: Any = None) -> Self:
        """Connect; returns when the headers are there."""
        client = httpx2.AsyncClient(timeout=httpx2.Timeout(10.0, read=60.0), verify=PLAIN)
        request = client.build_request(method, url, headers=dict(headers), json=body)
        return cls(client, await client.send(request, stream=True))

    async def _read(self) -> None:
        buffer = b""
        try:
            async for chunk in self.answer.aiter_raw():
                buffer += chunk
                while (end := buffer.find(b"\n\n")) >= 0:
                    self._take(buffer[: end + 2])
                    buffer = buffer[end + 2 :]
                await self.paused.wait()
        except httpx2.HTTPError:
            self.ended = "cut"
        else:
            self.ended = "clean" if not buffer else "cut"

    def _take(self, frame: bytes) -> None:
        if frame.startswith(b":"):
            self.comments.append((time.monotonic(), frame))
            return
        self.frames.append(frame)
        if b"id: " in frame and frame[4 : frame.index(b"\n")].count(b":"):
            return  # a thread's stream: the ids name the run too
        event = decode(frame)
        self.events.append(event)
        if not self.fold.apply(event.id, event.type, event.data):
            self.duplicates += 1

    @property
    def ids(self) -> list[str]:
        """The ids of all events."""
        return [str(event.id) for event in self.events]

    @property
    def types(self) -> list[str]:
        """The types of all events."""
        return [event.type for event in self.events]

    @property
    def last_id(self) -> EventId | None:
        """The cursor."""
        return self.events[-1].id if self.events else None

    async def until(self, event_type: str, *, count: int = 1) -> None:
        """Wait until so many events of a type have come."""
        await wait_until(lambda: self.types.count(event_type) >= count, description=f"{event_type} in {self.types}")

    async def until_id(self, event_id: str) -> None:
        """Wait for an event."""
        await wait_until(lambda: event_id in self.ids, description=f"{event_id} in {self.ids}")

    async def until_end(self, how: str = "clean", *, timeout_s: float = 10.0) -> None:
        """Wait for the stream's end, and that it is of this kind."""
        await wait_until(lambda: self.ended is not None, description=f"the end after {self.types}", timeout_s=timeout_s)
        assert self.ended == how

    async def close(self) -> None:
        """Go away."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self.answer.aclose()
        await self._client.aclose()
