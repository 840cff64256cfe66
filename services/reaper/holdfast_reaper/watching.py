"""The reaper's view of the heartbeat bucket: the watch, and the heartbeat of its own that proves that the watch shows anything.

The watch is made anew at each reconnect, and when the reaper's own heartbeat stays away although it is connected (an ordered
consumer can fall silent without a word). Each watch has a number; what an earlier one still has in its queue is dropped, so
nothing is seen twice or late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import holdfast
from holdfast.bus import heartbeats, topology
from holdfast.logs import get_logger
from holdfast.settings import ReaperSettings, host_name
from holdfast.wire.messages import Heartbeat
from holdfast_reaper.carrier import Carrier
from holdfast_reaper.evidence import Link
from holdfast_reaper.senses import Senses

log = get_logger(__name__)

_SILENT_INTERVALS = 3
_RETRY_WAIT_S = 0.25


class Watch:
    """Keeps one watch on the bucket, over reconnects."""

    def __init__(self, carrier: Carrier, senses: Senses, settings: ReaperSettings, boot: UUID) -> None:
        self._carrier = carrier
        self._senses = senses
        self._settings = settings
        self._boot = boot
        self._number = 0
        self._wanted = asyncio.Event()
        self._subscription: Any = None
        self._shown_at = 0.0  # when the watch was made or last showed our own heartbeat
        self._own_revision = 0
        self.problem = "the heartbeat bucket is not watched yet"

    def link_changed(self, up: bool) -> None:
        """The connection went or came back: what the present watch still shows does not count."""
        self._number += 1
        self._senses.link(Link.NATS, up=up)
        if up:
            self._wanted.set()
        else:
            self.problem = "the heartbeat bucket is not watched: NATS is away"

    async def keep(self) -> None:
        """Make the watch whenever one is wanted; ends by cancellation only."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_interval_s):
                    await self._wanted.wait()
            wanted = self._wanted.is_set()
            self._wanted.clear()
            if not self._carrier.up or not (wanted or self._is_silent()):
                continue  # without a connection nothing is wanted: its return will say so
            try:
                await self._arm()
            except Exception as error:  # whatever the server's answer is: shown by readiness, tried again
                self.problem = f"cannot watch the heartbeat bucket: {error}"
                log.error("reaper.watch_failed", error=str(error), kind=type(error).__name__)
                self._wanted.set()
                await asyncio.sleep(_RETRY_WAIT_S)

    def _is_silent(self) -> bool:
        return self._senses.now() - self._shown_at > _SILENT_INTERVALS * self._settings.heartbeat_interval_s

    async def _arm(self) -> None:
        self._number += 1
        number = self._number
        client = self._carrier.client
        earlier, self._subscription = self._subscription, None
        if earlier is not None:
            with contextlib.suppress(
                Exception
            ):  # of an old connection, or closed by the library: dropped by number anyway
                await earlier.unsubscribe()
        await topology.ensure(client, replicas=self._settings.nats_replicas)
        self._senses.watch_begins()

        async def seen(beat: heartbeats.Beat) -> None:
            if number == self._number:
                self._seen(beat)

        self._subscription = await heartbeats.watch(client, seen)
        self._shown_at = self._senses.now()
        if number == self._number:
            self.problem = ""
            log.info("reaper.watching", watch=number)

    def _seen(self, beat: heartbeats.Beat) -> None:
        heartbeat = beat.heartbeat
        if heartbeat is None:
            self._senses.expired(beat.name)
        elif heartbeat.kind == "runner":
            self._senses.beat(beat.name, heartbeat.boot, beat.revision, goodbye=heartbeat.goodbye)
        elif heartbeat.boot == self._boot and beat.revision != self._own_revision:
            self._own_revision = beat.revision  # the same one again, from a new watch, would prove nothing
            self._shown_at = self._senses.now()
            self._senses.self_seen()


class OwnHeartbeat:
    """The reaper's own key in the bucket, ``reaper.<boot>``: nobody else writes it, and no pod can have such a name."""

    def __init__(self, carrier: Carrier, settings: ReaperSettings, boot: UUID) -> None:
        self._carrier = carrier
        self._settings = settings
        self._key = f"reaper.{boot}"
        self._revision = 0
        self.problem = ""
        self._life = Heartbeat(
            pod=f"reaper-{host_name()}",
            boot=boot,
            kind="reaper",
            started_at=datetime.now(UTC).isoformat(),
            pid=os.getpid(),
            host=host_name(),
            version=holdfast.__version__,
        )

    async def keep(self) -> None:
        """Write it every interval; ends by cancellation only. A write that fails is one that will not be seen to come back."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                await self._write(self._life)
                self.problem = ""
            except Exception as error:  # whatever the server's answer is: shown by readiness, tried again
                self.problem = f"cannot write the own heartbeat: {error}"
                log.debug("reaper.heartbeat_failed", error=str(error), kind=type(error).__name__)
            # at a fixed rate, without catching up; the first one as soon as there is a connection
            pause_s = self._settings.heartbeat_interval_s if self._revision else _RETRY_WAIT_S
            due = max(due + pause_s, loop.time())
            await asyncio.sleep(due - loop.time())

    async def goodbye(self) -> None:
        """The last one. Never raises; bounded in time."""
        with contextlib.suppress(Exception):  # nobody waits for it: its key expires
            async with asyncio.timeout(1.0):
                await self._write(self._life.model_copy(update={"goodbye": True}))

    async def _write(self, life: Heartbeat) -> None:
        """A refusal means that the key expired, or that a write landed whose answer was lost: look, and write at once."""
        timeout_s = 2 * self._settings.heartbeat_interval_s
        for _ in range(2):
            try:
                self._revision = await heartbeats.write(
                    self._carrier.client,
                    self._key,
                    life,
                    expected=self._revision,
                    ttl_s=self._settings.heartbeat_ttl_s,
                    timeout_s=timeout_s,
                )
            except heartbeats.Refused:
                self._revision = (await heartbeats.read(self._carrier.client, self._key, timeout_s=timeout_s)).revision
            else:
                return
