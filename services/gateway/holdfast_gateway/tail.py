"""The tail of one followed run: it hears the run's live subject, repairs what it missed, and hands messages to its viewers.

One per followed run, shared by its viewers; it reads no event. A viewer first reads the log by itself, then joins. What a viewer
is to be sent of a message is the viewer's own affair (:mod:`holdfast_gateway.continuity`).

Parts of an event that is larger than a message are joined here, once for all viewers. Who reads and who is handed on to stand
between whole events: a viewer may join while parts come, and is handed the whole with the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from holdfast.bus import event_log, names
from holdfast.bus.connection import translated
from holdfast.errors import BusUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast_gateway.batch import Batch
from holdfast_gateway.picture import ending_frame

log = get_logger(__name__)
_PENDING_MESSAGES_MAX = 8192  # what does not fit is dropped by the client, and read from the stream
_PENDING_BYTES_MAX = 16 * 1024 * 1024
_STALE_PAUSES_S = (0.0, 0.02, 0.05, 0.1)


class Follower(Protocol):
    """What a tail hands messages to. Both are called in the loop and must not wait."""

    seq: int

    def offer(self, batch: Batch) -> None:
        """The next message."""

    def start_over(self) -> None:
        """Read the log anew, from its beginning: it is another log than before."""

    def look_at(self, row: TailRow) -> None:
        """What the record says of the run: it waits."""

    def lose(self) -> None:
        """The run is gone."""


class Tail:
    """Use: :meth:`listen`, then read the log, then :meth:`admit`."""

    def __init__(self, run_id: UUID, *, idle_reread_s: float, idle_reread_max_s: float) -> None:
        self.run_id = run_id
        self.followers: set[Follower] = set()  # everybody who follows, also those who still read by themselves
        self._joined: set[Follower] = set()
        self._reading: event_log.Reading | None = None  # up to the newest message that was heard or handed on
        self._last_id: EventId | None = None
        self._subscription: Subscription | None = None
        self._client: Client | None = None
        self._turn = asyncio.Lock()
        self._subscribing = asyncio.Lock()
        self._unreadable = False
        self._idle_reread_s, self._idle_reread_max_s = idle_reread_s, idle_reread_max_s
        self._patience_s = idle_reread_s
        self._heard_at = asyncio.get_running_loop().time()
        self.ending: Batch | None = None  # the run's end, made from the record

    async def listen(self, client: Client) -> None:
        """Be subscribed to the live subject, before the log is read: what comes between the two is then heard. May be repeated.

        Raises:
            BusUnavailable: NATS is away.
        """
        async with self._subscribing:
            if self._client is client:
                return
            with translated():
                self._subscription = await client.subscribe(
                    names.live_subject(self.run_id),
                    cb=self._hear,
                    pending_msgs_limit=_PENDING_MESSAGES_MAX,
                    pending_bytes_limit=_PENDING_BYTES_MAX,
                )
            self._client = client

    async def close(self) -> None:
        """Nobody follows any more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await _unsubscribe(subscription)

    def admit(self, follower: Follower, last: EventId | None) -> bool:
        """Hand on to ``follower`` from now on; False when it must read on first, since the tail is further than it is."""
        if self._reading is not None and follower.seq < self._reading.seq:
            return False
        if self._reading is None or not self._joined:
            # Anew, since nobody has seen to it that parts were heard from the first one on: a next part is then read with those
            # before it. A read that is under way goes on with what it has; what is handed on twice is known by its seq.
            self._reading = event_log.Reading(self.run_id, follower.seq)
            if last is not None and (self._last_id is None or last > self._last_id):
                self._last_id = last
        self._joined.add(follower)
        if self.ending is not None:
            follower.offer(self.ending)
        return True

    def dismiss(self, follower: Follower) -> None:
        """Hand nothing on to ``follower`` until it is admitted again."""
        self._joined.discard(follower)

    def idle_since(self, now: float) -> bool:
        """Is a look at the stream due? The last message may have been lost on the way; the longer it is quiet, the rarer."""
        return bool(self._joined) and now - self._heard_at >= self._patience_s

    async def reread(self) -> None:
        """Hand on what the stream holds beyond what was heard.

        Raises:
            BusUnavailable: NATS did not answer.
        """
        async with self._turn:
            await self._read_on()
        self._heard_at = asyncio.get_running_loop().time()
        self._patience_s = min(self._patience_s * 2, self._idle_reread_max_s)

    async def conclude(self, row: TailRow) -> None:
        """The record says that the run has ended, or is interrupted: see that the viewers are told.

        The record was read before; now the log, to its end; and only then is the event made, if it is missing. A log that cannot
        be read twice in a row is not waited for: what the viewers lack of it, the record has.
        """
        frame = ending_frame(row)
        if frame is None or (self.ending is not None and self.ending.payload == frame):
            return
        async with self._turn:
            try:
                await self._read_on(to_the_end=True)
            except BusUnavailable as error:
                log.info("tail.log_unreadable", run_id=str(self.run_id), error=str(error))
                self._unreadable = not self._unreadable
                if self._unreadable:
                    return
            self.ending = Batch.of(None, frame)
            if self._last_id is None or self._last_id < self.ending.last:
                log.info("tail.ending_made", run_id=str(self.run_id), event_id=str(self.ending.last))
            self._hand_on(self.ending)

    def waits(self, row: TailRow) -> None:
        """The record says that the run waits."""
        for follower in tuple(self._joined):
            follower.look_at(row)

    def vanish(self) -> None:
        """The run is gone from the record."""
        for follower in tuple(self.followers):
            follower.lose()

    async def _hear(self, message: Msg) -> None:
        headers = message.headers or {}
        seq, previous = int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])
        self._heard_at = asyncio.get_running_loop().time()
        self._patience_s = self._idle_reread_s
        async with self._turn:
            if self._reading is None:
                self._reading = event_log.Reading(self.run_id)
            if seq <= self._reading.at:
                self._heard_before(seq, headers)
                return
            if self._joined and previous != self._reading.at:
                try:
                    if not await self._catch_up_with(seq, previous):
                        return
                except BusUnavailable:
                    return  # an idle moment or a reconnect reads this message with those before it
            entry = self._reading.take(seq, headers, message.data)
            if entry is not None:
                self._advance(entry)

    async def _catch_up_with(self, seq: int, previous: int) -> bool:
        """Read what was missed before a message that was heard. Is that the next one now?

        Else it was read too, or something before it is there and could not be read yet: then the next message, or an idle moment,
        reads on. What the leader does not have is lost for good: a gap, which viewers mend.
        """
        for pause_s in _STALE_PAUSES_S:  # a direct get may be answered by a replica that is behind
            await asyncio.sleep(pause_s)
            await self._read_on()
            assert self._reading is not None
            if seq <= self._reading.at:
                return False
            if previous == self._reading.at:
                return True
            assert self._client is not None
            following = await event_log.next_seq(self._client, self.run_id, self._reading.at)
            if following is None or following >= seq:
                return True
        return False

    def _heard_before(self, seq: int, headers: Mapping[str, str]) -> None:
        """A duplicate; or, if it makes a new event whole, the stream was lost and made anew, and counts from one again."""
        last_id = event_log.last_id_of(headers)
        if last_id is None or (self._last_id is not None and last_id <= self._last_id):
            return
        log.warning("tail.log_restarted", run_id=str(self.run_id), seq=seq)
        self._reading, self._last_id = event_log.Reading(self.run_id, seq), last_id
        self._joined.clear()
        for follower in tuple(self.followers):
            follower.start_over()

    async def _read_on(self, *, to_the_end: bool = False) -> None:
        """Hand on what the stream has after what was heard; ``to_the_end``: up to its leader's last message, as of now."""
        if self._client is None:
            raise BusUnavailable("not connected to NATS")
        if self._reading is None:
            return
        end = (await event_log.end(self._client, self.run_id)).seq if to_the_end else 0
        reading = self._reading
        for _ in range(3):  # a direct get may be answered by a replica that is behind
            async for entry in reading.to_the_end(self._client):
                self._advance(entry)
            if reading.at >= end:
                return

    def _advance(self, entry: event_log.Entry) -> None:
        batch = _parse(entry)
        if batch is not None:
            self._last_id = batch.last if self._last_id is None else max(self._last_id, batch.last)
            self._hand_on(batch)

    def _hand_on(self, batch: Batch) -> None:
        for follower in tuple(self._joined):
            follower.offer(batch)


def _parse(entry: event_log.Entry) -> Batch | None:
    try:
        return Batch.of(entry.seq, entry.payload)
    except ValueError as error:  # the gap that it leaves is mended like any other
        log.warning("tail.not_events", seq=entry.seq, error=str(error))
        return None


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except Exception as error:  # its connection is closed: then it is gone already
        log.debug("tail.unsubscribe_failed", error=repr(error))
