"""What a reaper does to runs that are not its own: take them from a dead owner, and let everybody know whom it concerns.

Every write is a guarded statement that names the owner and the attempt seen, so of many reapers one wins, and a run that went on
meanwhile is left alone. Telling comes after, and may fail: sweeps restore requests and wake parents, and tails make an event
from the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from holdfast import metrics
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import TERMINAL, EventId, Owner, Status
from holdfast.store import Database, Ended, owner, stranger
from holdfast_reaper.carrier import Carrier

log = get_logger(__name__)

_BATCHES_MAX = 1000
_AT_ONCE_MAX = 64


def event_of(ended: Ended) -> tuple[EventId, str, dict[str, Any]] | None:
    """The event that a stranger's transition makes: (id, type, data). None for a run that went back to its queue."""
    if ended.terminal_event_id is None:
        return None
    data: dict[str, Any] = {}
    if ended.status == Status.FAILED:
        data["error"] = ended.error
    elif ended.status == Status.INTERRUPTED:
        data |= {"reason": "owner_lost", "error": ended.error}
    data["keep_through"] = ended.keep_through  # last: a tail that makes the event from the record writes the same bytes
    return EventId.parse(ended.terminal_event_id), f"run.{ended.status}", data


class Announcer:
    """Tells runners and viewers what became of runs, and wakes the parents that waited for it."""

    def __init__(self, db: Database, carrier: Carrier) -> None:
        self._db = db
        self._carrier = carrier

    async def announce(self, ended: Sequence[Ended]) -> None:
        """Requests first, for the runs themselves and for those whose thread they freed; then the events; then the parents.

        What NATS or the record did not take is logged, never raised.
        """
        wanted = [(each.pool, each.id) for each in ended if each.status == Status.QUEUED]
        wanted += [(each.next_pool, each.next_id) for each in ended if each.next_pool and each.next_id]
        await self.request(wanted)
        told = [(each.id, event) for each in ended if (event := event_of(each)) is not None]
        await self._in_chunks("event", [self._carrier.tell(run_id, *event) for run_id, event in told])
        parents = {each.parent_run_id for each in ended if each.parent_run_id and each.status in TERMINAL}
        if parents:
            await self._wake(sorted(parents))

    async def request(self, wanted: Sequence[tuple[str, UUID]]) -> list[UUID]:
        """Ask for a runner for each (pool, run). Returns the runs whose request was not there before."""
        answers = await self._in_chunks("request", [self._carrier.request(*each) for each in wanted])
        return [run_id for (_, run_id), was_new in zip(wanted, answers, strict=False) if was_new]

    async def _wake(self, parents: list[UUID]) -> None:
        """Parents go on at once; those that are missed here are found by the sweep."""
        try:
            woken = await stranger.wake(self._db, run_ids=parents, limit=len(parents))
        except StoreUnavailable as error:
            log.warning("reaper.not_told", what="parent", count=len(parents), error=str(error))
            return
        await self.request([(each.pool, each.id) for each in woken])

    async def _in_chunks(self, what: str, words: list[Coroutine[Any, Any, Any]]) -> list[Any]:
        """The answers, in order, up to the end of the first chunk in which NATS did not answer; a failed one counts as None."""
        answers: list[Any] = []
        for start in range(0, len(words), _AT_ONCE_MAX):
            chunk = await asyncio.gather(*words[start : start + _AT_ONCE_MAX], return_exceptions=True)
            failed = [each for each in chunk if isinstance(each, BaseException)]
            for each in failed:
                if not isinstance(each, BusUnavailable):
                    raise each
            answers += [None if isinstance(each, BaseException) else each for each in chunk]
            if failed:
                rest = words[start + _AT_ONCE_MAX :]
                log.warning("reaper.not_told", what=what, count=len(failed) + len(rest), error=str(failed[0]))
                for word in rest:
                    word.close()
                break
        return answers


class Reclaimer:
    """Takes the runs of dead owners."""

    def __init__(self, db: Database, announcer: Announcer, *, batch_size: int) -> None:
        self._db = db
        self._announcer = announcer
        self._batch_size = batch_size

    async def reclaim(self, dead: Owner, still_dead: Callable[[], bool]) -> bool:
        """Take every run of a dead owner, in batches. Returns False when it stopped since the owner is not held dead any more.

        ``still_dead`` is asked before each batch: this process may have been frozen since the verdict.

        Raises:
            StoreUnavailable: the record did not answer; what is left is left.
        """
        for _ in range(_BATCHES_MAX):
            owned = await owner.owned(self._db, dead, limit=self._batch_size)
            if not owned:
                return True
            if not still_dead():
                return False
            ended = await stranger.reclaim(self._db, dead, [(run_id, attempt) for run_id, attempt, _ in owned])
            for each in ended:
                log.info(
                    "run.reclaimed", run=str(each.id), becomes=each.status, attempt=each.attempt, from_pod=dead.pod
                )
                count(each, reclaimed=True)
            await self._announcer.announce(ended)
        return False


def count(ended: Ended, *, reclaimed: bool) -> None:
    """Count what became of a run."""
    if reclaimed:
        metrics.RUNS_RECLAIMED.labels(becomes=ended.status).inc()
    if ended.status in (Status.CANCELLED, Status.FAILED):
        metrics.RUNS_ENDED.labels(status=ended.status).inc()
