"""The gateway as a service: which parts it is made of, how they are joined, how it starts, drains and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from holdfast import http
from holdfast.logs import get_logger
from holdfast.service import Service, health_endpoint, run_beside
from holdfast.settings import GatewaySettings
from holdfast_gateway.agents import Agents
from holdfast_gateway.announcing import Announcer
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.connections import Connections
from holdfast_gateway.feed.reader import Feed
from holdfast_gateway.http.app import make_app
from holdfast_gateway.parts import Parts
from holdfast_gateway.polling import Polls
from holdfast_gateway.record import Record
from holdfast_gateway.tails import Tails
from holdfast_gateway.webhooks.delivering import deliverer
from holdfast_gateway.webhooks.gate import Gate
from holdfast_gateway.webhooks.targets import Names

log = get_logger(__name__)


class Gateway:
    """One replica. It serves as soon as it listens; what it cannot do yet, readiness and each answer say."""

    def __init__(
        self, settings: GatewaySettings, *, reconcile_interval_s: float = 10.0, idle_reread_s: float = 1.0
    ) -> None:
        record = Record(settings)
        carrier = Carrier(settings)
        tails = Tails(
            record.db, carrier, settings, reconcile_interval_s=reconcile_interval_s, idle_reread_s=idle_reread_s
        )
        carrier.on_change = tails.link_changed
        self._settings = settings
        self._names = Names()
        draining = asyncio.Event()
        self._parts = Parts(
            settings=settings,
            record=record,
            carrier=carrier,
            tails=tails,
            agents=Agents(record),
            announcer=Announcer(record, carrier),
            connections=Connections(settings.streams_per_key_max),
            polls=Polls(tails, settings, draining),
            feed=Feed(record.db, carrier, settings),
            webhook_gate=Gate(self._names, private=settings.webhook_private_addresses),
            draining=draining,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain. A part that dies ends the whole with its error."""
        settings, parts = self._settings, self._parts
        serving = http.serving(
            make_app(parts, self), settings.host, settings.port, stop_timeout_s=settings.drain_grace_s
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part, name=name) for name, part in self._sides().items()]
                async with health_endpoint(self, settings), serving:
                    log.info("gateway.listening", host=settings.host, port=settings.port)
                    await stop.wait()
                    # Streams are reset now. Leaving the block stops accepting and lets other requests finish within the grace.
                    log.info("gateway.draining")
                    parts.draining.set()
                for task in tasks:
                    task.cancel()
        finally:
            self._names.close()
            await parts.carrier.close()
            await parts.record.close()

    def _sides(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What ends when it is cancelled; deliveries take a cancel as the beginning of their grace, and no second one."""
        parts = self._parts
        sending = deliverer(self._settings, parts.record, self._names, parts.draining)
        return {"keepers": run_beside(self._keepers()), "webhooks": sending.keep()}

    def _keepers(self) -> dict[str, Coroutine[Any, Any, None]]:
        parts = self._parts
        return {
            "record": parts.record.keep(),
            "client": parts.carrier.keep_client(),
            "broker": parts.carrier.keep_broker(),
            "streams": parts.carrier.keep_streams(),
            "tails": parts.tails.keep_true(),
            "feed": parts.feed.keep(),
        }

    @property
    def followed(self) -> int:
        """How many runs are followed now."""
        return self._parts.tails.count

    async def not_ready(self) -> list[str]:
        """Why it cannot serve now, in words for an operator."""
        draining = ["draining"] if self._parts.draining.is_set() else []
        return [*draining, *await self._parts.record.problems(), *self._parts.carrier.problems()]


def build(settings: GatewaySettings) -> Service:
    """The composition root."""
    return Gateway(settings)
