"""Looking at the links of boots: whose advisory lock is free, and whose ping subject nobody answers.

One query for all locks, every ``probe_interval_s``; its failure is the loss of the reaper's own link to Postgres. Then a ping to
each boot that has lost its lock or that the detector suspects. No answer in time is "not known", and evidence of nothing.
"""

from __future__ import annotations

import asyncio

from holdfast.bus import heartbeats
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.settings import ReaperSettings
from holdfast.store.session import Session
from holdfast_reaper.carrier import Carrier
from holdfast_reaper.evidence import Link
from holdfast_reaper.senses import Boot, Senses

log = get_logger(__name__)

_PING_TIMEOUT_S = 0.3
_RECONNECT_WAIT_S = 0.25


class Probing:
    """The reaper's session in Postgres, and the rounds of looking."""

    def __init__(self, carrier: Carrier, senses: Senses, settings: ReaperSettings) -> None:
        self._carrier = carrier
        self._senses = senses
        self._settings = settings
        # a frozen server blinds the reaper, and must do so before its runners' silence could convict them
        self._timeout_s = min(settings.postgres_timeout_s, settings.heartbeat_ttl_s / 2)
        self.problem = "no session in Postgres yet"

    async def keep(self) -> None:
        """Hold a session and look by it, anew whenever it is lost; ends by cancellation only."""
        while True:
            try:
                session = await Session.open(self._settings.postgres_url, timeout_s=self._timeout_s)
            except StoreUnavailable as error:
                self._lost(error)
            else:
                self.problem = ""
                self._senses.link(Link.POSTGRES, up=True)
                try:
                    await self._look_until_lost(session)
                except StoreUnavailable as error:
                    self._lost(error)
                finally:
                    await session.close()
            await asyncio.sleep(_RECONNECT_WAIT_S)

    def _lost(self, error: StoreUnavailable) -> None:
        if not self.problem:
            log.warning("reaper.session_lost", error=str(error))
        self.problem = f"no session in Postgres: {error}"
        self._senses.link(Link.POSTGRES, up=False)

    async def _look_until_lost(self, session: Session) -> None:
        while True:
            began = self._senses.now()
            if self._settings.probe_sessions:
                await self._look(session, began)
            else:
                await session.check()
            spent_s = self._senses.now() - began
            await asyncio.sleep(max(self._settings.probe_interval_s - spent_s, 0.0))

    async def _look(self, session: Session, began: float) -> None:
        boots = self._senses.worth_a_look()
        free = await session.free_boots([boot for _, boot in boots])
        suspects = {each for each in boots if each[1] in free} | self._senses.suspects()
        if not suspects:
            return
        ordered = sorted(suspects)  # for a trace that can be read; a set's own order differs between processes
        answers = await asyncio.gather(*(self._ping(each) for each in ordered))
        for each, answered in zip(ordered, answers, strict=True):
            self._senses.probed(began, each, unanswered=answered is False, session_gone=each[1] in free)
        self._senses.worth_judging.set()

    async def _ping(self, boot: Boot) -> bool | None:
        try:
            return await heartbeats.ping(self._carrier.client, *boot, timeout_s=_PING_TIMEOUT_S)
        except BusUnavailable:
            return None
