"""The name lease: a pod's key in the heartbeat bucket, held by one boot at a time.

Every renewal names the revision of the last one. When that fails, the key tells why: it is gone, or our own (a NATS outage
expires every key): write anew and go on; it is another boot's: this one was replaced.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from holdfast.bus import heartbeats
from holdfast.bus.heartbeats import Beat
from holdfast.errors import PodNameTaken
from holdfast.runs import Owner
from holdfast.wire.messages import Heartbeat

_PING_TIMEOUT_S = 0.5
_PING_INTERVAL_S = 0.25
_SILENCE_S = 1.0


class Replaced(PodNameTaken):
    """Another boot has taken this pod's name."""

    def __init__(self, pod: str, boot: str) -> None:
        super().__init__(f"pod name {pod} has been taken over by boot {boot}")


class NameLease:
    """Takes and renews the key of one pod for one boot. Every call raises :class:`BusUnavailable` when NATS is away."""

    def __init__(self, client: Client, owner: Owner, *, ttl_s: int, timeout_s: float) -> None:
        self._client = client
        self._owner = owner
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._revision = 0

    async def take(self, heartbeat: Heartbeat) -> None:
        """Write the key for the first time, unless a live process holds it.

        Raises:
            PodNameTaken: another boot answers for this name; the message names it.
        """
        while True:
            held = await heartbeats.read(self._client, self._owner.pod)
            await self._refuse_live_holder(held)
            if await self._write(heartbeat, held.revision):
                return

    async def renew(self, heartbeat: Heartbeat) -> None:
        """Write the key again.

        Raises:
            Replaced: another boot holds it.
        """
        while not await self._write(heartbeat, self._revision):
            held = await heartbeats.read(self._client, self._owner.pod)
            if held.heartbeat is not None and held.heartbeat.boot != self._owner.boot:
                raise Replaced(self._owner.pod, str(held.heartbeat.boot))
            self._revision = held.revision

    async def _write(self, heartbeat: Heartbeat, expected: int) -> bool:
        try:
            self._revision = await heartbeats.write(
                self._client,
                self._owner.pod,
                heartbeat,
                expected=expected,
                ttl_s=self._ttl_s,
                timeout_s=self._timeout_s,
            )
        except heartbeats.Refused:
            return False
        return True

    async def _refuse_live_holder(self, held: Beat) -> None:
        """Ping the holder until it answers or has been silent for a second: a live one may be reconnecting just now."""
        holder = held.heartbeat
        if holder is None or holder.boot == self._owner.boot or holder.goodbye:
            return
        loop = asyncio.get_running_loop()
        silent_until = loop.time() + _SILENCE_S
        while loop.time() < silent_until:
            if await heartbeats.ping(self._client, holder.pod, holder.boot, timeout_s=_PING_TIMEOUT_S):
                raise PodNameTaken(
                    f"pod name {holder.pod} is held by a live process: boot {holder.boot}, pid {holder.pid} on host "
                    f"{holder.host}, started {holder.started_at}. Stop it, or give this one another POD_NAME"
                )
            await asyncio.sleep(_PING_INTERVAL_S)
