"""A gateway in this process on real servers, a client, and a runner's hands: everything that a test of the gateway does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

import httpx2
from nats.aio.client import Client

from holdfast.bus import event_log, topology
from holdfast.bus.connection import Link, close, connect
from holdfast.runs import Owner
from holdfast.settings import GatewaySettings
from holdfast.store import Database, owner
from holdfast_gateway.service import Gateway
from holdfast_local.ports import free_ports
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.stream import PLAIN, Stream
from tests.support.wait import wait_until

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
ECHO: tuple[str, str, str, Mapping[str, Any]] = ("echo", "v1", "says it again", {})


class World:
    """``async with World(…) as world``: the gateway is ready. ``world.http`` calls it, ``world.claim`` acts as a runner."""

    def __init__(
        self,
        postgres_url: str,
        nats_url: str,
        *,
        reconcile_interval_s: float = 30.0,
        wait_ready: bool = True,
        **settings: Any,
    ) -> None:
        self.postgres_url, self.nats_url = postgres_url, nats_url
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._wait_ready = wait_ready
        self._settings = GatewaySettings(
            postgres_url=postgres_url,
            nats_url=(nats_url,),
            port=self.port,
            **{"auth": "none", "log_level": "debug", **settings},
        )
        self._reconcile_interval_s = reconcile_interval_s
        self._stop = asyncio.Event()
        self._streams: list[Stream] = []

    async def __aenter__(self) -> Self:
        self.db = Database(self.postgres_url, pool_size=4, timeout_s=5.0)
        self.http = httpx2.AsyncClient(base_url=self.url, timeout=10.0, verify=PLAIN)
        self.gateway = Gateway(self._settings, reconcile_interval_s=self._reconcile_interval_s)
        self._task = asyncio.create_task(self.gateway.run(self._stop))
        self._link = Link("test")
        self._client: Client | None = None
        if self._wait_ready:
            await self.until_ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_streams()
        await self.http.aclose()
        await self.stop()
        if self._client is not None:
            await close(self._client)
        await self.db.close()

    async def close_streams(self) -> None:
        """Close what was opened by :meth:`follow`."""
        while self._streams:
            await self._streams.pop().close()

    async def stop(self) -> None:
        """Stop the gateway and wait for it."""
        self._stop.set()
        await self._task

    def begin_stop(self) -> None:
        """Stop the gateway, and do not wait."""
        self._stop.set()

    async def until_ready(self) -> None:
        """Until /readyz says so."""

        async def ready() -> bool:
            try:
                return (await self.http.get("/readyz")).status_code == 200
            except httpx2.TransportError:
                return False

        await wait_until(ready, description="the gateway is ready")

    async def nats(self) -> Client:
        """A connection of the test's own, as a runner has one."""
        if self._client is None:
            self._client = await connect([self.nats_url], self._link, keep_pending=False)
            await topology.ensure(self._client, replicas=1)
        return self._client

    async def load(self, *agents: tuple[str, str, str, Mapping[str, Any]], pod: str = "runner-1") -> None:
        """Say that a runner has loaded agents: (name, version, description, input schema)."""
        await owner.say_agents(self.db, Owner(pod, UUID(int=1)), "default", agents or (ECHO,))

    async def submit(self, thread: str | None = None, **body: Any) -> dict[str, Any]:
        """Submit a run of ``echo``; returns it."""
        await self.load()
        path = f"/v1/threads/{thread}/runs" if thread is not None else "/v1/runs"
        if thread is not None:
            await self.http.post("/v1/threads", json={"id": thread, "if_exists": "use"})
        answer = await self.http.post(path, json={"agent": "echo", "input": CHAT, **body})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def claim(self, run_id: str, *, pod: str = "runner-1") -> Hands:
        """Claim a run and hold it as a runner would; its run.started or run.resumed is in the log."""
        return await Hands.claim(self.db, await self.nats(), UUID(run_id), pod)

    async def log_end(self, run_id: str) -> event_log.End:
        """The end of a run's log."""
        return await event_log.end(await self.nats(), UUID(run_id))

    async def follow(self, path: str, **headers: str) -> Stream:
        """Open a stream: a run's id, or a path."""
        url = self.url + (path if path.startswith("/") else f"/v1/runs/{path}/events")
        stream = await Stream.open(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
        self._streams.append(stream)
        return stream
