"""The tail of one followed run: it hears the run's live subject, repairs what it missed, and hands messages to its viewers.

One per followed run, shared by its viewers; it reads no event. A viewer first reads the log by itself, then joins. What a viewer
is to be sent of a message is the viewer's own affair (:mod:`holdfast_gateway.continuity`).

Parts of an event that is larger than a message are joined here, once for all viewers. Who reads and who is handed on to stand
between whole events: a viewer may join while parts come, and is handed the whole with the last of them.

A message is taken when it is read from the connection, and handed on a moment later, with what was read in the same go
(:class:`Gathering`). Only what does not follow the message before goes by way of a task, which reads what is missing first: a
read of the stream that is under way, and may take long, holds back nothing that follows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from holdfast.bus import event_log, hearing, names
from holdfast.bus.parts import Mark
from holdfast.errors import BusUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast_gateway.batch import Batch, joined
from holdfast_gateway.picture import ending_frame

log = get_logger(__name__)
_HEARD_BYTES_MAX = 16 * 1024 * 1024  # what may wait while the stream is read; what does not fit is read from there too
_TOGETHER_MAX = 32
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


class Gathering:
    """What the tails of a gateway hand on soon: when the loop has read what came in one go, or enough of it.

    More of one run goes together in one write for each viewer. More than enough would let those who write to viewers, and the
    viewers, wait while messages are read, and who reads wait while they write.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tails: list[Tail] = []
        self._count = 0

    def __call__(self, tail: Tail, *, first: bool) -> None:
        """A tail has one more; ``first``: it had none."""
        if not self._count:
            self._loop.call_soon(self._hand_over)
        if first:
            self._tails.append(tail)
        self._count += 1
        if self._count >= _TOGETHER_MAX:
            self._hand_over()

    def _hand_over(self) -> None:
        tails, self._tails, self._count = self._tails, [], 0
        for tail in tails:
            tail.hand_over()


