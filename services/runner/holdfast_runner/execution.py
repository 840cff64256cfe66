"""One attempt of one run: from its first event to its end, with every way in which it may be stopped.

The agent runs in a task of its own. It is stopped by a cancel, by the loss of the run, or by a drain; whatever happens, exactly
one thing is written at the end: a finish, a release, a suspension, or nothing when the run is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from pydantic_core import from_json

from holdfast import metrics
from holdfast.errors import AgentFailed, LostOwnership, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId, Lease, Outcome
from holdfast.settings import RunnerSettings
from holdfast.store import Claimed, Database, Finished, Journaled, owner
from holdfast_agent import Agent, Run
from holdfast_runner.backend import RunBackend
from holdfast_runner.earlier_try import text_of_earlier_try
from holdfast_runner.ending import Ending, end, failed, interrupted
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.journal import Journal, Step, until_known
from holdfast_runner.recordable import encode
from holdfast_runner.stage import Stage
from holdfast_runner.waiting import OpenWait
from holdfast_runner.work_threads import WorkThreads, working_for

log = get_logger(__name__)
_PROGRESS_INTERVAL_S = 15.0
_UNWIND_TIMEOUT_S = 5.0
_AFTER_STEP_S = 0.5


class Stop(StrEnum):
    """Why an attempt is stopped before its agent is done. A cancel overrides a release, a loss overrides both."""

    CANCEL = "cancel"
    LOST = "lost"
    RELEASE = "release"


_RANK = {Stop.RELEASE: 1, Stop.CANCEL: 2, Stop.LOST: 3}


@dataclass(frozen=True, slots=True)
class Links:
    """What an execution works with: the record, the connection that appends events (``pending_size=0``), the threads, and who
    requests a runner for a child run (its id and pool)."""

    db: Database
    appends: Client
    threads: WorkThreads
    settings: RunnerSettings
    on_child: Callable[[UUID, str], Awaitable[None]]


class Execution:
    """Runs one attempt. :meth:`run` returns when the attempt is over; :meth:`stop` asks it to be."""

    def __init__(
        self,
        links: Links,
        claimed: Claimed,
        lease: Lease,
        agent: Agent,
        *,
        log_seq: int | None = None,
        is_busy: bool = False,
    ) -> None:
        self._links = links
        self._claimed = claimed
        self.lease = lease
        self._agent = agent
        self._is_new = claimed.run.attempt == 1 and claimed.run.forked_from is None
        self._log_seq = log_seq if self._is_new else None
        self._is_busy = is_busy
        self._stop: Stop | None = None
        self._lost_at = "the owned check"
        self._halted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._agent_task: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._waits: Sequence[OpenWait] = ()
        self._journal: Journal | None = None
        self._stage: Stage | None = None
        self._backend: RunBackend | None = None
        self._writer = EventWriter(
            links.appends,
            lease,
            budget_s=links.settings.append_budget_s,
            buffer_bytes_max=links.settings.event_buffer_bytes_max,
            event_bytes_max=links.settings.event_bytes_max,
            snapshot=lambda: self._stage.snapshot() if self._stage is not None else {},
            on_lost=self._lose,
        )

    def stop(self, why: Stop) -> None:
        """Stop the agent: for a cancel or a loss at once, for a release at its next step boundary. Safe to repeat."""
        if self._stop is not None and _RANK[why] <= _RANK[self._stop]:
            return
        self._stop = why
        if why is not Stop.RELEASE:
            self._tell_halted()
        if why is not Stop.RELEASE or self._backend is None or not self._backend.trying.in_work:
            self.interrupt()

    def _tell_halted(self) -> None:
        if not self._halted.done():
            self._halted.set_result(None)

    def interrupt(self) -> None:
        """Cancel the agent's task, even within a step (the drain's grace is over)."""
        if self._agent_task is not None:
            self._interrupted = self._agent_task.cancel() or self._interrupted

    def _lose(self, where: str) -> None:
        self._lost_at = where
        self.stop(Stop.LOST)

    async def run(self) -> Finished | None:
        """The whole attempt. Returns what its last write made of the run; None when the run was lost."""
        keeper = asyncio.create_task(self._keep_progress(), name=f"progress {self.lease.run_id}")
        try:
            ending = await self._attempt()
            return await end(self._links.db, self.lease, self._writer, ending, self._stage)
        except LostOwnership as lost:
            metrics.OWNERSHIP_LOST.inc()
            log.info("run.lost", run_id=str(self.lease.run_id), attempt=self.lease.attempt, where=str(lost))
            return None
        finally:
            keeper.cancel()
            self.interrupt()
            await self._writer.close()

    async def _attempt(self) -> Ending:
        """Begin, and run the agent. Whatever goes wrong is how the run ends: no path leaves it without an end."""
        try:
            return await self._run_agent(await self._begin())
        except AgentFailed as failure:
            if failure.code == "diverged" and self._journal is not None and self._journal.diverged_by_other_code:
                return interrupted(failure.code, failure.message)
            return failed(failure.code, failure.message)
        except LostOwnership:
            raise
        except Exception as error:
            log.exception("run.broken", run_id=str(self.lease.run_id), attempt=self.lease.attempt)
            return failed("internal_error", f"the runner could not run it: {type(error).__name__}: {error}")
        finally:
            if self._backend is not None:
                await self._end_of_steps(self._backend)
                self._backend.close()

    async def _end_of_steps(self, backend: RunBackend) -> None:
        """What viewers have seen of a step's end is written before the attempt's own end, unless the run is lost or given up."""
        mine = asyncio.current_task()
        if self._stop is Stop.LOST or (mine is not None and mine.cancelling()):
            backend.trying.drop()
        await backend.trying.ended()

    # -- beginning ---------------------------------------------------------------------------------------------------

    async def _begin(self) -> RunBackend:
        """Read the journal, find the log's end, and say who goes on from where."""
        recorded = Journaled([], [], [])
        if not self._is_new:
            recorded = await until_known(lambda: owner.journal(self._links.db, self.lease.run_id))
        self._journal = journal = Journal(
            self._links.db,
            self.lease,
            recorded,
            code_version=self._agent.version,
            on_diverged=self._on_diverged,
        )
        run = self._claimed.run
        self._stage = stage = Stage(run, journal, self._writer, step_bytes_max=self._links.settings.step_bytes_max)
        self._backend = RunBackend(
            self._links.db,
            run,
            self._agent,
            journal,
            stage,
            boundary=self._at_boundary,
            on_step_ended=self._on_step_ended,
            on_idle=self._on_idle,
            on_lost=self._lose,
            on_child=self._links.on_child,
            earlier_text=lambda position: text_of_earlier_try(
                self._links.appends, self.lease.run_id, position, self.lease.attempt
            ),
        )
        self._tell_beginning(journal, stage, await self._writer.open(self._log_seq))
        return self._backend

    def _tell_beginning(self, journal: Journal, stage: Stage, log_end: EventId | None) -> None:
        """Who goes on from where, and what was finished meanwhile. A log that does not reach so far is replaced by a snapshot."""
        who = {"run_id": str(self.lease.run_id), "attempt": self.lease.attempt, "pod": self.lease.owner.pod}
        keep = journal.keep_through()
        if self._claimed.from_why is None and self._claimed.from_pod is None:
            self._writer.emit("run.started", who, may_wait=self._is_busy)  # alone, it is shown at once
            if journal.kept:  # a fork's
                self._writer.emit_snapshot()
            return
        reached = keep is None or (log_end is not None and log_end >= keep)
        whole = reached and all(each.last_event_id is not None for each in journal.kept)
        from_where = {
            "from_pod": self._claimed.from_pod,
            "reason": self._claimed.from_why if whole else "log_lost",
            "keep_through": str(keep) if keep is not None and whole else None,
        }
        self._writer.emit("run.resumed", {**who, **from_where})
        if whole:
            stage.tell_finished_by_others(journal.untold())
        else:
            self._writer.emit_snapshot()

    async def _at_boundary(self, _: Step | None) -> None:
        """A step is about to start: not in an attempt that is to stop, or that is suspended."""
        if self._stop is None and not self._waits:
            return
        if self._stop is Stop.RELEASE and self._backend is not None and self._backend.trying.in_work:
            await asyncio.get_running_loop().create_future()  # steps beside this one end first; then all is interrupted
        self._interrupted = True
        if asyncio.current_task() is not self._agent_task:  # a task that the agent made: the agent itself has to end
            self.interrupt()
        raise asyncio.CancelledError

    def _on_step_ended(self) -> None:
        """A run that is to be handed over may still come to its end at once; it has not long."""
        if self._stop is Stop.RELEASE and self._backend is not None and not self._backend.trying.in_work:
            asyncio.get_running_loop().call_later(_AFTER_STEP_S, self.interrupt)

    def _on_idle(self, waits: Sequence[OpenWait]) -> None:
        """Nothing goes on but waits for others: the slot is for somebody else meanwhile."""
        if not self._waits and self._stage is not None:
            self._waits = waits
            self._stage.close()  # what the agent shows while it ends counts for nothing: a replay goes on from here
            self._halt()

    def _on_diverged(self) -> None:
        """The agent has left its journal: there is no way on, whatever it makes of that."""
        self._halt()

    def _halt(self) -> None:
        self._tell_halted()
        self.interrupt()

    # -- the agent ---------------------------------------------------------------------------------------------------

    async def _run_agent(self, backend: RunBackend) -> Ending:
        """Run the agent to its end, or to where it was stopped.

        Raises:
            AgentFailed: the run failed, with this code.
            LostOwnership: somebody else has the run.
        """
        run = self._claimed.run
        if run.cancel_requested_at is not None:
            self.stop(Stop.CANCEL)
        if self._stop is not None:
            return self._stopped(self._stop)
        face = Run(
            id=run.id,
            thread_id=run.thread_id,
            agent=run.agent,
            attempt=self.lease.attempt,
            input=run.input,
            metadata=run.metadata,
            backend=backend,
        )
        task = asyncio.create_task(_call(self._agent, face), name=f"agent {run.id}")
        self._agent_task = task
        await self._unwound(task)
        ending = self._came_to(task)
        if ending.how == "release":
            await self._links.threads.ended(run.id)
        return ending

    async def _unwound(self, task: asyncio.Task[Any]) -> None:
        """Wait for the agent. One that was cancelled and will not stop is left behind: it can show and write nothing more."""
        await asyncio.wait({task, self._halted}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and (await asyncio.wait({task}, timeout=_UNWIND_TIMEOUT_S))[1]:
            log.warning("agent.will_not_stop", run_id=str(self.lease.run_id), agent=self._agent.name)

    def _stopped(self, why: Stop) -> Ending:
        if why is Stop.LOST:
            raise LostOwnership(self._lost_at)
        return Ending(Outcome.CANCELLED if why is Stop.CANCEL else "release")

    def _came_to(self, task: asyncio.Task[Any]) -> Ending:
        """Read the agent's task. Raises as :meth:`_run_agent` does."""
        journal, stage = self._journal, self._stage
        assert journal is not None
        assert stage is not None
        error = task.exception() if task.done() and not task.cancelled() else None
        if self._stop in (Stop.LOST, Stop.CANCEL):
            return self._stopped(self._stop)
        journal.refuse_diverged()
        if self._waits:
            return Ending("suspend", waits=self._waits)
        if self._stop is not None and self._interrupted:
            return self._stopped(self._stop)  # whatever an agent that was interrupted made of that
        if task.cancelled():
            raise AgentFailed("agent_error", "the agent cancelled itself")
        if error is None:
            journal.refuse_unreplayed()
            encoded = encode(task.result(), what="the agent's output", bytes_max=stage.bytes_max)
            return Ending(Outcome.COMPLETED, output=from_json(encoded))
        if not isinstance(error, (AgentFailed, LostOwnership)):
            log.warning("agent.failed", run_id=str(self.lease.run_id), exc_info=error)
            raise AgentFailed("agent_error", f"{type(error).__name__}: {error}") from error
        raise error

    async def _keep_progress(self) -> None:
        """Say to the record, at most every 15 s and often enough for the run's idle timeout, that events flow."""
        said = self._writer.next_id
        interval_s = min(_PROGRESS_INTERVAL_S, self._claimed.run.idle_timeout_s / 4)
        while True:
            await asyncio.sleep(interval_s)
            if self._writer.next_id == said:
                continue
            said = self._writer.next_id
            try:
                await owner.progress(self._links.db, self.lease)
            except StoreUnavailable:
                continue
            except LostOwnership as lost:
                self._lose(str(lost))
                return


async def _call(agent: Agent, face: Run) -> Any:
    """The agent, in a task of its own. ``sys.exit`` in it ends the run, not the pod."""
    working_for.set(face.id)
    try:
        return await agent.function(face)
    except SystemExit as left:
        raise AgentFailed("agent_error", f"the agent called sys.exit({left.code})") from left
