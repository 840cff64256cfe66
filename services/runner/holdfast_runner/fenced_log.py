"""One run's event log in the hands of one attempt: where it ends, and appends that prove it.

It compares attempts at every look and knows nothing of what is appended. What is larger than a message is appended in parts, each
fenced and retried by itself until the budget is spent. An attempt that ends between two parts leaves an event that is not all
there: readers drop it, and the next owner's append goes behind it, at the log's real end.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.bus.parts import Part, split
from holdfast.errors import BusUnavailable, LostOwnership
from holdfast.logs import get_logger
from holdfast.runs import EventId, Lease

log = get_logger(__name__)
_RETRY_INTERVAL_S = 0.1


class FencedLog:
    """Use: :meth:`find_end`, then :meth:`append`; one call at a time.

    Args:
        client: a connection with ``pending_size=0``: an append that was given up on must not land later.
        lease: whose appends these are.
        budget_s: how long a call, or a part of an append, is retried while NATS is away.
    """

    def __init__(self, client: Client, lease: Lease, *, budget_s: float) -> None:
        self._client = client
        self._lease = lease
        self._budget_s = budget_s
        self._expected_seq = 0
        self._last_id: EventId | None = None  # the last event that is whole at the end that is expected
        self._has_appended = False

    async def find_end(self) -> EventId | None:
        """Look where the log ends; appends go behind it. Returns the id of its last whole event, None when it has none.

        Raises:
            BusUnavailable: it could not be read within the budget.
            LostOwnership: a later attempt has written already.
        """
        end = await self._end(self._deadline())
        self._expect(end)
        self._has_appended = False
        return end.last_id

    def believe_end(self, seq: int, last_id: EventId) -> None:
        """Somebody says that the log ends there: the first append expects it, and looks if it is refused."""
        self._expected_seq, self._last_id, self._has_appended = seq, last_id, False

    async def append(self, payload: bytes, last_id: EventId) -> bool:
        """Append frames, the last of them ``last_id``. False: the log does not take them, or is not the one written so far.

        Raises:
            LostOwnership: somebody else writes this run's log now.
        """
        bytes_max = event_log.message_bytes_max(self._client)
        if len(payload) <= bytes_max:
            return await self._append_part(Part(payload), last_id)
        for part in split(payload, last_id, bytes_max):
            if not await self._append_part(part, last_id):
                return False
            if self._last_id == last_id:  # also when more parts would follow: the whole had landed
                break
        return True

    async def _append_part(self, part: Part, last_id: EventId) -> bool:
        deadline = self._deadline()
        while True:
            try:
                self._expected_seq = await event_log.append_part(
                    self._client,
                    self._lease.run_id,
                    part,
                    last_id=last_id if part.is_final else self._last_id,
                    attempt=last_id.attempt,
                    boot=self._lease.owner.boot,
                    expected_seq=self._expected_seq,
                )
            except event_log.Refused:
                landed = await self._look_again(part, last_id, deadline)
                if landed is None:
                    continue
                self._has_appended = self._has_appended or landed
                return landed
            except BusUnavailable as error:
                log.debug("event.append_failed", run_id=str(self._lease.run_id), error=str(error))
                if asyncio.get_running_loop().time() >= deadline:
                    return False
                await asyncio.sleep(_RETRY_INTERVAL_S)
            else:
                self._has_appended = True
                if part.is_final:
                    self._last_id = last_id
                return True

    async def _look_again(self, part: Part, last_id: EventId, deadline: float) -> bool | None:
        """After a refusal: had it landed (True), is the log another one (False), or is it to be tried again (None)?"""
        try:
            end = await self._end(deadline)
        except BusUnavailable:
            return False
        if end.last_id == last_id or (end.part is not None and end.part == part.mark):
            self._expect(end)
            return True
        # Until this attempt has written, a zombie may add a last word; what it finds shorter than before has lost something.
        if not self._has_appended and end.attempt is not None and end.attempt < self._lease.attempt:
            grown = end.seq > self._expected_seq
            self._expect(end)
            return None if grown else False
        return False

    def _expect(self, end: event_log.End) -> None:
        self._expected_seq, self._last_id = end.seq, end.last_id

    async def _end(self, deadline: float) -> event_log.End:
        while True:
            try:
                end = await event_log.end(self._client, self._lease.run_id)
            except BusUnavailable:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(_RETRY_INTERVAL_S)
            else:
                self._refuse_later(end)
                return end

    def _refuse_later(self, end: event_log.End) -> None:
        mine, theirs = self._lease, end.attempt
        if theirs is None or theirs < mine.attempt:
            return
        if theirs > mine.attempt or end.boot != str(mine.owner.boot):
            raise LostOwnership(f"the log of run {mine.run_id} is at {end.part.event_id if end.part else end.last_id}")

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._budget_s
