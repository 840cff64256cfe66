"""The one reader of changes of this gateway: a query each quarter of a second for all followers of all tenants, and none without.

It keeps a place for each tenant that is followed and hands what came after it to that tenant's followers, encoded once. It needs
no notification and misses nothing: a place is passed only when no transaction can write before it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from holdfast import metrics
from holdfast.errors import StoreUnavailable
from holdfast.logs import get_logger
from holdfast.service import run_beside
from holdfast.settings import GatewaySettings
from holdfast.store import Database
from holdfast.store import feed as record
from holdfast.store.feed import ChangeId
from holdfast_gateway.auth import Caller
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.feed.fleet import Fleet
from holdfast_gateway.feed.follower import Follower
from holdfast_gateway.feed.frames import Batch, runs_member
from holdfast_gateway.shared import SharedReading

log = get_logger(__name__)
_TICK_S = 0.25
_LOOK_INTERVAL_S = 1.0
_CHANGES_MAX = 500  # of one tenant in one reading
_TENANTS_MAX = 100  # in one reading
_RUNS_MAX = 10_000  # in a snapshot
_OWN_READINGS_MAX = 2  # at once, of followers that come or were too slow: requests have the rest of the connections
_HELD_BACK_WARN_S = 10.0


@dataclass(slots=True)
class _Followed:
    """A tenant that is followed: up to where its changes were handed on, and to whom."""

    place: ChangeId
    followers: set[Follower] = field(default_factory=set)


class Feed:
    """Use: :meth:`follow` for each follower; :meth:`keep` runs beside."""

    def __init__(self, db: Database, carrier: Carrier, settings: GatewaySettings) -> None:
        self.fleet = Fleet(carrier)
        self._db = db
        self._settings = settings
        self._open: set[Follower] = set()
        self._followed: dict[str, _Followed] = {}
        self._somebody = asyncio.Event()
        self._somebody_joined = asyncio.Event()
        self._standing = SharedReading(self._read_standing)
        self._changes = SharedReading(self._read_changes)
        self._looks = SharedReading(self._look)
        self._own_readings = asyncio.Semaphore(_OWN_READINGS_MAX)
        self._held_back_since: float | None = None
        self._held_back_at = ChangeId(0, 0)
        self._warned = False
        self._away = False

    def follow(self, caller: Caller, cursor: ChangeId | None) -> Follower:
        """A follower, from its cursor on; without one it is shown everything as it is, first."""
        return Follower(
            self,
            caller,
            cursor,
            keepalive_interval_s=self._settings.keepalive_interval_s,
            queue_bytes_max=self._settings.viewer_queue_bytes_max,
        )

    @property
    def count(self) -> int:
        """How many follow."""
        return len(self._open)

    def enter(self, follower: Follower) -> None:
        """A follower is there. It is handed nothing before it joins."""
        self._open.add(follower)
        self._somebody.set()

    def leave(self, follower: Follower) -> None:
        """A follower has gone."""
        self.dismiss(follower)
        self._open.discard(follower)
        if not self._open:
            self._somebody.clear()
            self.fleet.forget()

    def join(self, follower: Follower) -> bool:
        """Hand on to a follower what comes after its place. False: the reader is further already, so it has to read on."""
        assert follower.place is not None
        followed = self._followed.get(follower.tenant_id)
        if followed is None:
            followed = self._followed[follower.tenant_id] = _Followed(follower.place)
            self._somebody_joined.set()
        elif follower.place < followed.place:
            return False
        followed.followers.add(follower)
        return True

    def dismiss(self, follower: Follower) -> None:
        """Hand nothing more to a follower."""
        followed = self._followed.get(follower.tenant_id)
        if followed is None or follower not in followed.followers:
            return
        followed.followers.discard(follower)
        if not followed.followers:
            del self._followed[follower.tenant_id]
            if not self._followed:
                self._somebody_joined.clear()
                metrics.FEED_HELD_BACK.set(0.0)  # nobody looks

    async def snapshot(self, tenant_id: str) -> tuple[ChangeId, bytes]:
        """A tenant's active runs, ready for a snapshot, and the place that they stand for; read after this was asked.

        Raises:
            StoreUnavailable: the record did not answer.
        """
        return await self._standing(tenant_id)

    async def _read_standing(self, tenant_id: str) -> tuple[ChangeId, bytes]:
        async with self._own_readings:
            standing = await record.standing(self._db, tenant_id, limit=_RUNS_MAX)
        return standing.place, runs_member(standing)

    async def read(self, tenant_id: str, place: ChangeId) -> tuple[Batch, bool, bool]:
        """A tenant's changes after a place: (changes, there may be more, they are not to be had any more).

        Raises:
            StoreUnavailable: the record did not answer.
        """
        return await self._changes((tenant_id, place))

    async def _read_changes(self, of: tuple[str, ChangeId]) -> tuple[Batch, bool, bool]:
        tenant_id, place = of
        async with self._own_readings:
            reading = await record.changes(self._db, {tenant_id: place}, limit=_CHANGES_MAX)
        read = reading.of_tenant[tenant_id]
        return Batch.of(read.changes, read.upto), read.more, read.missing

    async def keep(self) -> None:
        """Read changes and look at pods while somebody follows, for ever."""
        await run_beside(
            {
                "feed-changes": self._keep(self._somebody_joined, self._tick, _TICK_S),
                "feed-pods": self._keep(self._somebody, self._look_again, _LOOK_INTERVAL_S),
            }
        )

    async def _keep(
        self, wanted: asyncio.Event, work: Callable[[], Coroutine[Any, Any, bool]], interval_s: float
    ) -> None:
        """Do ``work`` again and again while it is wanted; at once again when it says that there is more."""
        while True:
            await wanted.wait()
            if not await work():
                await asyncio.sleep(interval_s)

    async def know_pods(self) -> None:
        """Have looked at the pods at least once, if NATS is there."""
        if not self.fleet.known:
            await self._looks(None)

    async def _look_again(self) -> bool:
        await self._looks(None)
        return False

    async def _look(self, _: None) -> None:
        told = await self.fleet.look()
        if told:
            for followed in list(self._followed.values()):
                for follower in list(followed.followers):
                    follower.tell(told[follower.operator])

    async def _tick(self) -> bool:
        """One reading for each hundred tenants. True: there may be more at once."""
        places = [(tenant_id, followed.place) for tenant_id, followed in self._followed.items()]
        more = False
        for start in range(0, len(places), _TENANTS_MAX):
            asked = dict(places[start : start + _TENANTS_MAX])
            try:
                reading = await record.changes(self._db, asked, limit=_CHANGES_MAX)
            except StoreUnavailable as error:
                if not self._away:
                    log.warning("feed.record_away", error=str(error))
                self._away = True
                return False
            self._away = False
            self._watch_horizon(reading)
            for tenant_id, read in reading.of_tenant.items():
                followed = self._followed.get(tenant_id)
                if followed is not None and followed.place == asked[tenant_id]:
                    more = self._hand_on(followed, read) or more
        return more

    def _hand_on(self, followed: _Followed, read: record.Changes) -> bool:
        if read.missing:  # each is shown a snapshot
            for follower in list(followed.followers):
                follower.drop_out()
            return False
        followed.place = read.upto
        if read.changes:
            batch = Batch.of(read.changes, read.upto)
            for follower in list(followed.followers):
                follower.offer(batch)
        return read.more

    def _watch_horizon(self, reading: record.Reading) -> None:
        """Say when a transaction that stays open holds changes back: somebody has to look for it."""
        now = asyncio.get_running_loop().time()
        if not reading.held_back or reading.horizon != self._held_back_at:
            self._held_back_since, self._held_back_at, self._warned = now, reading.horizon, False
        held_back_s = now - self._held_back_since if self._held_back_since is not None else 0.0
        metrics.FEED_HELD_BACK.set(held_back_s if reading.held_back else 0.0)
        if held_back_s > _HELD_BACK_WARN_S and reading.held_back and not self._warned:
            self._warned = True
            log.warning("feed.held_back", seconds=round(held_back_s, 1), transaction=reading.horizon.xid)
