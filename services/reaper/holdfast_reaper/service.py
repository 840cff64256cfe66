"""The reaper as a service: which parts it is made of, how they are joined, how it starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

from holdfast.logs import get_logger
from holdfast.service import Service, health_endpoint, run_beside
from holdfast.settings import ReaperSettings
from holdfast.store import Database, schema
from holdfast_reaper.act import Announcer, Reclaimer
from holdfast_reaper.carrier import Carrier
from holdfast_reaper.judging import WORKERS, Judging
from holdfast_reaper.probing import Probing
from holdfast_reaper.senses import Senses
from holdfast_reaper.sweeps import Sweeps
from holdfast_reaper.watching import OwnHeartbeat, Watch

log = get_logger(__name__)


class Reaper:
    """One replica. All replicas act; the record's guards let one win each time."""

    def __init__(self, settings: ReaperSettings) -> None:
        loop = asyncio.get_running_loop()
        self.boot = uuid4()
        self._settings = settings
        self._db = Database(
            settings.postgres_url, pool_size=settings.postgres_pool_size, timeout_s=settings.postgres_timeout_s
        )
        self.senses = Senses(settings, clock=loop.time)
        self._carrier = Carrier(settings.nats_url)
        self._watch = Watch(self._carrier, self.senses, settings, self.boot)
        self._carrier.on_change = self._watch.link_changed
        self._heartbeat = OwnHeartbeat(self._carrier, settings, self.boot)
        self._probing = Probing(self._carrier, self.senses, settings)
        announcer = Announcer(self._db, self._carrier)
        self._judging = Judging(self.senses, Reclaimer(self._db, announcer, batch_size=settings.sweep_batch_size))
        self._sweeps = Sweeps(self._db, self.senses, self._judging, announcer, settings)
        self._schema_fits = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. A part that dies ends the whole with its error."""
        async with health_endpoint(self, self._settings):
            try:
                async with asyncio.TaskGroup() as group:
                    work = group.create_task(self._work(), name="reaper")
                    await stop.wait()
                    work.cancel()
                await self._heartbeat.goodbye()
            finally:
                await self._carrier.close()
                await self._db.close()

    async def not_ready(self) -> list[str]:
        """Why it cannot reap now, in words for an operator."""
        if not self._schema_fits:
            return ["the database's schema has not been seen to fit yet"]
        problems = [self._watch.problem, self._heartbeat.problem, self._probing.problem, self.senses.problem()]
        return [*self._carrier.problems(), *(problem for problem in problems if problem)]

    async def _work(self) -> None:
        await schema.wait_for(self._db, timeout_s=self._settings.schema_wait_s)
        self._schema_fits = True
        log.info("reaper.started", boot=str(self.boot))
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "watch-link": self._carrier.keep_watching(),
            "request-link": self._carrier.keep_requesting(),
            "watch": self._watch.keep(),
            "heartbeat": self._heartbeat.keep(),
            "probing": self._probing.keep(),
            "judging": self._judging.keep_judging(),
            **{f"reclaim-{n}": self._judging.keep_reclaiming() for n in range(WORKERS)},
            **{f"sweep-{sweep.name}": sweep.keep() for sweep in self._sweeps.all()},
        }
        await run_beside(parts)


def build(settings: ReaperSettings) -> Service:
    """The composition root.

    Raises:
        Terminal: the settings contradict each other.
    """
    return Reaper(settings)