class Tail:
    """Use: :meth:`listen`, then read the log, then :meth:`admit`."""

    def __init__(self, run_id: UUID, gathering: Gathering, *, idle_reread_s: float, idle_reread_max_s: float) -> None:
        self.run_id = run_id
        self.followers: set[Follower] = set()  # everybody who follows, also those who still read by themselves
        self._joined: set[Follower] = set()
        self._reading: event_log.Reading | None = None  # up to the newest message that was heard or handed on
        self._nothing_upto = 0
        self._last_id: EventId | None = None
        self._subscription: Subscription | None = None
        self._client: Client | None = None
        self._turn = asyncio.Lock()
        self._heard: deque[Msg] = deque()
        self._heard_bytes = 0
        self._taking: asyncio.Task[None] | None = None
        self._gathering = gathering
        self._gathered: list[Batch] = []
        self._loop = asyncio.get_running_loop()
        self._subscribing = asyncio.Lock()
        self._unreadable = False
        self._idle_reread_s, self._idle_reread_max_s = idle_reread_s, idle_reread_max_s
        self._patience_s = idle_reread_s
        self._look_due_at = self._loop.time() + idle_reread_s
        self.ending: Batch | None = None  # the run's end, made from the record

    async def listen(self, client: Client) -> None:
        """Be subscribed to the live subject, before the log is read: what comes between the two is then heard. May be repeated.

        Raises:
            BusUnavailable: NATS is away.
        """
        async with self._subscribing:
            if self._client is client:
                return
            self._subscription = await hearing.hear(client, names.live_subject(self.run_id), self._hear)
            self._client = client

    async def close(self) -> None:
        """Nobody follows any more."""
        if self._taking is not None:
            self._taking.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await _unsubscribe(subscription)

    def admit(self, follower: Follower, last: EventId | None) -> bool:
        """Hand on to ``follower`` from now on; False when it must read on first, since the tail is further than it is."""
        if self._reading is not None and follower.seq < self._reading.seq:
            return False
        self.hand_over()  # to those who were there before
        if self._reading is None or not self._joined:
            # Anew, since nobody has seen to it that parts were heard from the first one on: a next part is then read with those
            # before it. A read that is under way begins anew from there.
            self._reading, self._nothing_upto = event_log.Reading(self.run_id, follower.seq), 0
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
        return self._look_due_at <= now and bool(self._joined)

    @property
    def known_upto(self) -> int:
        """Up to where in the stream nothing of this run was missed, as of the last look."""
        return max(self._nothing_upto, self._reading.at if self._reading is not None else 0)

    def hears(self, client: Client) -> bool:
        """Is the live subject heard over this connection?"""
        return self._client is client

    def lacks(self, seq: int | None, *, behind: int, upto: int) -> bool:
        """A look at the stream from ``behind`` on up to ``upto`` has found the run's last message. Was it missed?"""
        at = self._reading.at if self._reading is not None else 0
        if self.known_upto < behind or 0 < upto < behind or (seq is not None and seq > at):
            return True  # ``upto`` before ``behind``: it was another stream, or a replica that has not come so far
        self._nothing_upto = upto
        self._was_quiet()
        return False

    def _was_quiet(self) -> None:
        self._patience_s = min(self._patience_s * 2, self._idle_reread_max_s)
        self._look_due_at = self._loop.time() + self._patience_s

    async def reread(self) -> None:
        """Hand on what the stream holds beyond what was heard.

        Raises:
            BusUnavailable: NATS did not answer.
        """
        async with self._turn:
            await self._read_on()
        self._was_quiet()

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
        self.hand_over()
        for follower in tuple(self._joined):
            follower.look_at(row)

    def vanish(self) -> None:
        """The run is gone from the record."""
        for follower in tuple(self.followers):
            follower.lose()

    def _hear(self, message: Msg) -> None:
        """A message of the live subject: taken now if it is the next one, else by a task that reads what is missing first."""
        self._patience_s = self._idle_reread_s
        self._look_due_at = self._loop.time() + self._patience_s
        waits = bool(self._heard) or self._turn.locked()
        if (not waits or self._follows(message)) and self._take_next(message):
            return
        self._heard_bytes += len(message.data)
        if self._heard and self._heard_bytes > _HEARD_BYTES_MAX:
            self._heard_bytes -= len(message.data)
            return
        self._heard.append(message)
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take_heard(), name="tail-taking")

    def _follows(self, message: Msg) -> bool:
        """Is this the next message behind what was taken, whatever is read meanwhile?"""
        previous = (message.headers or {}).get("Nats-Last-Sequence")
        return bool(self._joined) and self._reading is not None and previous == str(self._reading.at)

    def _take_next(self, message: Msg) -> bool:
        """Take a message that needs nothing to be read. False: something is missing before it."""
        headers = message.headers or {}
        try:
            seq, previous = int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])
        except (KeyError, ValueError) as error:
            log.warning("tail.not_of_the_stream", run_id=str(self.run_id), error=repr(error))
            return True
        if self._reading is None:
            self._reading = event_log.Reading(self.run_id)
        if seq <= self._reading.at:
            self._heard_before(seq, headers)
        elif self._joined and previous != self._reading.at:
            return False
        else:
            self._take(seq, headers, message.data)
        return True

    async def _take_heard(self) -> None:
        """Take what waits, in order, each after what is missing before it."""
        async with self._turn:
            while self._heard:
                message = self._heard.popleft()
                self._heard_bytes -= len(message.data)
                if not self._take_next(message):
                    headers = message.headers or {}
                    seq, previous = int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"])
                    try:
                        if await self._catch_up_with(seq, previous):
                            self._take(seq, headers, message.data)
                    except (
                        BusUnavailable
                    ) as error:  # an idle moment or a reconnect reads this message with those before it
                        log.debug("tail.not_caught_up", run_id=str(self.run_id), error=str(error))

    def _take(self, seq: int, headers: Mapping[str, str], payload: bytes) -> None:
        assert self._reading is not None
        entry = self._reading.take(seq, headers, payload)
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
        mark = Mark.of(headers)
        last_id = event_log.last_id_of(headers) if mark is None or mark.is_final else None
        if last_id is None or (self._last_id is not None and last_id <= self._last_id):
            return
        log.warning("tail.log_restarted", run_id=str(self.run_id), seq=seq)
        self.hand_over()
        self._reading, self._nothing_upto, self._last_id = event_log.Reading(self.run_id, seq), 0, last_id
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
        for _ in range(3):  # a direct get may be answered by a replica that is behind
            if await self._read_once(self._client) >= end:
                return

    async def _read_once(self, client: Client) -> int:
        """To the end that the stream shows. Returns up to where that is."""
        while True:
            reading = self._reading
            assert reading is not None
            async for entry in reading.to_the_end(client):
                if reading is not self._reading:
                    break
                self._advance(entry)
            if reading is self._reading:
                return reading.at

    def _advance(self, entry: event_log.Entry) -> None:
        batch = _parse(entry)
        if batch is not None:
            self._last_id = batch.last if self._last_id is None else max(self._last_id, batch.last)
            self._hand_on(batch)

    def _hand_on(self, batch: Batch) -> None:
        """Soon, with what is read in the same go."""
        self._gathered.append(batch)
        self._gathering(self, first=len(self._gathered) == 1)

    def hand_over(self) -> None:
        """Hand on now what was gathered."""
        gathered, self._gathered = self._gathered, []
        batches: Iterable[Batch] = gathered
        if len(gathered) > 1:
            first_seq = gathered[0].seq or 0
            if all(follower.seq < first_seq for follower in self._joined):  # else one would be handed twice what it has
                batches = joined(gathered)
        for batch in batches:
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
