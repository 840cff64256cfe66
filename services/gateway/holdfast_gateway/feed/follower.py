"""One follower of the feed: a bounded queue of ready bytes, filled by the reader of all.

It reads by itself first, from its cursor to the end, then joins the reader. When it is too slow for its queue it leaves that one
and reads by itself again, at its own pace, from the last change that it has shown; it holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from holdfast.errors import StoreUnavailable
from holdfast.store.feed import ChangeId
from holdfast.wire.events import KEEPALIVE
from holdfast_gateway.auth import Caller
from holdfast_gateway.feed.frames import Batch, snapshot_frame
from holdfast_gateway.keepalives import Quiet, with_keepalives

if TYPE_CHECKING:
    from holdfast_gateway.feed.reader import Feed

_RETRY_PAUSE_S = 0.5


class Follower:
    """Use: iterate :meth:`chunks`, and close that iterator.

    Args:
        feed: who reads for all.
        caller: who follows: what it is shown is its tenant's, and of pods what it may see.
        cursor: the last change that it has; None: it has nothing.
        keepalive_interval_s: after so long without an event, a comment is due.
        queue_bytes_max: what may wait for it.
    """

    def __init__(
        self, feed: Feed, caller: Caller, cursor: ChangeId | None, *, keepalive_interval_s: float, queue_bytes_max: int
    ) -> None:
        self.tenant_id = caller.tenant_id
        self.operator = caller.operator
        self.place = cursor
        """Up to where it was shown, or is about to be; None: nothing."""
        self._feed = feed
        self._queue: deque[tuple[ChangeId | None, bytes]] = deque()
        self._queued_bytes = 0
        self._queued_upto = ChangeId(0, 0)
        self._queue_bytes_max = queue_bytes_max
        self._joined = False
        self._pods_version: int | None = None
        self._wake = asyncio.Event()
        self._quiet = Quiet(keepalive_interval_s, self._wake.set)

    def offer(self, batch: Batch) -> None:
        """The reader hands on changes. What this follower was shown already is left out."""
        payload = batch.after(self._queued_upto)
        self._queued_upto = max(self._queued_upto, batch.upto)
        self._put(batch.upto, payload)

    def tell(self, pods: bytes) -> None:
        """The reader hands on what there is to say of pods."""
        self._put(None, pods)

    def _put(self, upto: ChangeId | None, payload: bytes) -> None:
        if not payload:
            return
        self._queued_bytes += len(payload)
        if self._queued_bytes > self._queue_bytes_max and self._queue:
            self.drop_out()
        else:
            self._queue.append((upto, payload))
        self._wake.set()

    def drop_out(self) -> None:
        """Leave the reader; what waited is read again, and pods are told anew."""
        self._joined = False
        self._queue.clear()
        self._queued_bytes = 0
        self._pods_version = None
        self._feed.dismiss(self)
        self._wake.set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Whole events and keepalive comments. It never ends by itself."""
        self._quiet.start()
        self._feed.enter(self)
        try:
            while True:
                source = self._live() if self._joined else with_keepalives(self._catch_up(), self._quiet.due_at)
                async with contextlib.aclosing(source):
                    async for chunk in source:
                        yield chunk
                        self._quiet.wrote()
        finally:
            self._quiet.stop()
            self._feed.leave(self)

    async def _catch_up(self) -> AsyncGenerator[bytes, None]:
        """Read to the end, then join the reader. Goes on trying while the record is away."""
        await self._feed.know_pods()
        while not self._joined:
            try:
                if self.place is None:
                    yield await self._snapshot()
                chunk, more = await self._read()
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_PAUSE_S)
                continue
            if chunk:
                yield chunk
            if self.place is not None and not more:
                self._join()

    async def _snapshot(self) -> bytes:
        """Everything as it is, in place of what was missed."""
        place, runs = await self._feed.snapshot(self.tenant_id)
        self.place, self._pods_version = place, self._feed.fleet.version
        return snapshot_frame(place, runs, self._feed.fleet.listed(operator=self.operator))

    async def _read(self) -> tuple[bytes, bool]:
        """The next changes, and whether there may be more. ``place`` is None afterwards when they are not to be had any more."""
        assert self.place is not None
        batch, more, missing = await self._feed.read(self.tenant_id, self.place)
        if missing:
            self.place = None
            return b"", True
        self.place = batch.upto
        return batch.payload, more

    def _join(self) -> None:
        """Let the reader hand on what comes now; the pods as well, if they are other ones than those that were shown."""
        assert self.place is not None
        self._queued_upto = self.place
        self._joined = self._feed.join(self)
        fleet = self._feed.fleet
        if self._joined and fleet.known and self._pods_version != fleet.version:
            self._pods_version = fleet.version
            self.tell(fleet.whole(operator=self.operator))

    async def _live(self) -> AsyncGenerator[bytes, None]:
        """What the reader hands on; returns when this follower has dropped out."""
        while self._joined:
            if self._queue:
                yield self._flush()
            elif self._quiet.is_due:
                yield KEEPALIVE
            else:
                self._wake.clear()
                await self._wake.wait()

    def _flush(self) -> bytes:
        """Everything that waits."""
        places = [upto for upto, _ in self._queue if upto is not None]
        chunk = b"".join(payload for _, payload in self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        if places:
            self.place = places[-1]
        return chunk
