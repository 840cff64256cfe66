"""One reader of one run's stream: ready bytes, in order, to the end, whatever is away meanwhile.

It reads the log by itself from its cursor, then joins the run's tail. While there is nothing else to do for it, what the tail
hands on is written at once (:meth:`Viewer.write_through`), and nobody is woken. Otherwise it waits in a queue, which holds
references to messages that all viewers share, and is bounded: a viewer that is too slow loses its queue, reads by itself again at
its own pace, and holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

from holdfast.bus import event_log
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.runs import TERMINAL, EventId
from holdfast.runs.fold import TERMINAL_TYPES
from holdfast.store import TailRow
from holdfast.wire.events import KEEPALIVE
from holdfast_gateway.batch import Batch
from holdfast_gateway.continuity import Continuity
from holdfast_gateway.keepalives import Quiet, with_keepalives
from holdfast_gateway.picture import RunGone, ending_frame
from holdfast_gateway.tail import Tail

if TYPE_CHECKING:
    from holdfast_gateway.tails import Tails

_CHUNK_BYTES = 64 * 1024
Write = Callable[[bytes], Awaitable[None] | None]
"""Write bytes. None: done; else what is to be awaited before anything else is written. Keeps nothing, and does not raise."""
_RETRY_PAUSE_S = 0.5
_BEHIND_PAUSE_S = 0.01  # the tail was further: a message came during the read, or a replica of the stream is behind
_LOG_PATIENCE_S = 2.0  # a reconnect to NATS takes less; after that a run that has ended is shown from the record alone
_STALE_READS_MAX = 3


class Viewer:
    """Follows a run from ``after`` on, exclusive. Use: iterate :meth:`chunks`, and close that iterator.

    Args:
        tails: where the run's tail comes from.
        row: the run, as the record had it when the viewer came.
        after: the cursor; None: from the start.
        keepalive_interval_s: after so long without an event, a comment is due.
        queue_bytes_max: what may wait for the viewer.
    """

    def __init__(
        self, tails: Tails, row: TailRow, after: EventId | None, *, keepalive_interval_s: float, queue_bytes_max: int
    ) -> None:
        self.run_id: UUID = row.id
        self.seq = 0
        self._read_to = 0  # behind seq there may be parts of an event that is not all there
        self._tails = tails
        self._row = row
        self._tail: Tail | None = None
        self._continuity = Continuity(after, lambda: tails.picture(self.run_id))
        self._out: list[bytes] = []
        self._queue: deque[Batch] = deque()
        self._queued_bytes = 0
        self._queue_bytes_max = queue_bytes_max
        self._joined = False
        self._start_over = False
        self._gone = False
        self._over = False
        self._told_of_end = False
        self._last_read: EventId | None = None
        self._last_waits = False  # says the last event that was read that the run waits?
        self._shown_waiting = 0  # the attempt whose wait a snapshot has shown
        self._pause_s = 0.0
        self._wake = asyncio.Event()
        self._write: Write | None = None
        self._unwritten: Awaitable[None] | None = None
        self._idle = False  # waits for the tail, and for nothing else
        self._quiet = Quiet(keepalive_interval_s, self._rouse)
        self._loop = asyncio.get_running_loop()

    def write_through(self, write: Write) -> None:
        """What the tail hands on may be written at once while :meth:`chunks` is iterated, and waited for."""
        self._write = write

    def offer(self, batch: Batch) -> None:
        """The tail hands on a message. However large it is, it does not count while it is the one to be taken next."""
        if self._idle and self._write is not None and self._takes_at_once(batch):
            self._unwritten = self._write(batch.payload)
            self._quiet.wrote()
            if self._unwritten is not None:
                self._rouse()
            return
        self._queued_bytes += len(batch.payload)
        if self._queue and self._queued_bytes - len(self._queue[0].payload) > self._queue_bytes_max:
            self._drop_out()
        else:
            self._queue.append(batch)
        self._rouse()

    def _takes_at_once(self, batch: Batch) -> bool:
        """May a message go to the viewer as it is? Then it counts as taken."""
        seq = batch.seq
        if seq is None or seq <= self.seq or len(batch.payload) > _CHUNK_BYTES or not self._continuity.passes(batch):
            return False
        self.seq, self._last_read, self._last_waits = seq, batch.last, False
        return True

    def _rouse(self) -> None:
        """There is something to do."""
        self._idle = False
        self._wake.set()

    def start_over(self) -> None:
        """The log is another one than before: read it from its beginning. What the viewer has is known by its ids."""
        self._drop_out()
        self._start_over = True
        self._rouse()

    def look_at(self, row: TailRow) -> None:
        """The record says that the run waits. If the log does not, nothing would come for long: so it is to be shown."""
        if self._joined and not self._queue and self._lacks_the_wait(row):
            self._row = row
            self._drop_out()
            self._rouse()

    def _lacks_the_wait(self, row: TailRow) -> bool:
        """Did the log lose that the run waits? Its ``run.waiting`` was appended before the record had it."""
        if row.status != "waiting" or self._shown_waiting == row.attempt:
            return False
        return self._last_read is None or (self._last_read.attempt <= row.attempt and not self._last_waits)

    def lose(self) -> None:
        """The run is gone from the record."""
        self._gone = True
        self._rouse()

    def _drop_out(self) -> None:
        """Leave the tail's live messages; what waited is read from the stream again."""
        self._joined = False
        self._queue.clear()
        self._queued_bytes = 0
        if self._tail is not None:
            self._tail.dismiss(self)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Whole events and keepalive comments, joined as they gathered. It ends after the run's last event.

        Raises:
            RunGone: the run was deleted.
        """
        self._quiet.start()
        self._over = self._has_the_end()
        try:
            while not self._over:
                source = self._live() if self._joined else with_keepalives(self._catch_up(), self._quiet.due_at)
                async with contextlib.aclosing(source):
                    async for chunk in source:
                        yield chunk
                        del chunk  # it may be large, and the next one an hour away
                        self._quiet.wrote()
                if self._may_be_over():
                    self._over = await self._agreed()
                    self._continuity.ending, self._told_of_end = None, False
                    self._pause_s = _RETRY_PAUSE_S
        finally:
            self._quiet.stop()
            if self._tail is not None:
                await self._tails.leave(self._tail, self)

    def _may_be_over(self) -> bool:
        return self._continuity.ending is not None or self._told_of_end

    async def _agreed(self) -> bool:
        """Does the record agree that the viewer has seen the end? An interruption, the last event a moment ago, may be over."""
        try:
            row = await self._tails.row(self.run_id)
        except StoreUnavailable:
            return self._continuity.ending in TERMINAL_TYPES  # such an event follows the record's commit
        if row is None:
            return True
        self._row = row
        if row.status in TERMINAL and self._joined:
            self._drop_out()  # if this was not the end, it is to be had from the record
        return self._has_the_end() or (row.status in TERMINAL and self._continuity.ending in TERMINAL_TYPES)

    def _has_the_end(self) -> bool:
        """Is the last event that the viewer has the one that ended the run, as far as the record was read?"""
        frame = ending_frame(self._row)
        return frame is not None and self._continuity.last == Batch.of(None, frame).last

    async def _take(self, batch: Batch) -> None:
        if batch.seq is not None and batch.seq <= self.seq:
            return
        await self._continuity.take(batch, self._out)
        if batch.seq is None:
            self._told_of_end = True
        else:
            self.seq = batch.seq
            self._last_read = batch.last
            self._last_waits = not batch.plain and batch.last_type == "run.waiting"

    def _flush(self) -> bytes:
        chunk = b"".join(self._out)
        self._out.clear()
        return chunk

    async def _live(self) -> AsyncGenerator[bytes, None]:
        """What the tail hands on; returns at an event that may be the last, and when this viewer has dropped out."""
        while self._joined:
            if not self._queue and not self._gone:
                await self._wait()
            if self._gone:
                raise RunGone(str(self.run_id))
            try:
                size = 0  # of no more than a chunk a viewer has a copy of its own, however much waits for it
                while self._queue and (not size or size + len(self._queue[0].payload) <= _CHUNK_BYTES):
                    size += len(self._queue[0].payload)
                    await self._take(self._queue[0])
                    if self._queue:  # it may have dropped out meanwhile
                        self._queued_bytes -= len(self._queue.popleft().payload)
                if self._quiet.is_due and not self._queue:
                    await self._continuity.settle(self._out)
            except StoreUnavailable:
                self._drop_out()  # a gap is mended from the record: try again, from the log
            if self._out:
                yield self._flush()
            elif self._quiet.is_due:
                yield KEEPALIVE
            if self._may_be_over() and not self._queue:
                return

    async def _wait(self) -> None:
        """Until there is something to do; meanwhile the tail may write."""
        self._wake.clear()
        self._idle = True
        try:
            await self._wake.wait()
        finally:
            self._idle = False
        if self._unwritten is not None:
            await self._unwritten
            self._unwritten = None

    async def _catch_up(self) -> AsyncGenerator[bytes, None]:
        """Read the log from where this viewer stands to its end, then join the tail. Goes on trying while something is away."""
        began_at = self._loop.time()
        while not (self._joined or self._may_be_over()):
            await asyncio.sleep(self._pause_s)
            self._pause_s = 0.0
            if self._gone:
                raise RunGone(str(self.run_id))
            try:
                async with contextlib.aclosing(self._replay()) as replay:
                    async for chunk in replay:
                        yield chunk
            except BusUnavailable:
                self._pause_s = _RETRY_PAUSE_S
                if self._loop.time() - began_at >= _LOG_PATIENCE_S:
                    await self._end_without_the_log()
            except StoreUnavailable:
                self._pause_s = _RETRY_PAUSE_S
            if self._out:
                yield self._flush()

    async def _replay(self) -> AsyncGenerator[bytes, None]:
        if self._start_over:
            self._start_over, self.seq, self._read_to = False, 0, 0
        ending = ending_frame(self._row)
        if ending is None:
            self._tail = self._tail or self._tails.follow(self)
            await self._tail.listen(self._tails.client)
            async for chunk in self._read_log():
                yield chunk
            if self._continuity.ending is None and not self._start_over:
                self._pause_s = _BEHIND_PAUSE_S
                if self._lacks_the_wait(self._row):
                    may_join = await self._caught_up()
                else:
                    may_join = not self._continuity.is_ahead or await self._rewound()
                if may_join:
                    self._joined = self._tail.admit(self, self._continuity.last)
            return
        # The record was read before; now the log, up to its leader's end; only then is the last event made, if it is missing.
        end = await event_log.end(self._tails.client, self.run_id)
        for _ in range(_STALE_READS_MAX):
            async for chunk in self._read_log():
                yield chunk
            if self._read_to >= end.seq:
                break
        if self._continuity.ending is None:
            await self._conclude(ending)
            if self._out:
                yield self._flush()

    async def _rewound(self) -> bool:
        """The log that was read ends before the viewer's cursor. Does it, asked of its leader? Then a snapshot is due."""
        end = await event_log.end(self._tails.client, self.run_id)
        if end.seq > self._read_to:
            return False
        picture = await self._continuity.rewind(end.last_id, self._out)
        if picture.terminal_id is not None:
            self._row = picture.run
        return picture.terminal_id is None

    async def _caught_up(self) -> bool:
        """Show what the run waits for, as the log does not. False: it has ended meanwhile."""
        picture = await self._continuity.catch_up(self._out)
        self._shown_waiting = self._row.attempt
        if picture.terminal_id is not None:
            self._row = picture.run
        return picture.terminal_id is None

    async def _conclude(self, frame: bytes) -> None:
        """Take the record's last event. A viewer that believes to be further than a run that is over is brought back to it."""
        batch, last = Batch.of(None, frame), self._continuity.last
        if self._row.status in TERMINAL and last is not None and last > batch.last:
            await self._continuity.rewind(None, self._out)
        await self._take(batch)

    async def _read_log(self) -> AsyncGenerator[bytes, None]:
        size = 0
        reading = event_log.Reading(self.run_id, self.seq)
        async for entry in reading.to_the_end(self._tails.client):
            try:
                batch = Batch.of(entry.seq, entry.payload)
            except ValueError:  # not events: the gap that it leaves is mended like any other
                self.seq = entry.seq
                continue
            if self._out and len(entry.payload) >= _CHUNK_BYTES:
                yield self._flush()  # a large one goes as it is, not copied together with those before it
                size = 0
            await self._take(batch)
            size += len(entry.payload)
            if size >= _CHUNK_BYTES and self._out:
                yield self._flush()
                size = 0
        self.seq, self._read_to = max(self.seq, reading.seq), reading.at
        if self._out:
            yield self._flush()

    async def _end_without_the_log(self) -> None:
        """NATS is away. If the run has ended, the record alone can bring the viewer to the end."""
        frame = ending_frame(self._row)
        ending = self._tail.ending if self._tail is not None else None
        with contextlib.suppress(StoreUnavailable):
            if frame is not None:
                await self._conclude(frame)
            elif ending is not None and (self._continuity.last is None or ending.last > self._continuity.last):
                await self._take(ending)  # else it is an interruption that is over
