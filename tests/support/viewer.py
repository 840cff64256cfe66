"""A viewer of a run's stream over real HTTP: reconnects with its cursor, folds what it sees, remembers when."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from holdfast.runs import Fold
from holdfast.wire.events import Event, decode
from tests.support.wait import wait_until


@dataclass
class Viewer:
    """Follows one run. ``url`` is asked for at each connect, so that a viewer may move to another gateway."""

    url: Callable[[], str]
    run_id: str
    fold: Fold = field(default_factory=Fold)
    events: list[tuple[float, Event]] = field(default_factory=list)
    duplicates: int = 0
    connects: int = 0
    ended: bool = False

    async def follow(self, *, timeout_s: float = 60.0) -> None:
        """Read to the end of the stream, over as many connections as it takes."""
        async with asyncio.timeout(timeout_s), httpx2.AsyncClient(timeout=httpx2.Timeout(5.0, read=15.0)) as client:
            while not self.ended:
                try:
                    await self._connect(client)
                except httpx2.HTTPError:
                    await asyncio.sleep(0.05)  # a pause between connects, as any client makes

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow meanwhile."""
        task = asyncio.create_task(self.follow(timeout_s=300))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _connect(self, client: httpx2.AsyncClient) -> None:
        self.connects += 1
        headers = {"Accept": "text/event-stream"}
        if self.fold.last_id is not None:
            headers["Last-Event-ID"] = str(self.fold.last_id)
        async with client.stream("GET", f"{self.url()}/v1/runs/{self.run_id}/events", headers=headers) as answer:
            answer.raise_for_status()
            buffer = b""
            async for chunk in answer.aiter_bytes():
                buffer += chunk
                while (end := buffer.find(b"\n\n")) >= 0:
                    self._take(buffer[: end + 2])
                    buffer = buffer[end + 2 :]
            self.ended = True

    def _take(self, frame: bytes) -> None:
        if frame.startswith(b":"):
            return
        event = decode(frame)
        self.events.append((time.monotonic(), event))
        if not self.fold.apply(event.id, event.type, event.data):
            self.duplicates += 1

    def types(self) -> list[str]:
        """The types of all events, as they came."""
        return [event.type for _, event in self.events]

    def first(self, event_type: str) -> tuple[float, Event]:
        """When the first event of a type came, and the event."""
        return next((at, event) for at, event in self.events if event.type == event_type)

    async def until(self, event_type: str, *, count: int = 1, timeout_s: float = 20.0) -> None:
        """Wait until so many events of a type have come."""
        await wait_until(
            lambda: self.types().count(event_type) >= count,
            description=f"{count} x {event_type} in the stream of {self.run_id}",
            timeout_s=timeout_s,
        )
