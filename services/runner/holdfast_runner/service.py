"""A runner process: its links, its agents, its slots; it claims, runs, drains."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from uuid import UUID, uuid4

from faststream.nats import NatsBroker
from nats.aio.client import Client

from holdfast import metrics, service
from holdfast.bus import connection, names, requests
from holdfast.bus.connection import Link
from holdfast.errors import BusUnavailable, HoldfastError, PodNameTaken, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import TERMINAL, Lease, Owner
from holdfast.settings import RunnerSettings
from holdfast.store import Claimed, Database, Finished, owner, schema, stranger
from holdfast.wire.messages import Control
from holdfast_agent.load import Loaded, load
from holdfast_runner.claims import Claims, Slots
from holdfast_runner.ended import cancelled
from holdfast_runner.execution import Execution, Links, Stop
from holdfast_runner.heartbeat import HeartbeatThread, Load
from holdfast_runner.owned import OwnedCheck
from holdfast_runner.work_threads import WorkThreads

log = get_logger(__name__)
EXIT_WORK_LEFT = 75  # EX_TEMPFAIL of sysexits.h
_THREADS_SPARE = 8
_BUSY_RUNS = 4  # beside so many others, a run's first event may wait a moment for the next one
_AGENTS_INTERVAL_S = 60.0
_UNWIND_TIMEOUT_S = 5.0
_LOST_TIMEOUT_S = 1.0


def build(settings: RunnerSettings) -> Runner:
    """The composition root: loads the agents, opens nothing yet."""
    return Runner(settings, load(settings.agents))


class Runner:
    """One pod. See :class:`holdfast.service.Service`."""

    def __init__(self, settings: RunnerSettings, loaded: Loaded) -> None:
        self._settings = settings
        self._loaded = loaded
        self._me = Owner(settings.pod_name, uuid4())
        self._db = Database(
            settings.postgres_url, pool_size=settings.postgres_pool_size, timeout_s=settings.postgres_timeout_s
        )
        self._link = Link("runner")
        self._append_link = Link("events")
        self._broker: NatsBroker = connection.make_broker(settings.nats_url, self._link)
        self._threads = WorkThreads(threads_max=settings.slots + _THREADS_SPARE)
        self._executions: dict[UUID, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claimers: set[asyncio.Task[None]] = set()
        self._slots = Slots(settings.slots)
        self._load = Load()
        self._claims: Claims | None = None
        self._check: OwnedCheck | None = None
        self._heartbeat: HeartbeatThread | None = None
        self._has_said_agents = False
        self._ended: asyncio.Future[HoldfastError] | None = None

    async def not_ready(self) -> list[str]:
        """Why it cannot claim runs now."""
        reasons = [f"agents of {name}: {why}" for name, why in self._loaded.failures.items()]
        if self._heartbeat is None:
            return [*reasons, "starting"]
        if self._heartbeat.problem:
            reasons.append(self._heartbeat.problem)
        reasons.extend(part.problem for part in (self._claims, self._check) if part is not None and part.problem)
        if not self._has_said_agents:
            reasons.append("gateways have not been told yet which agents are loaded")
        if self._load.draining:
            reasons.append("draining")
        reasons.extend(f"no link to NATS ({link.name})" for link in (self._link, self._append_link) if not link.up)
        return reasons

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then hand over every run.

        Raises:
            PodNameTaken: a live process holds this pod's name, or has taken it over.
            SchemaMismatch: the record's schema does not fit.
        """
        for name, why in self._loaded.failures.items():
            log.error("agents.failed", module=name, error=why)
        log.info("runner.starting", pod=self._me.pod, boot=str(self._me.boot), agents=sorted(self._loaded.agents))
        loop = asyncio.get_running_loop()
        loop.set_default_executor(self._threads)
        self._ended = loop.create_future()
        self._heartbeat = HeartbeatThread(self._settings, self._me, self._load, self._on_heartbeat_end)
        async with service.health_endpoint(self, self._settings):
            self._heartbeat.start()
            try:
                await self._until_stopped(stop)
            finally:
                await self._heartbeat.stop()
                await connection.stop(self._broker)
                await self._db.close()
        self._leave_work_behind()
        if self._ended.done():
            raise self._ended.result()

    def _leave_work_behind(self) -> None:
        """Work that will not stop must not keep the process: an event loop that is closed waits for it without end."""
        if not self._tasks and not self._threads.busy():
            return
        hint = "their work would not stop, and its outcome is unknown"
        log.error("runner.left_work", runs=len(self._tasks), threads=len(self._threads.busy()), hint=hint)
        os._exit(EXIT_WORK_LEFT)

    def _on_heartbeat_end(self, error: HoldfastError) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(error)

    async def _until_stopped(self, stop: asyncio.Event) -> None:
        """Start, serve, drain. Whatever ends first ends it: the stop, the heartbeat, or a side task that failed."""
        assert self._ended is not None
        stopping = asyncio.create_task(stop.wait(), name="stop")
        serving = asyncio.create_task(self._serve(), name="serve")
        ends: set[asyncio.Future[Any]] = {stopping, serving, self._ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._ended.done():
            log.error("runner.ending", error=str(self._ended.result()))
            if isinstance(self._ended.result(), PodNameTaken):
                await self._stop_work()
            else:  # without a heartbeat it is soon held dead
                await self._drain(grace_s=0.0)
        else:
            await self._drain(grace_s=self._settings.drain_grace_s)
        await cancelled(serving)
        if not serving.cancelled() and (error := serving.exception()) is not None:
            raise error

    # -- serving -----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        assert self._heartbeat is not None
        await schema.wait_for(self._db, timeout_s=self._settings.schema_wait_s)
        self._broker.subscriber(names.control_subject(self._me.pod))(self._on_control)
        client = await connection.start(self._broker, self._link)
        appends = await connection.connect(self._settings.nats_url, self._append_link, keep_pending=False)
        try:
            await self._heartbeat.first_beat.wait()
            links = Links(self._db, appends, self._threads, self._settings, self._request)
            await self._claim_and_check(client, links)
        finally:
            await connection.close(appends)

    async def _claim_and_check(self, client: Client, links: Links) -> None:
        claims = Claims(
            db=self._db,
            broker=self._broker,
            client=client,
            link=self._link,
            settings=self._settings,
            me=self._me,
            agents=self._loaded.agents,
            slots=self._slots,
            start=lambda claimed, log_seq: self._start(links, claimed, log_seq),
        )
        check = OwnedCheck(self._db, self._me, self._executions, claims.in_flight, self._request_next)
        self._claims, self._check = claims, check
        if self._load.draining:
            claims.close()
        async with asyncio.TaskGroup() as group:
            beside = {
                "links": self._watch_links(),
                "agents": self._say_agents(),
                "warm-up": self._warm_up(),
                "owned": check.keep(interval_s=self._settings.owned_check_interval_s),
            }
            for name, side in beside.items():
                task = group.create_task(side, name=name)
                if name != "warm-up":  # which comes to an end
                    task.add_done_callback(
                        lambda _: claims.close()
                    )  # one that fails ends the claimers, and so the group
            claimer = group.create_task(claims.take_until_closed(), name="claims")
            self._claimers.add(claimer)
            claimer.add_done_callback(self._claimers.discard)

    async def _warm_up(self) -> None:
        """Get ready what agents' first runs would have to wait for. One that fails does so again in a run, where it is told."""
        if not self._settings.warm_up:
            return
        for agent in self._loaded.agents.values():
            if agent.warm_up is not None:
                try:
                    await asyncio.to_thread(agent.warm_up)
                except Exception as error:
                    log.warning("agent.not_warm", agent=agent.name, error=f"{type(error).__name__}: {error}")

    async def _watch_links(self) -> None:
        """A connection that its library has closed for good never comes back: the process has to."""
        closed = [asyncio.create_task(link.closed.wait()) for link in (self._link, self._append_link)]
        try:
            await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in closed:
                task.cancel()
        raise BusUnavailable("a connection to NATS was closed for good")

    def _start(self, links: Links, claimed: Claimed, log_seq: int | None) -> None:
        """A claimed run takes its slot; its task frees it."""
        lease = Lease(claimed.run.id, self._me, claimed.run.attempt)
        execution = Execution(
            links,
            claimed,
            lease,
            self._loaded.agents[claimed.run.agent],
            log_seq=log_seq,
            is_busy=len(self._executions) >= _BUSY_RUNS,
        )
        if self._load.draining:
            execution.stop(Stop.RELEASE)
        if (earlier := self._executions.get(lease.run_id)) is not None:
            earlier.stop(Stop.LOST)  # it was taken from this boot, which does not know it yet
        self._executions[lease.run_id] = execution
        self._load.running = len(self._executions)
        metrics.RUNS_RUNNING.set(self._load.running)
        task = asyncio.create_task(self._execute(execution), name=f"run {lease.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, execution: Execution) -> None:
        run_id = execution.lease.run_id
        ended: Finished | None = None
        try:
            ended = await execution.run()
        except Exception:  # the record would not take even that: the owned check gives the run back
            log.exception("run.unended", run_id=str(run_id), attempt=execution.lease.attempt)
        finally:
            if self._executions.get(run_id) is execution:
                del self._executions[run_id]
            self._load.running = len(self._executions)
            metrics.RUNS_RUNNING.set(self._load.running)
            self._slots.release()
        if ended is not None:
            log.info("run.ended", run_id=str(run_id), attempt=execution.lease.attempt, status=ended.status)
            await self._request_next(ended)

    async def _request_next(self, ended: Finished) -> None:
        """Whoever can go on now wants a runner: the thread's next run, and the parent that waited for this one."""
        if ended.next_id is not None and ended.next_pool is not None:
            await self._request(ended.next_id, ended.next_pool)
        if ended.parent_run_id is not None and ended.status in TERMINAL:
            try:
                for woken in await stranger.wake(self._db, run_ids=[ended.parent_run_id], limit=1):
                    await self._request(woken.id, woken.pool)
            except StoreUnavailable as error:
                log.info(
                    "parent.unwoken", run_id=str(ended.parent_run_id), error=str(error)
                )  # the reaper's sweep does it

    async def _request(self, run_id: UUID, pool: str) -> None:
        try:
            await requests.publish(self._broker, pool, run_id)
        except BusUnavailable as error:
            log.info("request.unsent", run_id=str(run_id), error=str(error))  # the reaper's sweep restores it

    async def _on_control(self, message: Control) -> None:
        execution = self._executions.get(message.run_id)
        if execution is not None and execution.lease.attempt == message.attempt:
            execution.stop(Stop.CANCEL)

    async def _say_agents(self) -> None:
        """Tell the gateways what is loaded, and that it still is."""
        loaded = [
            (each.name, each.version, each.description, each.input_schema) for each in self._loaded.agents.values()
        ]
        while True:
            pause_s = _AGENTS_INTERVAL_S
            try:
                await owner.say_agents(self._db, self._me, self._settings.pool, loaded)
                self._has_said_agents = True
            except StoreUnavailable:
                pause_s = 1.0
            await asyncio.sleep(pause_s)

    # -- draining ----------------------------------------------------------------------------------------------------

    async def _stop_work(self) -> None:
        """Somebody else has this pod's name, and so its runs: write nothing more for them."""
        if self._claims is not None:
            self._claims.close()
        for execution in list(self._executions.values()):
            execution.stop(Stop.LOST)
        await self._all_ended(_LOST_TIMEOUT_S)

    async def _drain(self, *, grace_s: float) -> None:
        """Claim nothing more, hand over each run at its step boundary, and at the end of the grace wherever it is."""
        log.info("runner.draining", running=len(self._executions))
        self._load.draining = True
        if self._claims is not None:
            self._claims.close()
        for execution in list(self._executions.values()):
            execution.stop(Stop.RELEASE)
        if await self._all_ended(grace_s):
            return
        for execution in list(self._executions.values()):
            execution.interrupt()
        await self._all_ended(_UNWIND_TIMEOUT_S)

    async def _all_ended(self, timeout_s: float) -> bool:
        """Wait until every run has ended, those too whose claim is in flight. False: not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while waiting := self._tasks | self._claimers:
            if loop.time() >= deadline:
                return False
            await asyncio.wait(waiting, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        return True
