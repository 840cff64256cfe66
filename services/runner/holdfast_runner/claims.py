"""Claiming: ask JetStream for a request only with a free slot, claim the run in the record, confirm the request, then work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import nats.errors
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext
from pydantic import ValidationError

from holdfast import metrics
from holdfast.bus import event_log, names, requests, topology
from holdfast.bus.connection import Link, translated
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId, Owner
from holdfast.settings import RunnerSettings
from holdfast.store import Claimed, Database, owner
from holdfast.wire.messages import RunRequest
from holdfast_agent import Agent

log = get_logger(__name__)
T = TypeVar("T")
_FETCH_TIMEOUT_S = 2.0
_RETRY_INTERVAL_S = 0.25
_NOT_MINE_DELAY_S = 1.0
_ACK_TIMEOUT_S = 1.0


@dataclass(slots=True, kw_only=True)
class Claims:
    """Takes requests of one pool and turns them into claimed runs.

    Args:
        db: the record.
        broker: publishes requests.
        client: the broker's connection, started.
        link: its state.
        settings: of the runner.
        me: this pod and boot.
        agents: the agents that are loaded, by name.
        slots: one for each run.
        start: gets each claimed run; from then on the slot is the run's, and whoever ends the run releases it.
    """

    db: Database
    broker: NatsBroker
    client: Client
    link: Link
    settings: RunnerSettings
    me: Owner
    agents: Mapping[str, Agent]
    slots: asyncio.Semaphore
    start: Callable[[Claimed], None]
    in_flight: set[UUID] = field(default_factory=set)
    """Runs whose claim has begun and whose task has not: the record may give them to us already."""
    problem: str = ""
    """Why requests cannot be asked for; empty while they can."""
    _closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """Ask for no further request; a claim in flight is carried through."""
        self._closed.set()

    async def take_until_closed(self) -> None:
        """Wait for a free slot, then for a request; claim its run and start it. Over and over."""
        subscription: JetStreamContext.PullSubscription | None = None
        generation = -1
        while await self._unless_closed(self.slots.acquire()):
            claimed: Claimed | None = None
            try:
                if subscription is None or generation != self.link.generation:
                    generation = self.link.generation
                    subscription = await self._subscribe_anew(subscription)
                message = await self._unless_closed(self._fetch(subscription))
                self.problem = ""
                if message is not None and (claimed := await self._take(message)) is not None:
                    self.start(claimed)
            except (BusUnavailable, nats.errors.Error) as error:
                self._tell(error)
                generation = -1
                await asyncio.sleep(_RETRY_INTERVAL_S)
            finally:
                if claimed is None:
                    self.slots.release()
            if claimed is not None:
                await self._tell_abandoned(claimed)
        if subscription is not None:
            await self._leave(subscription)

    async def _unless_closed(self, doing: Coroutine[Any, Any, T]) -> T | None:
        """What it returns; None when claiming is closed first."""
        if self._closed.is_set():
            doing.close()
            return None
        task = asyncio.create_task(doing)
        closing = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            closing.cancel()
            task.cancel()

    def _tell(self, error: Exception) -> None:
        problem = f"claims: {type(error).__name__}: {error}"
        if problem != self.problem:
            log.warning("claims.failed", error=str(error), kind=type(error).__name__)
        self.problem = problem

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _subscribe_anew(self, old: JetStreamContext.PullSubscription | None) -> JetStreamContext.PullSubscription:
        if old is not None:
            await self._leave(old)
        await topology.ensure(self.client, replicas=self.settings.nats_replicas)
        await topology.ensure_consumer(self.client, self.settings.pool)
        context = self.client.jetstream(timeout=2.0)
        with translated():
            return await context.pull_subscribe_bind(
                consumer=names.consumer(self.settings.pool), stream=names.REQUESTS_STREAM
            )

    async def _fetch(self, subscription: JetStreamContext.PullSubscription) -> Msg | None:
        """One request, or none: nothing came in time."""
        try:
            return (await subscription.fetch(1, timeout=_FETCH_TIMEOUT_S))[0]
        except (nats.errors.TimeoutError, TimeoutError):
            return None

    async def _leave(self, subscription: JetStreamContext.PullSubscription) -> None:
        """Let the server forget what this one had asked for; what it has sent meanwhile is for others."""
        try:
            await subscription.unsubscribe()
            for _ in range(subscription.pending_msgs):
                await (await subscription.fetch(1, timeout=_RETRY_INTERVAL_S))[0].nak()
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("claims.left", error=str(error))

    async def _take(self, message: Msg) -> Claimed | None:
        """Claim what a request asks for. None: not to be had now, or by this runner."""
        try:
            run_id = RunRequest.model_validate_json(message.data).run_id
        except ValidationError as error:
            log.error("request.unreadable", subject=message.subject, error=str(error))
            await message.term()
            return None
        self.in_flight.add(run_id)
        try:
            return await self._claim(message, run_id)
        except StoreUnavailable as error:
            log.info("claim.failed", run_id=str(run_id), error=str(error))
        except (BusUnavailable, nats.errors.Error):
            raise
        except Exception:  # it would fail in every runner: none may die of it, and the request stays
            log.exception("claim.failed", run_id=str(run_id))
        finally:
            self.in_flight.discard(run_id)
        await self._try_later(message)
        return None

    async def _claim(self, message: Msg, run_id: UUID) -> Claimed | None:
        versions = {name: agent.version for name, agent in self.agents.items()}
        claimed = await owner.claim(self.db, run_id, self.me, versions)
        if claimed is None:
            await self._decline(message, run_id)
            return None
        metrics.RUNS_CLAIMED.inc()
        log.info("run.claimed", run_id=str(run_id), attempt=claimed.run.attempt, agent=claimed.run.agent)
        await self._confirm(message)
        return claimed

    async def _decline(self, message: Msg, run_id: UUID) -> None:
        """Not claimed. A run that waits for a runner with its agent keeps its request; any other request has done its work."""
        row = await owner.glance(self.db, run_id)
        if row is not None and row.status == "queued" and row.agent not in self.agents:
            await self._try_later(message)
            return
        await self._confirm(message)
        if row is None or row.status != "queued" or not await owner.is_claimable(self.db, run_id):
            return
        try:
            await requests.publish(self.broker, row.pool, run_id)  # its thread became free while its request stood here
        except BusUnavailable as error:
            log.info("request.unsent", run_id=str(run_id), error=str(error))  # the reaper's sweep restores it

    async def _confirm(self, message: Msg) -> None:
        try:
            await message.ack_sync(timeout=_ACK_TIMEOUT_S)
        except nats.errors.Error as error:
            log.debug("request.ack_failed", error=str(error))  # it comes again, and finds the run not queued

    async def _try_later(self, message: Msg) -> None:
        try:
            await message.nak(delay=_NOT_MINE_DELAY_S)
        except nats.errors.Error as error:
            log.debug("request.nak_failed", error=str(error))  # it comes again after ack_wait, or was confirmed before

    async def _tell_abandoned(self, claimed: Claimed) -> None:
        for run in claimed.abandoned:
            try:
                await event_log.tell(
                    self.client,
                    run.id,
                    EventId.parse(run.terminal_event_id),
                    "run.failed",
                    {"error": run.error, "keep_through": run.keep_through},
                )
            except (BusUnavailable, nats.errors.Error) as error:
                log.info("run.end_untold", run_id=str(run.id), error=str(error))
