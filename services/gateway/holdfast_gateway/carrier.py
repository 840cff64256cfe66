"""The gateway's two connections to NATS: one that tails logs and appends to them, and FastStream's for requests and controls.

They connect in the background, for as long as it takes: a gateway that starts while NATS is away serves what the record alone can
answer. Streams are made or checked at each connect; what is wrong with them is shown by readiness and tried again (F08, F38).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.js.errors import APIError

from holdfast.bus import topology
from holdfast.bus.connection import Link, close, connect, make_broker, start
from holdfast.errors import BusUnavailable
from holdfast.logs import get_logger
from holdfast.settings import GatewaySettings

log = get_logger(__name__)
_STOP_TIMEOUT_S = 1.0
_TOPOLOGY_RETRY_S = 1.0
_TOPOLOGY_CHECK_S = 15.0


class Carrier:
    """Both connections. What needs one that is not there raises :class:`BusUnavailable` at once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self.on_change: Callable[[bool], None] = lambda _: None
        self._link = Link("gateway", self._changed)
        self._request_link = Link("gateway requests")
        self._client: Client | None = None
        self._broker: NatsBroker | None = None
        self._check_streams = asyncio.Event()
        self._streams_problem: str | None = "the streams have not been checked yet"

    def _changed(self, up: bool) -> None:
        if up:
            self._check_streams.set()
        self.on_change(up)

    @property
    def client(self) -> Client:
        """The connection that tails and appends. It keeps nothing for later: what was given up on never lands.

        Raises:
            BusUnavailable: it is not there.
        """
        if self._client is None or not self._link.up:
            raise BusUnavailable("not connected to NATS")
        return self._client

    @property
    def broker(self) -> NatsBroker:
        """The connection for requests and controls.

        Raises:
            BusUnavailable: it is not there.
        """
        if self._broker is None or not self._request_link.up:
            raise BusUnavailable("not connected to NATS")
        return self._broker

    def problems(self) -> list[str]:
        """What is not right with NATS, in words for an operator."""
        links = [f"no connection to NATS ({link.name})" for link in (self._link, self._request_link) if not link.up]
        return links or ([self._streams_problem] if self._streams_problem else [])

    async def keep_client(self) -> None:
        """Connect, and connect anew when the connection was closed for good (the client does that on an error of the server)."""
        while True:
            self._client = await connect(self._settings.nats_url, self._link, keep_pending=False)
            await self._link.closed.wait()
            log.warning("bus.closed", link=self._link.name)
            self._link = Link("gateway", self._changed)

    async def keep_broker(self) -> None:
        """The same for the connection of requests."""
        while True:
            broker = make_broker(self._settings.nats_url, self._request_link)
            await start(broker, self._request_link)
            self._broker = broker
            await self._request_link.closed.wait()
            log.warning("bus.closed", link=self._request_link.name)
            self._request_link = Link("gateway requests")

    async def keep_streams(self) -> None:
        """Make and check the streams: at each connect, after a failure again soon, and now and then."""
        while True:
            self._streams_problem = await self._ensure_streams()
            pause_s = _TOPOLOGY_RETRY_S if self._streams_problem else _TOPOLOGY_CHECK_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._check_streams.wait()

    async def _ensure_streams(self) -> str | None:
        connected_anew = self._check_streams.is_set()
        self._check_streams.clear()
        try:
            if connected_anew or self._streams_problem is not None or await topology.missing(self.client):
                await topology.ensure(self.client, replicas=self._settings.nats_replicas)
        except (BusUnavailable, APIError) as error:
            return f"the streams in NATS could not be made or checked: {error}"
        return None

    async def close(self) -> None:
        """Close both, without waiting for a server that may be gone. Safe to repeat."""
        if self._client is not None:
            await close(self._client)
        if self._broker is not None:
            with contextlib.suppress(Exception):  # whatever a connection says that is not there any more
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._broker.stop()
