"""The one ordered writer of an attempt's events: ids, coalescing, and mending a log that was lost.

While one append is in flight, new events gather and go together; a large one goes alone, in parts if it needs several messages.
When the log does not take them within the budget, or is not the one that was written so far, it counts as lost: events are
dropped, flushes return at once, and as soon as NATS is back a ``snapshot`` replaces all before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.client import Client
from pydantic_core import PydanticSerializationError

from holdfast import metrics
from holdfast.bus import event_log
from holdfast.errors import AgentFailed, BusUnavailable, LostOwnership
from holdfast.logs import get_logger
from holdfast.runs import QUEUED_ID, EventId, Lease
from holdfast.wire import events
from holdfast_runner.ended import cancelled
from holdfast_runner.fenced_log import FencedLog

log = get_logger(__name__)
_BATCH_BYTES_MAX = 256 * 1024
_MEND_INTERVAL_S = 0.25
_END_PATIENCE_S = 2.0
_WAIT_S = 0.005


class EventWriter:
    """Writes the events of one attempt. Use: :meth:`open`, :meth:`emit` and :meth:`flush`, at the end :meth:`seal` and
    :meth:`tell_end`, :meth:`close`.

    Args:
        client: a connection with ``pending_size=0``: an append that was given up on must not land later.
        lease: whose events these are.
        budget_s: how long an append is retried before the log counts as lost.
        buffer_bytes_max: what may be emitted and not yet acknowledged: of small events, and again of large ones, of which one
            may always wait.
        event_bytes_max: the largest event.
        snapshot: the data of a snapshot as of now.
        on_lost: called once with where it showed, when somebody else is found to have the run.
    """

    def __init__(
        self,
        client: Client,
        lease: Lease,
        *,
        budget_s: float,
        buffer_bytes_max: int,
        snapshot: Callable[[], Mapping[str, Any]],
        on_lost: Callable[[str], None],
        event_bytes_max: int = 32 * 1024 * 1024,
    ) -> None:
        self._client = client
        self._lease = lease
        self._log = FencedLog(client, lease, budget_s=budget_s)
        self._buffer_bytes_max = buffer_bytes_max
        self._event_bytes_max = event_bytes_max
        self._snapshot = snapshot
        self._on_lost = on_lost
        self._frames: deque[tuple[EventId, bytes]] = deque()
        self._bytes = self._large_bytes = 0
        self._next = EventId(lease.attempt, 1)
        self._acked: EventId | None = None
        self._losses = 0
        self._log_lost = False
        self._given_up = False
        self._superseded = ""
        self._sealed = False
        self._owed: EventId | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._pump_task: asyncio.Task[None] | None = None

    @property
    def next_id(self) -> EventId:
        """The id that the next event will have."""
        return self._next

    @property
    def event_bytes_max(self) -> int:
        """The largest event that is taken."""
        return self._event_bytes_max

    async def open(self, queued_seq: int | None = None) -> EventId | None:
        """Find the log's end. Returns the id of its last event; None when it has none, or cannot be read within the budget.

        ``queued_seq``: somebody says that the log ends there, with the run's first event; believed until an append is refused.

        Raises:
            LostOwnership: a later attempt has written already.
        """
        end: EventId | None = None
        if queued_seq is not None:
            self._log.believe_end(queued_seq, QUEUED_ID)
        else:
            try:
                end = await self._log.find_end()
            except BusUnavailable:
                self._lose_log()
        self._pump_task = asyncio.create_task(self._pump(), name=f"events {self._lease.run_id}")
        return end

    def emit(self, event_type: str, data: Mapping[str, Any], *, may_wait: bool = False) -> EventId:
        """Add an event behind all earlier ones. Returns its id at once; :meth:`flush` says when it is in the log.

        ``may_wait``: it goes with the next one, or alone a moment later.

        Raises:
            AgentFailed: nothing was added: ``event_buffer_full`` (far more was emitted than the log has taken), ``too_large``,
                ``not_json``.
        """
        event_id = self._next
        self._add(event_id, event_type, data, may_wait=may_wait)
        self._next = event_id.next()
        return event_id

    def refuse_unfit(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Raise as :meth:`emit` would for an event that no log can hold. Nothing is added."""
        self._framed(self._next, event_type, data)

    def emit_snapshot(self) -> None:
        """Add a ``snapshot`` of now. One that is too large costs the log, not the run: tails go on from the record."""
        self._add_snapshot(self._next)
        self._next = self._next.next()

    async def flush(self) -> EventId | None:
        """Wait until all that was emitted is in the log. Returns the last event's id, or None when the log lost some of it.

        Raises:
            LostOwnership: somebody else writes this run's log now.
        """
        target, losses = EventId(self._next.attempt, self._next.n - 1), self._losses
        if target.n == 0 or self._pump_task is None:
            return None
        self._wake.set()
        if not self._log_lost:
            await self._until(lambda: bool(self._superseded) or self._losses != losses or self._has_acked(target))
        if self._superseded:
            raise LostOwnership(self._superseded)
        return None if self._log_lost or self._losses != losses else target

    def seal(self) -> EventId:
        """Nothing but the terminal event follows, after the snapshot that a lost log is owed. Returns the terminal event's id.

        So that the id which the record is told cannot be another event's.
        """
        if not self._sealed and self._log_lost:
            self._owed = self._next
            self._next = self._next.next()
        self._sealed = True
        return self._next

    async def tell_end(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Write the terminal event, if NATS takes it; whoever tails the run makes it from the record otherwise.

        Raises:
            LostOwnership: somebody else writes this run's log now.
        """
        if self._pump_task is None:
            return
        try:
            async with asyncio.timeout(_END_PATIENCE_S):
                await self._until(lambda: bool(self._superseded) or self._given_up or not self._log_lost)
            self.emit(event_type, data)
        except (TimeoutError, AgentFailed) as error:
            log.info("run.end_untold", run_id=str(self._lease.run_id), error=str(error))
        await self.flush()

    async def close(self) -> None:
        """Stop; what was not flushed is dropped."""
        if self._pump_task is not None:
            await cancelled(self._pump_task)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def _add(self, event_id: EventId, event_type: str, data: Mapping[str, Any], *, may_wait: bool = False) -> None:
        one = self._framed(event_id, event_type, data)
        if self._log_lost:
            return
        if self._has_no_room(len(one)):
            waiting = self._bytes + self._large_bytes
            raise AgentFailed("event_buffer_full", f"{waiting} bytes of events wait for the event log")
        self._frames.append((event_id, one))
        self._count(len(one), 1)
        if may_wait:
            asyncio.get_running_loop().call_later(_WAIT_S, self._wake.set)
        else:
            self._wake.set()

    def _has_no_room(self, size: int) -> bool:
        if size > _BATCH_BYTES_MAX:
            return self._large_bytes > 0 and self._large_bytes + size > self._buffer_bytes_max
        return self._bytes + size > self._buffer_bytes_max

    def _count(self, size: int, times: int) -> None:
        if size > _BATCH_BYTES_MAX:
            self._large_bytes += size * times
        else:
            self._bytes += size * times

    def _framed(self, event_id: EventId, event_type: str, data: Mapping[str, Any]) -> bytes:
        try:
            one = events.frame(event_id, event_type, data)
        except PydanticSerializationError as error:
            raise AgentFailed("not_json", f"an event {event_type} is not a JSON value: {error}") from error
        if len(one) > self.event_bytes_max:
            raise AgentFailed(
                "too_large", f"an event {event_type} has {len(one)} bytes; {self.event_bytes_max} are allowed"
            )
        return one

    def _add_snapshot(self, event_id: EventId) -> None:
        data = self._snapshot()
        steps = [{**step, "output": None, "output_left_out": True} for step in data.get("steps", ())]
        for attempted in (data, {**data, "steps": steps}):
            try:
                self._add(event_id, "snapshot", attempted)
            except AgentFailed as failed:
                log.info("event_log.snapshot_refused", run_id=str(self._lease.run_id), error=failed.message)
            else:
                return
        self._give_up()

    # -- the pump ----------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        try:
            while True:
                if self._log_lost:
                    await self._mend()
                await self._wake.wait()
                self._wake.clear()
                while self._frames and not self._log_lost:
                    await self._append_batch()
        except LostOwnership as lost:
            self._superseded = str(lost)
            self._tell_waiters()
            self._on_lost(self._superseded)
        except Exception:  # the run goes on without its log: the record decides, and tails go on from there
            log.exception("event_log.failed", run_id=str(self._lease.run_id), attempt=self._lease.attempt)
            self._give_up()
            self._tell_waiters()

    async def _append_batch(self) -> None:
        """Append what has gathered, as one message, or one event that needs several, and wait for the answer."""
        batch: list[bytes] = []
        size = 0
        size_max = min(_BATCH_BYTES_MAX, event_log.message_bytes_max(self._client))
        last_id = self._frames[0][0]
        for event_id, one in self._frames:
            if batch and size + len(one) > size_max:
                break
            batch.append(one)
            size += len(one)
            last_id = event_id
        with metrics.APPEND_SECONDS.time():
            landed = await self._log.append(b"".join(batch), last_id)
        if self._given_up:  # meanwhile, by a snapshot that did not fit: what is queued is dropped already
            return
        if not landed:
            self._lose_log()
            self._tell_waiters()
            return
        for _ in batch:
            self._frames.popleft()
        self._count(size, -1)  # a large one was alone
        self._acked = last_id
        self._tell_waiters()

    def _lose_log(self) -> None:
        log.warning("event_log.lost", run_id=str(self._lease.run_id), attempt=self._lease.attempt)
        metrics.LOGS_LOST.inc()
        self._log_lost = True
        self._losses += 1
        self._frames.clear()
        self._bytes = self._large_bytes = 0
        self._wake.set()

    def _give_up(self) -> None:
        """For good: what is emitted from now on is dropped."""
        self._lose_log()
        self._given_up = True

    async def _mend(self) -> None:
        """Wait for the log, then replace all before it by a snapshot; emits that come meanwhile queue up behind it."""
        if self._sealed and self._owed is None:  # lost with the terminal event: no id is left for a snapshot
            self._given_up = True
        while not self._given_up:
            try:
                end = await self._log.find_end()
            except BusUnavailable as error:
                log.debug("event_log.away", run_id=str(self._lease.run_id), error=str(error))
                await asyncio.sleep(_MEND_INTERVAL_S)
                continue
            self._log_lost = False
            if self._owed is None:
                self.emit_snapshot()
            elif end != self._owed:  # else it had landed
                self._add_snapshot(self._owed)
            break
        self._tell_waiters()

    def _has_acked(self, target: EventId) -> bool:
        return self._acked is not None and self._acked >= target

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that :meth:`_tell_waiters` tells of."""
        while not is_so():
            told = asyncio.get_running_loop().create_future()
            self._waiters.append(told)
            await told

    def _tell_waiters(self) -> None:
        """What was acknowledged, lost or mended has changed."""
        waiters, self._waiters = self._waiters, []
        for told in waiters:
            if not told.done():
                told.set_result(None)
