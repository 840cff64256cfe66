"""Every gateway sends what is due: it takes deliveries from the record by lease, tries each once, and writes what came of it.

A gateway that dies in between leaves its leases to run out, and another one sends again, under the same id. So does one that
cannot write what came of a try. Nothing here keeps a delivery that the record does not have.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from holdfast import metrics
from holdfast.errors import StoreUnavailable
from holdfast.logs import get_logger
from holdfast.settings import GatewaySettings
from holdfast.store import webhooks
from holdfast.store.webhooks import Claimed
from holdfast_gateway.record import Record
from holdfast_gateway.webhooks.schedule import again_in_s
from holdfast_gateway.webhooks.sending import Outcome, Sender
from holdfast_gateway.webhooks.targets import Resolve

log = get_logger(__name__)

_SETTLE_S = 0.02  # after a try has ended, so that several are counted together
_WRITE_PAUSE_S = 0.5
_LEASE_REST_S = 15.0  # what the lease has beyond the try itself, for writing down what came of it
_OVERDUE_INTERVAL_S = 15.0


class Deliverer:
    """Sends while :meth:`keep` runs. ``at_once`` bounds all that it is at, ``at_once // 8`` what one receiver gets."""

    def __init__(
        self,
        record: Record,
        sender: Sender,
        *,
        timeout_s: float,
        at_once: int,
        draining: asyncio.Event,
        drain_grace_s: float,
        poll_interval_s: float = 1.0,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._record = record
        self._sender = sender
        self._lease_s = timeout_s + _LEASE_REST_S
        self._at_once = at_once
        self._per_target_max = max(at_once // 8, 1)
        self._draining = draining
        self._drain_grace_s = drain_grace_s
        self._poll_interval_s = poll_interval_s
        self._dice = dice
        self._trying: dict[asyncio.Task[None], str] = {}
        self._overdue_looked_at = float("-inf")

    async def keep(self) -> None:
        """Send until the gateway drains. Tries that are under way then may end within the grace; the rest is another's."""
        try:
            while not self._draining.is_set():
                took = await self._take()
                await self._pause(busy=took > 0)
        finally:
            finishing = asyncio.create_task(self._finish(), name="webhooks-finish")
            try:
                await asyncio.shield(finishing)
            except asyncio.CancelledError:
                await finishing  # a service that stops cancels its parts at once; this one ends within the grace
                raise

    async def _take(self) -> int:
        """Begin what is due and fits. Returns how many tries it began."""
        room = self._at_once - len(self._trying)
        if room <= 0:
            return 1  # there may be more: go on when a try has ended
        counts = Counter(self._trying.values())
        busy = {target: max(self._per_target_max - count, 0) for target, count in counts.items()}
        try:
            self._record.require()
            await self._show_overdue()
            claimed = await webhooks.claim(
                self._record.db, lease_s=self._lease_s, limit=room, busy=busy, per_target_max=self._per_target_max
            )
        except StoreUnavailable as error:
            self._record.failed(error)
            return 0
        except Exception:  # a bug here must not take every stream of the gateway down with it
            log.exception("webhook.claim_failed")
            return 0
        for each in claimed:
            task = asyncio.create_task(self._try(each), name="webhook-try")
            self._trying[task] = each.target
            task.add_done_callback(self._trying.pop)
        return len(claimed)

    async def _pause(self, *, busy: bool) -> None:
        """Until the next look: soon when there may be more and a try has ended, else after the interval."""
        drained = asyncio.create_task(self._draining.wait(), name="webhooks-draining")
        ending = list(self._trying) if busy else []
        try:
            done, _ = await asyncio.wait(
                [drained, *ending], timeout=self._poll_interval_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            drained.cancel()
        if done - {drained}:
            await asyncio.sleep(_SETTLE_S)

    async def _try(self, delivery: Claimed) -> None:
        """Send once, and write what came of it, as long as the lease lasts."""
        lost_at = asyncio.get_running_loop().time() + self._lease_s
        try:
            outcome = await self._sender.send(delivery)
        except Exception:  # a bug: the next try may meet it as well, and the schedule ends that
            log.exception("webhook.try_failed", delivery=str(delivery.id))
            outcome = Outcome(None, "a bug of Holdfast; the gateway's log has the details")
        again_s = self._again_in_s(delivery, outcome)
        while True:
            try:
                kept = await webhooks.end_try(
                    self._record.db,
                    delivery,
                    status=outcome.status,
                    error=outcome.error,
                    delivered=outcome.error is None,
                    again_in_s=again_s,
                )
            except StoreUnavailable as error:
                self._record.failed(error)
                if asyncio.get_running_loop().time() >= lost_at:
                    return
                await asyncio.sleep(_WRITE_PAUSE_S)
            except Exception:  # a bug: the lease runs out, and it is sent again
                log.exception("webhook.end_failed", delivery=str(delivery.id))
                return
            else:
                _tell(delivery, outcome, again_s, kept=kept)
                return

    def _again_in_s(self, delivery: Claimed, outcome: Outcome) -> float | None:
        if outcome.error is None or delivery.secret is None:
            return None
        return again_in_s(
            delivery.tries,
            delivery.tried_for_s,
            status=outcome.status,
            retry_after_s=outcome.retry_after_s,
            dice=self._dice(),
        )

    async def _show_overdue(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._overdue_looked_at >= _OVERDUE_INTERVAL_S:
            self._overdue_looked_at = now
            metrics.WEBHOOKS_OVERDUE.set(await webhooks.overdue_s(self._record.db))

    async def _finish(self) -> None:
        """When draining, let the tries under way end within the grace. Then stop them: their leases run out."""
        tasks = list(self._trying)
        try:
            if tasks and self._draining.is_set():
                await asyncio.wait(tasks, timeout=self._drain_grace_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def deliverer(settings: GatewaySettings, record: Record, resolve: Resolve, draining: asyncio.Event) -> Deliverer:
    """A gateway's, by its settings."""
    sender = Sender(resolve, timeout_s=settings.webhook_timeout_s, private=settings.webhook_private_addresses)
    return Deliverer(
        record,
        sender,
        timeout_s=settings.webhook_timeout_s,
        at_once=settings.webhook_tries_max,
        draining=draining,
        drain_grace_s=settings.drain_grace_s,
    )


def _tell(delivery: Claimed, outcome: Outcome, again_s: float | None, *, kept: bool) -> None:
    """Count and log it. The URL is not named: it may carry what only its receiver should know."""
    about = {
        "delivery": str(delivery.id),
        "run_id": str(delivery.run_id),
        "told": delivery.event,
        "tries": delivery.tries,
        "status": outcome.status,
    }
    if not kept:
        metrics.WEBHOOK_TRIES.labels(outcome="lost").inc()
        log.info("webhook.lease_lost", **about)
    elif outcome.error is None:
        metrics.WEBHOOK_TRIES.labels(outcome="delivered").inc()
        log.info("webhook.delivered", **about)
    elif again_s is not None:
        metrics.WEBHOOK_TRIES.labels(outcome="failed").inc()
        log.info("webhook.failed", **about, error=outcome.error, again_in_s=round(again_s))
    else:
        metrics.WEBHOOK_TRIES.labels(outcome="given_up").inc()
        log.warning("webhook.given_up", **about, error=outcome.error)
