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
from holdfast.store import Database, feed, retention, stranger, webhooks
from holdfast_reaper.act import Announcer, count
from holdfast_reaper.judging import Judging
from holdfast_reaper.senses import Senses

log = get_logger(__name__)

_REQUEST_AGE_S = 2.0  # whoever queued the run is given this long to publish its request
_REQUEST_LOOKS_MAX = 20  # of a batch of threads each: most of them may be held up by a run that waits for a person
_AGENT_UNSEEN_S = 24 * 3600.0
_AGENTS_INTERVAL_S = 600.0
_FORGET_INTERVAL_S = 60.0
_DELIVERIES_KEEP_S = 30 * 24 * 3600.0
_RETENTION_INTERVAL_S = 3600.0
_RETENTION_RUNS_MAX, _RETENTION_STEPS_MAX = 100, 20_000  # what goes in one statement; that takes half a second
_PAUSE_MIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Sweep:
    """One kind of look through the record. A look may name a time, in seconds, after which the next one is wanted sooner."""

    name: str
    interval_s: float
    look: Callable[[], Awaitable[float | None]]

    async def keep(self) -> None:
        """Look, wait, look again; ends by cancellation only."""
        while True:
            sooner_s = None
            try:
                sooner_s = await self.look()
            except Retryable as error:
                metrics.SWEEP_FAILURES.labels(sweep=self.name).inc()
                log.warning("reaper.sweep_failed", sweep=self.name, error=str(error))
            except Exception:  # a bug in one sweep must not take the detection down with it
                metrics.SWEEP_FAILURES.labels(sweep=self.name).inc()
                log.exception("reaper.sweep_failed", sweep=self.name)
            pause_s = self.interval_s if sooner_s is None else min(self.interval_s, sooner_s)
            await asyncio.sleep(max(pause_s, _PAUSE_MIN_S))


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
        self._requests_after = stranger.START
        self._threads_after = retention.START

    def all(self) -> Sequence[Sweep]:
        """Every sweep, to be run beside each other."""
        interval_s = self._settings.sweep_interval_s
        return (
            Sweep("owners", interval_s, self.owners),
            Sweep("requests", interval_s, self.requests),
            Sweep("cancels", interval_s, self.cancels),
            Sweep("timers", self._settings.wake_interval_s, self.timers),
            Sweep("expiries", interval_s, self.expiries),
            Sweep("orphans", interval_s, self.orphans),
            Sweep("agents", max(interval_s, _AGENTS_INTERVAL_S), self.agents),
            Sweep("forget", max(interval_s, _FORGET_INTERVAL_S), self.forget),
            Sweep("retention", max(interval_s, _RETENTION_INTERVAL_S), self.retention),
        )

    async def owners(self) -> None:
        """Who owns runs: the detector hears of owners that it never saw, and the dead among them are looked at again."""
        owners = await stranger.owners(self._db)
        self._senses.owners(owners)
        self._judging.look_again(owners)

    async def requests(self) -> float | None:
        """Queued runs that could be claimed: each gets a request unless it has one. Goes round the threads, a batch at a time.

        At once to the next when most had none: NATS has lost its data, and runners hear of a queue in no other way.
        """
        limit = self._settings.sweep_batch_size
        wanted: list[tuple[str, UUID]] = []
        for _ in range(_REQUEST_LOOKS_MAX):
            found = await stranger.claimable(
                self._db, after=self._requests_after, older_than_s=_REQUEST_AGE_S, limit=limit
            )
            self._requests_after = found.go_on or stranger.START
            wanted += found.runs
            if found.go_on is None or len(wanted) * 2 > limit:
                break
        restored = await self._announcer.request(wanted)
        if restored:
            metrics.REQUESTS_RESTORED.inc(len(restored))
            log.info("reaper.requests_restored", count=len(restored), first=str(restored[0]))
        return 0.0 if found.go_on and len(restored) * 2 > len(wanted) else None

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

    async def timers(self) -> float | None:
        """Waiting runs whose time has come or whose child has ended. Returns when the next time comes, if there is one."""
        limit = self._settings.sweep_batch_size
        woken = await stranger.wake(self._db, run_ids=None, limit=limit)
        if woken:
            log.info("reaper.runs_woken", count=len(woken), first=str(woken[0].id))
            await self._announcer.request([(each.pool, each.id) for each in woken])
        if len(woken) == limit:
            return 0.0
        due_s = await stranger.due_in(self._db)
        return due_s or None  # one that is due already is in the hands of another reaper, which has locked it

    async def expiries(self) -> None:
        """Runs whose deadline has passed, and running ones that have not moved for their idle timeout."""
        for each in await stranger.expiring(self._db, limit=self._settings.sweep_batch_size):
            ended = await stranger.expire(self._db, each.run_id, each.attempt, each.owner, each.why)
            if ended is not None:
                pod = each.owner.pod if each.owner is not None else None
                log.warning("run.expired", run=str(each.run_id), why=each.why, becomes=ended.status, pod=pod)
                count(ended, reclaimed=False)
                await self._announcer.announce([ended])

    async def orphans(self) -> None:
        """Child runs that go on though their parent has ended: they are cancelled, as if a client had asked for it."""
        for tenant_id, run_id in await stranger.orphans(self._db, limit=self._settings.sweep_batch_size):
            ended = await stranger.cancel(self._db, tenant_id, run_id)
            if ended is not None:
                log.info("run.orphan_cancelled", run=str(run_id), becomes=ended.status)
                count(ended, reclaimed=False)
                await self._announcer.announce([ended])

    async def agents(self) -> None:
        """Agents of pods that have been gone for a day."""
        await stranger.forget_agents(self._db, unseen_s=_AGENT_UNSEEN_S)

    async def forget(self) -> float | None:
        """What is kept for a while only: changes, done deliveries, idempotency keys. After a full batch at once the next."""
        limit = self._settings.sweep_batch_size
        changes = await feed.forget(self._db, keep_s=self._settings.feed_keep_s, limit=limit)
        deliveries = await webhooks.forget(self._db, keep_s=_DELIVERIES_KEEP_S, limit=limit)
        keys = await retention.forget_keys(self._db, keep_s=self._settings.idempotency_keep_s, limit=limit)
        if changes or deliveries or keys:
            log.debug("reaper.forgotten", changes=changes, deliveries=deliveries, keys=keys)
        return 0.0 if limit in (changes, deliveries, keys) else None

    async def retention(self) -> float | None:
        """Threads that are over, unless they are kept for ever. A batch at a time; one with many runs goes bit by bit."""
        keep_s = self._settings.retention_s
        if keep_s is None:
            return None
        found = await retention.over(
            self._db, after=self._threads_after, keep_s=keep_s, limit=self._settings.sweep_batch_size
        )
        if found.threads:
            gone = await retention.forget_threads(
                self._db, found.threads, keep_s=keep_s, runs_max=_RETENTION_RUNS_MAX, steps_max=_RETENTION_STEPS_MAX
            )
            if gone.runs:
                log.info("reaper.threads_forgotten", threads=gone.threads, runs=gone.runs)
            if gone.more:
                return 0.0
        self._threads_after = found.go_on or retention.START
        return 0.0 if found.go_on is not None else None
