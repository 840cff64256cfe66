"""Connections to NATS, with every option said, and what went wrong translated once.

Library defaults that have bitten: sixty reconnect attempts and then silence for ever; a ping every 120 s, so a frozen server is
noticed after minutes; a publish that timed out is kept and delivered after the reconnect (``pending_size=0`` where that matters).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import nats
import nats.errors
import nats.js.errors
from faststream.nats import NatsBroker
from nats.aio.client import Client

from holdfast.errors import BusUnavailable, Misconfigured
from holdfast.logs import get_logger

log = get_logger(__name__)

_AWAY = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.ConnectionDrainingError,
    nats.errors.NoServersError,
    nats.errors.StaleConnectionError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.ServiceUnavailableError,
    nats.js.errors.ServerError,
    TimeoutError,
    OSError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn "NATS did not do it" into :class:`BusUnavailable`; refusals (a wrong sequence, a full subject) pass as they are."""
    try:
        yield
    except _AWAY as error:
        raise BusUnavailable(f"NATS did not answer: {type(error).__name__}: {error}") from error


class Link:
    """What is known of one connection: is it up, and since which change. Callbacks run in the loop of the connection."""

    def __init__(self, name: str, on_change: Callable[[bool], None] | None = None) -> None:
        self.name = name
        self.up = False
        self.generation = 0
        self.closed = asyncio.Event()
        self._on_change = on_change

    def _set(self, up: bool) -> None:
        self.up = up
        if up:
            self.generation += 1
        if self._on_change is not None:
            self._on_change(up)

    def options(self, urls: Sequence[str]) -> dict[str, Any]:
        """The options of a connection that reports here."""

        async def disconnected() -> None:
            if self.up:
                log.warning("bus.disconnected", link=self.name)
                self._set(False)

        async def reconnected() -> None:
            log.info("bus.reconnected", link=self.name)
            self._set(True)

        async def closed() -> None:
            if self.up:
                self._set(False)
            self.closed.set()

        async def error(problem: Exception) -> None:
            log.debug("bus.error", link=self.name, error=repr(problem))

        return {
            "servers": list(urls),
            "name": f"holdfast {self.name}",
            "disconnected_cb": disconnected,
            "reconnected_cb": reconnected,
            "closed_cb": closed,
            "error_cb": error,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "connect_timeout": 2,
            "ping_interval": 1,
            "max_outstanding_pings": 2,
            "drain_timeout": 2,
        }

    def connected(self) -> None:
        """The first connect has succeeded."""
        self._set(True)


@contextmanager
def _login() -> Iterator[None]:
    """A server that refuses the login will refuse it again."""
    try:
        yield
    except nats.errors.Error as error:
        raise Misconfigured(f"NATS refuses the connection: {error}: check HOLDFAST_NATS_URL") from error


async def connect(urls: Sequence[str], link: Link, *, keep_pending: bool = True) -> Client:
    """Connect; tries for ever while the server is away (cancel it, or bound it with a timeout).

    Args:
        urls: the servers.
        link: where the connection's state is told.
        keep_pending: False for a connection whose publishes must not land after they were given up.

    Raises:
        Misconfigured: the server refuses the login.
    """
    options = link.options(urls)
    if not keep_pending:
        options["pending_size"] = 0
    with _login():
        client = await nats.connect(**options)
    link.connected()
    return client


def make_broker(urls: Sequence[str], link: Link) -> NatsBroker:
    """A FastStream broker with the same options, not started: register subscribers, then ``await start(broker, link)``."""
    return NatsBroker(**link.options(urls), logger=None)


async def start(broker: NatsBroker, link: Link) -> Client:
    """Start a broker; returns its connection."""
    with _login():
        await broker.start()
    link.connected()
    return broker.connection


async def stop(broker: NatsBroker) -> None:
    """Stop a broker. Its connection is closed first, since draining it waits for a server that may be gone."""
    try:
        async with asyncio.timeout(2.0):
            await broker.connection.close()
            await broker.stop()
    except Exception as error:  # a broker that will not stop must not keep a process alive
        log.debug("bus.stop_failed", error=repr(error))


async def close(client: Client) -> None:
    """Close without waiting for a server that may be gone."""
    try:
        async with asyncio.timeout(2.0):
            await client.close()
    except Exception as error:  # as in `stop`
        log.debug("bus.close_failed", error=repr(error))
