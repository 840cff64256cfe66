"""Fake pods: what a runner looks like from outside, in this process, so that a test can take any part of it away.

A :class:`FakePod` holds its name's key in the bucket, its boot's lock in Postgres and its ping subject, as a runner does. It
runs no agent: what it owns was claimed for it, and nobody works on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from uuid import UUID, uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg

from holdfast.bus import heartbeats, names, topology
from holdfast.bus.connection import Link, close, connect
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.runs import Owner
from holdfast.store.session import Session
from holdfast.wire.messages import Heartbeat


class FakePod:
    """``await pod.start()``; then ``kill``, ``freeze`` and ``thaw``, ``say_goodbye``. A proxy before a server cuts a link."""

    def __init__(
        self, name: str, *, nats_url: str, postgres_url: str, interval_s: float, ttl_s: int, boot: UUID | None = None
    ) -> None:
        self.name = name
        self.boot = boot or uuid4()
        self.owner = Owner(name, self.boot)
        self.replaced_by: UUID | None = None
        self.beats = 0
        self._nats_url, self._postgres_url = nats_url, postgres_url
        self._interval_s, self._ttl_s = interval_s, ttl_s
        self._link = Link(f"pod {name}", self._link_changed)
        self._beat_now = asyncio.Event()
        self._awake = asyncio.Event()
        self._awake.set()
        self._client: Client | None = None
        self._revision = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._life = Heartbeat(
            pod=name, boot=self.boot, started_at="2026-01-01T00:00:00Z", pid=1, host="test", slots=16, version="test"
        )

    async def start(self) -> Self:
        """Connect, and return when the first heartbeat is acknowledged and the lock is held."""
        async with asyncio.timeout(10):
            self._client = await connect([self._nats_url], self._link, keep_pending=False)
            await topology.ensure(self._client, replicas=1)
            await self._client.subscribe(names.ping_subject(self.name, self.boot), cb=self._pong)
            await self._beat(self._life)
        held = asyncio.Event()
        self._tasks = [asyncio.create_task(self._keep_beating()), asyncio.create_task(self._keep_session(held))]
        async with asyncio.timeout(10):
            await held.wait()
        return self

    async def kill(self) -> None:
        """All of it is gone at once, as when the kernel closes a killed process's sockets. Safe to repeat."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await close(self._client)

    def freeze(self) -> None:
        """Connections stay open, and it says nothing more, as under SIGSTOP."""
        self._awake.clear()

    def thaw(self) -> None:
        """It goes on."""
        self._awake.set()
        self._beat_now.set()

    async def say_goodbye(self) -> None:
        """End in good order."""
        await self._beat(self._life.model_copy(update={"goodbye": True}))
        await self.kill()

    def _link_changed(self, up: bool) -> None:
        if up:
            self._beat_now.set()

    async def _pong(self, message: Msg) -> None:
        await self._awake.wait()
        await message.respond(b"pong")

    async def _keep_beating(self) -> None:
        while self.replaced_by is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._beat_now.wait()
            self._beat_now.clear()
            await self._awake.wait()
            with contextlib.suppress(BusUnavailable):
                await self._beat(self._life)

    async def _beat(self, life: Heartbeat) -> None:
        """The name is a lease: another boot in the key ends this one; an expired key does not (F24)."""
        assert self._client is not None
        for _ in range(2):
            try:
                self._revision = await heartbeats.write(
                    self._client, self.name, life, expected=self._revision, ttl_s=self._ttl_s, timeout_s=1.0
                )
            except heartbeats.Refused:
                found = await heartbeats.read(self._client, self.name)
                if self._revision and found.heartbeat is not None and found.heartbeat.boot != self.boot:
                    self.replaced_by = found.heartbeat.boot
                    return
                self._revision = found.revision
            else:
                self.beats += 1
                return

    async def _keep_session(self, held: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                session = await Session.open(self._postgres_url, timeout_s=1.0)
                try:
                    await session.hold_boot(self.boot)
                    held.set()
                    while True:
                        await asyncio.sleep(self._interval_s)
                        await session.check()
                finally:
                    await session.close()
            await asyncio.sleep(0.1)
