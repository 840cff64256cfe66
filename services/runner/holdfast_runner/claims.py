"""Claiming: ask JetStream for as many requests as there are free slots, claim their runs in the record, ack, then work.

What comes while a claim is in flight shares the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import nats.errors
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from holdfast import metrics
from holdfast.bus import event_log, requests, topology
from holdfast.bus.connection import Link
from holdfast.bus.pulling import Pulling
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId, Owner
from holdfast.settings import RunnerSettings
from holdfast.store import Claimed, Database, owner
from holdfast.store.owner import Glance
from holdfast.wire.messages import RunRequest
from holdfast_agent import Agent

log = get_logger(__name__)
_RETRY_INTERVAL_S = 0.25
_LOOK_INTERVAL_S = 1.0
_NOT_MINE_DELAY_S = 1.0
_LOCKED_DELAY_S = 0.05
_ACK_TIMEOUT_S = 1.0


class Slots:
    """How many more runs this runner can take."""

    def __init__(self, count: int) -> None:
        self.free = count
        self.on_freed: Callable[[], None] = lambda: None

    def take(self) -> None:
        """A run begins."""
        self.free -= 1

    def release(self) -> None:
        """A run has ended."""
        self.free += 1
        self.on_freed()


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
        start: gets each claimed run, and where its log ends if its request says so; from then on the slot is the run's, and
            whoever ends the run releases it.
    """

    db: Database
    broker: NatsBroker
    client: Client
    link: Link
    settings: RunnerSettings
    me: Owner
    agents: Mapping[str, Agent]
    slots: Slots
    start: Callable[[Claimed, int | None], None]
    in_flight: set[UUID] = field(default_factory=set)
    """Runs whose claim has begun and whose task has not: the record may give them to us already."""
    problem: str = ""
    """Why requests cannot be asked for; empty while they can."""
    _closed: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    def close(self) -> None:
        """Ask for no further request; a claim in flight is carried through."""
        self._closed = True
        self._wake.set()

    async def take_until_closed(self) -> None:
        """Ask for what there is room for, claim what comes, start it. Over and over."""
        self.slots.on_freed = self._wake.set
        pulling: Pulling | None = None
        generation = -1
        while not self._closed:
            self._wake.clear()
            try:
                if pulling is None or generation != self.link.generation:
                    generation = self.link.generation
                    pulling = await self._pull_anew(pulling)
                if (room := self.slots.free - pulling.owed) > 0 and not pulling.is_asking:
                    await pulling.ask(room)
                messages = pulling.take()
                self.problem = ""
                if messages:
                    await self._take(messages)
                else:
                    await self._until_woken()
            except (BusUnavailable, nats.errors.Error) as error:
                self._tell(error)
                generation = -1
                await asyncio.sleep(_RETRY_INTERVAL_S)
        if pulling is not None:
            await self._leave(pulling)

    async def _until_woken(self) -> None:
        """Something has come, a slot is free, it is over; or it is time to look at the link."""
        looking = asyncio.get_running_loop().call_later(_LOOK_INTERVAL_S, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            looking.cancel()

    def _tell(self, error: Exception) -> None:
        problem = f"claims: {type(error).__name__}: {error}"
        if problem != self.problem:
            log.warning("claims.failed", error=str(error), kind=type(error).__name__)
        self.problem = problem

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _pull_anew(self, old: Pulling | None) -> Pulling:
        if old is not None:
            await self._leave(old)
        await topology.ensure(self.client, replicas=self.settings.nats_replicas)
        await topology.ensure_consumer(self.client, self.settings.pool)
        pulling = Pulling(self.client, self.settings.pool, on_arrival=self._wake.set)
        await pulling.open()
        return pulling

    async def _leave(self, pulling: Pulling) -> None:
        """Let the server forget what this one had asked for; what it has sent meanwhile is for others."""
        try:
            for message in await pulling.close():
                await message.nak()
        except (BusUnavailable, nats.errors.Error) as error:
            log.debug("claims.left", error=str(error))

    async def _take(self, messages: Sequence[Msg]) -> None:
        """Claim what requests ask for, and start what was to be had."""
        wanted: dict[UUID, Msg] = {}
        log_seqs: dict[UUID, int | None] = {}
        for message in messages:
            try:
                request = RunRequest.model_validate_json(message.data)
                wanted[request.run_id], log_seqs[request.run_id] = message, request.log_seq
            except ValidationError as error:
                log.error("request.unreadable", subject=message.subject, error=str(error))
                with contextlib.suppress(nats.errors.Error):
                    await message.term()
        self.in_flight.update(wanted)
        try:
            claimed, failed = await self._claim(list(wanted))
            for run_id, taken in claimed.items():
                await self._begin(taken, wanted[run_id], log_seqs[run_id])
        finally:
            self.in_flight.difference_update(wanted)
        await asyncio.gather(
            *(self._try_later(wanted[run_id]) for run_id in failed),
            *(self._decline(wanted[run_id], run_id) for run_id in wanted.keys() - claimed.keys() - failed),
        )

    async def _claim(self, run_ids: Sequence[UUID]) -> tuple[dict[UUID, Claimed], set[UUID]]:
        """What was to be had, and what could not be asked for: one of these must not cost the others, or the runner its life."""
        if not run_ids:
            return {}, set()
        try:
            return await owner.claim_all(self.db, run_ids, self.me, self._versions()), set()
        except StoreUnavailable as error:
            log.info("claim.failed", runs=len(run_ids), error=str(error))
        except Exception:
            if len(run_ids) == 1:  # it would fail in every runner: the request stays
                log.exception("claim.failed", run_id=str(run_ids[0]))
                return {}, set(run_ids)
            claimed: dict[UUID, Claimed] = {}
            failed: set[UUID] = set()
            for run_id in run_ids:
                one, none = await self._claim([run_id])
                claimed |= one
                failed |= none
            return claimed, failed
        return {}, set(run_ids)

    def _versions(self) -> Mapping[str, str]:
        return {name: agent.version for name, agent in self.agents.items()}

    async def _begin(self, claimed: Claimed, message: Msg, log_seq: int | None) -> None:
        metrics.RUNS_CLAIMED.inc()
        log.info("run.claimed", run_id=str(claimed.run.id), attempt=claimed.run.attempt, agent=claimed.run.agent)
        try:
            self.start(claimed, log_seq)
        except Exception:  # the owned check gives it back
            log.exception("run.not_started", run_id=str(claimed.run.id), attempt=claimed.run.attempt)
        else:
            self.slots.take()
        await self._confirm(message)
        if claimed.abandoned:
            telling = asyncio.create_task(self._tell_abandoned(claimed))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _decline(self, message: Msg, run_id: UUID) -> None:
        """Not claimed. A run that waits for a runner with its agent, or that somebody had locked, keeps its request; any other
        request has done its work."""
        try:
            row = await owner.glance(self.db, run_id)
            if row is not None and row.status == "queued" and row.agent not in self.agents:
                await self._try_later(message)
                return
            if await self._is_claimable(row, run_id):
                await self._try_later(message, delay_s=_LOCKED_DELAY_S)
                return
            await self._confirm_surely(message)
            if row is not None and await self._is_claimable(row, run_id):  # its thread became free meanwhile
                await requests.publish(self.broker, row.pool, run_id)
        except StoreUnavailable as error:
            log.info("claim.failed", run_id=str(run_id), error=str(error))
            await self._try_later(message)
        except (BusUnavailable, nats.errors.Error) as error:
            log.info("request.unsent", run_id=str(run_id), error=str(error))  # the reaper's sweep restores it
        except Exception:
            log.exception("claim.failed", run_id=str(run_id))
            await self._try_later(message)

    async def _is_claimable(self, row: Glance | None, run_id: UUID) -> bool:
        return row is not None and row.status == "queued" and await owner.is_claimable(self.db, run_id)

    async def _confirm(self, message: Msg) -> None:
        """The request has done its work. Should this be lost, it comes again, and finds the run not queued."""
        try:
            await message.ack()
        except nats.errors.Error as error:
            log.debug("request.ack_failed", error=str(error))

    async def _confirm_surely(self, message: Msg) -> None:
        """A request that stands there still would have the next one of its run refused."""
        try:
            await message.ack_sync(timeout=_ACK_TIMEOUT_S)
        except nats.errors.Error as error:
            log.debug("request.ack_failed", error=str(error))

    async def _try_later(self, message: Msg, *, delay_s: float | None = None) -> None:
        try:
            await message.nak(delay=_NOT_MINE_DELAY_S if delay_s is None else delay_s)
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
