"""The reaper's two connections to NATS: one that watches, pings and tells, and FastStream's for requests.

They connect in the background and for as long as it takes: a reaper that starts while NATS is away is not ready, and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from nats.aio.client import Client

from holdfast.bus import event_log, requests
from holdfast.bus.connection import Link, close, connect, make_broker, start
from holdfast.errors import BusUnavailable
from holdfast.runs import EventId

_STOP_TIMEOUT_S = 1.0


class Carrier:
    """Both connections. What needs one that is not there raises :class:`BusUnavailable` at once."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.on_change: Callable[[bool], None] = lambda _: None
        self._link = Link("reaper", self._changed)
        self._request_link = Link("reaper requests")
        self._broker = make_broker(urls, self._request_link)
        self._client: Client | None = None

    def _changed(self, up: bool) -> None:
        self.on_change(up)

    @property
    def up(self) -> bool:
        """Whether the watching connection is there."""
        return self._link.up

    @property
    def client(self) -> Client:
        """The connection that watches.

        Raises:
            BusUnavailable: it is not there.
        """
        if self._client is None or not self._link.up:
            raise BusUnavailable("not connected to NATS")
        return self._client

    async def keep_watching(self) -> None:
        """Connect; return only, by raising :class:`BusUnavailable`, when the connection is closed for good."""
        # nothing of this connection may land later than it was given up: a heartbeat would vouch for a sight that was not there
        self._client = await connect(self._urls, self._link, keep_pending=False)
        await self._link.closed.wait()
        raise BusUnavailable("the connection to NATS was closed for good")

    async def keep_requesting(self) -> None:
        """The same for the connection of requests."""
        await start(self._broker, self._request_link)
        await self._request_link.closed.wait()
        raise BusUnavailable("the connection to NATS for requests was closed for good")

    async def request(self, pool: str, run_id: UUID) -> bool:
        """Ask for a runner; False when the run has a request already.

        Raises:
            BusUnavailable: nobody knows whether the request is there.
        """
        if not self._request_link.up:
            raise BusUnavailable("not connected to NATS for requests")
        return await requests.publish(self._broker, pool, run_id)

    async def tell(self, run_id: UUID, event_id: EventId, event_type: str, data: Mapping[str, Any]) -> None:
        """Append a stranger's event to a run's log.

        Raises:
            BusUnavailable: not told, or not known to be.
        """
        await event_log.tell(self.client, run_id, event_id, event_type, data)

    def problems(self) -> list[str]:
        """What is not connected, in words."""
        links = (self._link, self._request_link)
        return [f"no connection to NATS ({link.name})" for link in links if not link.up]

    async def close(self) -> None:
        """Close both, without waiting for a server that may be gone. Safe to repeat."""
        if self._client is not None:
            await close(self._client)
        with contextlib.suppress(Exception):  # whatever a connection says that is not there any more
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._broker.stop()
