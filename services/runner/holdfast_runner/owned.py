"""The owned check: what the record gives to this boot, against what it works on.

It releases, by attempt, what has neither a task nor a claim in flight (a claim whose answer was lost), stops what the record does
not give to this boot any more, and heeds cancels whose control message was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from uuid import UUID

from holdfast.errors import LostOwnership, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import Lease, Owner
from holdfast.store import Database, Finished, owner
from holdfast_runner.execution import Execution, Stop

log = get_logger(__name__)
_RUNS_MAX = 10_000  # far more than the slots of a runner


class OwnedCheck:
    """Looks again and again.

    Args:
        db: the record.
        me: this pod and boot.
        executions: what is worked on, by run.
        in_flight: the runs whose claim is in flight.
        on_released: told what the release of an orphan came to.
    """

    def __init__(
        self,
        db: Database,
        me: Owner,
        executions: Mapping[UUID, Execution],
        in_flight: Set[UUID],
        on_released: Callable[[Finished], Awaitable[None]],
    ) -> None:
        self._db = db
        self._me = me
        self._executions = executions
        self._in_flight = in_flight
        self._on_released = on_released
        self.problem = ""

    async def keep(self, *, interval_s: float) -> None:
        """Look every ``interval_s``; ends by cancellation only."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
                self.problem = ""
            except StoreUnavailable as error:
                self.problem = f"record: {error}"

    async def look(self) -> None:
        """Look once.

        Raises:
            StoreUnavailable: the record did not answer.
        """
        before = dict(self._executions)
        claiming = set(self._in_flight)
        rows = await owner.owned(self._db, self._me, limit=_RUNS_MAX)
        attempts = {run_id: attempt for run_id, attempt, _ in rows}
        for run_id, execution in before.items():
            if attempts.get(run_id) != execution.lease.attempt and self._executions.get(run_id) is execution:
                execution.stop(Stop.LOST)
        for run_id, attempt, cancel_requested in rows:
            running = self._executions.get(run_id)
            if running is not None and running.lease.attempt == attempt:
                if cancel_requested:
                    running.stop(Stop.CANCEL)
            elif run_id not in before and run_id not in claiming and run_id not in self._in_flight:
                await self._give_back(Lease(run_id, self._me, attempt))

    async def _give_back(self, lease: Lease) -> None:
        """What this attempt has shown is not known here: should the run end, viewers keep what its finished steps have shown."""
        log.warning("run.orphaned", run_id=str(lease.run_id), attempt=lease.attempt)
        try:
            ended = await owner.release(self._db, lease, next_event_id=None, shown_text=None)
        except LostOwnership:
            return
        await self._on_released(ended)
