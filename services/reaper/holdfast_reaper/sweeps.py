"""What a reaper looks for in the record, again and again, since every quick way to learn of it may fail.

Each sweep is bounded and safe to repeat, and runs in a task of its own: one that fails is logged and counted, and holds up
neither the others nor the detection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from holdfast import metrics
from holdfast.errors import Retryable
from holdfast.logs import get_logger
from holdfast.settings import ReaperSettings
from holdfast.store import Database, stranger
from holdfast_reaper.act import Announcer, count
from holdfast_reaper.judging import Judging
from holdfast_reaper.senses import Senses

log = get_logger(__name__)

_REQUEST_AGE_S = 2.0  # whoever queued the run is given this long to publish its request
_AGENT_UNSEEN_S = 24 * 3600.0
_AGENTS_INTERVAL_S = 600.0
_START = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One kind of look through the record."""

    name: str
    interval_s: float
    look: Callable[[], Awaitable[None]]

    async def keep(self) -> None:
        """Look, wait, look again; ends by cancellation only."""
        while True:
            try:
                await self.look()
            except Retryable as error:
                metrics.SWEEP_FAILURES.labels(sweep=self.name).inc()
                log.warning("reaper.sweep_failed", sweep=self.name, error=str(error))
            except Exception:  # a bug in one sweep must not take the detection down with it
                metrics.SWEEP_FAILURES.labels(sweep=self.name).inc()
                log.exception("reaper.sweep_failed", sweep=self.name)
            await asyncio.sleep(self.interval_s)


class Sweeps:
    """The sweeps of a reaper, with the place at which the bounded ones go on."""

    def __init__(
        self, db: Database, senses: Senses, judging: Judging, announcer: Announcer, settings: ReaperSettings
    ) -> None:
        self._db = db
        self._senses = senses
        self._judging = judging
        self._announcer = announcer
        self._settings = settings
        self._requests_after = _START

    def all(self) -> Sequence[Sweep]:
        """Every sweep, to be run beside each other."""
        interval_s = self._settings.sweep_interval_s
        return (
            Sweep("owners", interval_s, self.owners),
            Sweep("requests", interval_s, self.requests),
            Sweep("cancels", interval_s, self.cancels),
            Sweep("agents", max(interval_s, _AGENTS_INTERVAL_S), self.agents),
        )

    async def owners(self) -> None:
        """Who owns runs: the detector hears of owners that it never saw, and the dead among them are looked at again."""
        owners = await stranger.owners(self._db)
        self._senses.owners(owners)
        self._judging.look_again(owners)

    async def requests(self) -> None:
        """Queued runs that could be claimed: each gets a request unless it has one. Goes round, a batch at a time."""
        limit = self._settings.sweep_batch_size
        runs = await stranger.claimable(self._db, after=self._requests_after, older_than_s=_REQUEST_AGE_S, limit=limit)
        self._requests_after = runs[-1][0] if len(runs) == limit else _START
        restored = await self._announcer.request([(pool, run_id) for run_id, pool in runs])
        if restored:
            metrics.REQUESTS_RESTORED.inc(len(restored))
            log.info("reaper.requests_restored", count=len(restored), first=str(restored[0]))

    async def cancels(self) -> None:
        """Cancels that their owner has not heeded within the grace."""
        grace_s = self._settings.cancel_grace_s
        due = await stranger.cancels_due(self._db, grace_s=grace_s, limit=self._settings.sweep_batch_size)
        for run_id, attempt, owner in due:
            ended = await stranger.force_cancel(self._db, run_id, attempt, owner, grace_s=grace_s)
            if ended is not None:
                log.warning("run.cancel_forced", run=str(run_id), pod=owner.pod, boot=str(owner.boot))
                count(ended, reclaimed=False)
                await self._announcer.announce([ended])

    async def agents(self) -> None:
        """Agents of pods that have been gone for a day."""
        await stranger.forget_agents(self._db, unseen_s=_AGENT_UNSEEN_S)
