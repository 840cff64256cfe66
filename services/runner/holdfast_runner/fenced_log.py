"""One run's event log in the hands of one attempt: where it ends, and appends that prove it.

It compares attempts at every look and knows nothing of what is appended. An append is retried until the budget is spent.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from holdfast.bus import event_log
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
        budget_s: how long a call is retried while NATS is away.
    """

    def __init__(self, client: Client, lease: Lease, *, budget_s: float) -> None:
        self._client = client
        self._lease = lease
        self._budget_s = budget_s
        self._expected_seq = 0
        self._has_appended = False

    async def find_end(self) -> EventId | None:
        """Look where the log ends; appends go behind it. Returns the id of its last event, None when it is empty.

        Raises:
            BusUnavailable: it could not be read within the budget.
            LostOwnership: a later attempt has written already.
        """
        end = await self._end(self._deadline())
        self._expected_seq = end.seq
        self._has_appended = False
        return end.last_id

    async def append(self, payload: bytes, last_id: EventId) -> bool:
        """Append frames, the last of them ``last_id``. False: the log does not take them, or is not the one written so far.

        Raises:
            LostOwnership: somebody else writes this run's log now.
        """
        deadline = self._deadline()
        while True:
            try:
                self._expected_seq = await event_log.append(
                    self._client,
                    self._lease.run_id,
                    payload,
                    last_id=last_id,
                    boot=self._lease.owner.boot,
                    expected_seq=self._expected_seq,
                )
            except event_log.Refused:
                landed = await self._look_again(last_id, deadline)
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
                return True

    async def _look_again(self, last_id: EventId, deadline: float) -> bool | None:
        """After a refusal: had it landed (True), is the log another one (False), or is it to be tried again (None)?"""
        try:
            end = await self._end(deadline)
        except BusUnavailable:
            return False
        if end.last_id == last_id:
            self._expected_seq = end.seq
            return True
        # Until this attempt has written, a zombie may add a last word; what it finds shorter than before has lost something.
        if not self._has_appended and end.last_id is not None and end.last_id.attempt < self._lease.attempt:
            grown = end.seq > self._expected_seq
            self._expected_seq = end.seq
            return None if grown else False
        return False

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
        mine, theirs = self._lease, end.last_id
        if theirs is None or theirs.attempt < mine.attempt:
            return
        if theirs.attempt > mine.attempt or end.boot != str(mine.owner.boot):
            raise LostOwnership(f"the log of run {mine.run_id} is at {theirs}")

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._budget_s
