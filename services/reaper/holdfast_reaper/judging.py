"""From a verdict to its consequence: asks the detector often, and has the runs of each dead boot reclaimed once.

Owns what has been done about each dead boot. Reclaiming has workers of its own, so that a slow record holds up no verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from enum import Enum, auto
from functools import partial

from holdfast import metrics
from holdfast.errors import StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import Owner
from holdfast_reaper.act import Reclaimer
from holdfast_reaper.evidence import Death, Reason
from holdfast_reaper.senses import Boot, Senses

log = get_logger(__name__)

WORKERS = 4
_JUDGE_INTERVAL_S = 0.25
_REMEMBERED_MAX = 4096


class _Stage(Enum):
    DECLARED = auto()
    IN_HAND = auto()
    SETTLED = auto()


class Judging:
    """Verdicts become reclaims."""

    def __init__(self, senses: Senses, reclaimer: Reclaimer) -> None:
        self._senses = senses
        self._reclaimer = reclaimer
        self._stages: dict[Boot, _Stage] = {}  # insertion order is age
        self._queue: asyncio.Queue[Boot] = asyncio.Queue()  # bounded by _stages: a boot is in it once
        senses.on_false_death = self.revived

    async def keep_judging(self) -> None:
        """Look at the verdicts when something points to a death, and every quarter of a second; ends by cancellation only."""
        while True:
            metrics.REAPER_SEES.set(0 if self._senses.why_blind() else 1)
            for death in self._senses.dead():
                self._consider(death)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_JUDGE_INTERVAL_S):
                    await self._senses.worth_judging.wait()
            self._senses.worth_judging.clear()

    async def keep_reclaiming(self) -> None:
        """One worker; ends by cancellation only. What fails is declared still, and so tried again at the next look."""
        while True:
            boot = await self._queue.get()
            settled = False
            try:
                settled = await self._reclaimer.reclaim(Owner(*boot), partial(self._senses.is_dead, boot))
            except StoreUnavailable as error:
                log.warning("reaper.reclaim_failed", pod=boot[0], boot=str(boot[1]), error=str(error))
            if self._stages.get(boot) is _Stage.IN_HAND:  # not disproved meanwhile
                self._stages[boot] = _Stage.SETTLED if settled else _Stage.DECLARED

    def look_again(self, owners: Iterable[Boot]) -> None:
        """The record names these owners still: those whose runs were taken have got others since."""
        for boot in owners:
            if self._stages.get(boot) is _Stage.SETTLED:
                self._stages[boot] = _Stage.DECLARED
                self._senses.worth_judging.set()

    def revived(self, death: Death) -> None:
        """A boot that was declared dead beats on."""
        if self._stages.pop((death.pod, death.boot), None) is None:
            return  # this reaper never acted on it
        metrics.FALSE_DEATHS.inc()
        log.warning("pod.false_death", pod=death.pod, boot=str(death.boot), reason=death.reason)

    def _consider(self, death: Death) -> None:
        boot = (death.pod, death.boot)
        stage = self._stages.get(boot)
        if stage is None:
            self._declare(death)
        elif stage is not _Stage.DECLARED:
            return
        self._stages[boot] = _Stage.IN_HAND
        self._queue.put_nowait(boot)

    def _declare(self, death: Death) -> None:
        metrics.DEATHS.labels(reason=death.reason).inc()
        tell = log.info if death.reason is Reason.GOODBYE else log.warning
        silent_s = None if death.last_change_at is None else round(death.declared_at - death.last_change_at, 3)
        tell(
            "pod.dead",
            pod=death.pod,
            boot=str(death.boot),
            reason=death.reason,
            evidence_s=round(death.declared_at - death.since, 3),
            last_beat_s_ago=silent_s,
            replaced_by=str(death.replaced_by) if death.replaced_by else None,
        )
        if len(self._stages) >= _REMEMBERED_MAX:
            for boot in [boot for boot, stage in self._stages.items() if stage is _Stage.SETTLED][
                : _REMEMBERED_MAX // 4
            ]:
                del self._stages[boot]
