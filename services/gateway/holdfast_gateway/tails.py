"""All tails of this gateway: made with a run's first viewer, gone with its last, kept true by two loops.

One loop asks the stream, for all tails that are quiet at one time, which of them have missed something, and re-reads those;
after a reconnect to NATS it re-reads all. The other reconciles all followed runs with the record, in one query: a run that has
ended there is brought to its end here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from nats.aio.client import Client

from holdfast import metrics
from holdfast.bus import log_ends
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId
from holdfast.service import run_beside
from holdfast.settings import GatewaySettings
from holdfast.store import Database, TailRow, caller
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.picture import Picture, ending_frame, take_picture
from holdfast_gateway.shared import SharedReading
from holdfast_gateway.tail import Follower, Gathering, Tail
from holdfast_gateway.viewer import Viewer

log = get_logger(__name__)
_TICK_S = 0.25
_REREADS_AT_ONCE_MAX = 16
_RECONCILE_BATCH_MAX = 1000


class Tails:
    """Use: :meth:`view` for each viewer; :meth:`keep_true` runs beside."""

    def __init__(
        self,
        db: Database,
        carrier: Carrier,
        settings: GatewaySettings,
        *,
        reconcile_interval_s: float = 10.0,
        idle_reread_s: float = 1.0,
    ) -> None:
        self._db = db
        self._carrier = carrier
        self._settings = settings
        self._reconcile_interval_s = reconcile_interval_s
        self._idle_reread_s = idle_reread_s
        self._tails: dict[UUID, Tail] = {}
        self._gathering: Gathering | None = None
        self._pictures = SharedReading(self._take_picture)
        self._rows = SharedReading(self._read_row)
        self._reconnected = asyncio.Event()
        self._followed = asyncio.Event()

    @property
    def client(self) -> Client:
        """The connection that tails.

        Raises:
            BusUnavailable: it is not there.
        """
        return self._carrier.client

    @property
    def count(self) -> int:
        """How many runs are followed."""
        return len(self._tails)

    def view(self, row: TailRow, after: EventId | None) -> Viewer:
        """A viewer of a run, from its cursor on. It is nobody's before its chunks are iterated."""
        return Viewer(
            self,
            row,
            after,
            keepalive_interval_s=self._settings.keepalive_interval_s,
            queue_bytes_max=self._settings.viewer_queue_bytes_max,
        )

    def follow(self, viewer: Viewer) -> Tail:
        """The tail of the viewer's run, made if nobody else follows it."""
        tail = self._tails.get(viewer.run_id)
        if tail is None:
            self._gathering = self._gathering or Gathering()
            tail = self._tails[viewer.run_id] = Tail(
                viewer.run_id,
                self._gathering,
                idle_reread_s=self._idle_reread_s,
                idle_reread_max_s=self._reconcile_interval_s,
            )
            metrics.TAILS.set(len(self._tails))
            self._followed.set()
        tail.followers.add(viewer)
        return tail

    async def leave(self, tail: Tail, follower: Follower) -> None:
        """A viewer goes; with the last one the tail goes too."""
        tail.dismiss(follower)
        tail.followers.discard(follower)
        if not tail.followers and self._tails.get(tail.run_id) is tail:
            del self._tails[tail.run_id]
            metrics.TAILS.set(len(self._tails))
            await tail.close()

    async def picture(self, run_id: UUID) -> Picture:
        """The run's picture from the record.

        Raises:
            RunGone: there is no such run any more.
            StoreUnavailable: the record did not answer.
        """
        return await self._pictures(run_id)

    async def row(self, run_id: UUID) -> TailRow | None:
        """What the record says of a run now; None: it is gone.

        Raises:
            StoreUnavailable: the record did not answer.
        """
        return await self._rows(run_id)

    async def _take_picture(self, run_id: UUID) -> Picture:
        return await take_picture(self._db, run_id)

    async def _read_row(self, run_id: UUID) -> TailRow | None:
        return (await caller.tails(self._db, [run_id])).get(run_id)

    def link_changed(self, up: bool) -> None:
        """Called by the carrier."""
        if up:
            self._reconnected.set()

    async def keep_true(self) -> None:
        """Re-read and reconcile, for ever."""
        await run_beside({"tails-reread": self._keep_reading(), "tails-reconcile": self._keep_reconciling()})

    async def _keep_reading(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._tails:
                self._followed.clear()
                await self._followed.wait()
            await asyncio.sleep(_TICK_S)
            if self._reconnected.is_set():
                self._reconnected.clear()
                await _each(list(self._tails.values()), self._reread)
                continue
            now = loop.time()
            quiet = [tail for tail in self._tails.values() if tail.idle_since(now)]
            for start in range(0, len(quiet), log_ends.AT_ONCE_MAX):
                await _each(await self._lacking(quiet[start : start + log_ends.AT_ONCE_MAX]), self._reread)

    async def _lacking(self, quiet: list[Tail]) -> list[Tail]:
        """Those that have missed something, as the stream has it, and those of which that is not known."""
        try:
            client = self.client
            behind = min(tail.known_upto for tail in quiet)
            ends = await log_ends.look(client, [tail.run_id for tail in quiet], behind)
        except BusUnavailable as error:
            log.debug("tails.look_failed", error=str(error))
            return []
        return [
            tail
            for tail in quiet
            if not tail.hears(client)
            or (not ends.whole and tail.run_id not in ends.seqs)
            or tail.lacks(ends.seqs.get(tail.run_id), behind=behind, upto=ends.upto)
        ]

    async def _reread(self, tail: Tail) -> None:
        try:
            await tail.listen(self.client)
            await tail.reread()
        except BusUnavailable as error:
            log.debug("tail.reread_failed", run_id=str(tail.run_id), error=str(error))

    async def _keep_reconciling(self) -> None:
        while True:
            await asyncio.sleep(self._reconcile_interval_s)
            followed = list(self._tails)
            for start in range(0, len(followed), _RECONCILE_BATCH_MAX):
                try:
                    await self._reconcile(followed[start : start + _RECONCILE_BATCH_MAX])
                except StoreUnavailable as error:
                    log.info("tails.record_away", error=str(error))
                    break

    async def _reconcile(self, run_ids: list[UUID]) -> None:
        rows = await caller.tails(self._db, run_ids)

        async def reconcile(tail: Tail) -> None:
            row = rows.get(tail.run_id)
            if row is None:
                tail.vanish()
            elif ending_frame(row) is not None:
                await tail.conclude(row)
            elif row.status == "waiting":
                tail.waits(row)

        await _each([self._tails[run_id] for run_id in run_ids if run_id in self._tails], reconcile)


async def _each(tails: list[Tail], work: Callable[[Tail], Awaitable[None]]) -> None:
    """Do something for each tail, a few at a time; one that takes long holds back only its place."""
    places = asyncio.Semaphore(_REREADS_AT_ONCE_MAX)

    async def one(tail: Tail) -> None:
        async with places:
            await work(tail)

    if tails:
        await asyncio.gather(*(one(tail) for tail in tails))
