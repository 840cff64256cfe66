"""What follows a commit: the event for the log, the request for a runner, the word to an owner, and what an end means for the
run's parent and children. All of it best effort.

The record has decided already; what is not done here is made good by the reaper's sweep and by the tails. So nothing here may
fail a request of a client, or hold it up for long while NATS is away. It goes on in a task of its own: a client that goes away
does not stop it half-way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from uuid import UUID

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from holdfast import metrics
from holdfast.bus import event_log, requests
from holdfast.errors import Retryable
from holdfast.logs import get_logger
from holdfast.runs import QUEUED_ID, TERMINAL, EventId
from holdfast.store import Ended, RunRow, caller, stranger
from holdfast.store.caller import Submitted
from holdfast.wire import events
from holdfast.wire.messages import Control
from holdfast_gateway.carrier import Carrier
from holdfast_gateway.picture import take_picture
from holdfast_gateway.record import Record

log = get_logger(__name__)
_STEP_TIMEOUT_S = 0.5
_TOTAL_TIMEOUT_S = 1.0
_PENDING_MAX = 10_000


def queued_frame(run: RunRow, position: int) -> bytes:
    """The first event of a run's stream. ``position`` is the run's place on its thread (1: nothing before it)."""
    data = {"run_id": str(run.id), "thread_id": run.thread_id, "position": position}
    return events.frame(QUEUED_ID, "run.queued", data)


class Announcer:
    """Tells the bus what the record has decided."""

    def __init__(self, record: Record, carrier: Carrier) -> None:
        self._record = record
        self._carrier = carrier
        self._pending: set[asyncio.Task[None]] = set()

    async def submitted(self, submitted: Submitted) -> None:
        """A run was submitted. Returns when told, or after about a second.

        The log before the request, which says where that event is: whoever claims the run need not ask where its log ends.
        """
        run, replaced = submitted.run, submitted.replaced
        tellings = [self._tell_queued(run, submitted.position)]
        if replaced is not None:
            tellings.append(self._attempt(lambda: self._tell_cancelled(replaced), "replaced", run.id))
        await self._bounded(*tellings)

    async def forked(self, run: RunRow, position: int) -> None:
        """A run was made from another one. Its stream begins with a snapshot of what was copied from there."""
        await self._bounded(self._tell_forked(run, position))

    async def asked_again(self, pool: str, run_id: UUID) -> None:
        """A run is queued that may have no request: it came back to the queue, or its submit was repeated (the first one's
        request may have been lost with its gateway)."""
        await self._bounded(self._request(pool, run_id))

    async def ended(self, ended: Ended, pod: str | None) -> None:
        """A run was cancelled, or, if it is still running on ``pod``, asked to end. Its children end too; its parent wakes."""
        await self._bounded(self._tell_ended(ended, pod))

    async def _bounded(self, *tellings: Coroutine[Any, Any, None]) -> None:
        if len(self._pending) >= _PENDING_MAX:
            for telling in tellings:
                telling.close()
            return
        tasks = [asyncio.create_task(telling, name="announce") for telling in tellings]
        for task in tasks:
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        await asyncio.wait(tasks, timeout=_TOTAL_TIMEOUT_S)

    async def _tell_queued(self, run: RunRow, position: int) -> None:
        log_seq: int | None = None

        async def begin_log() -> None:
            nonlocal log_seq
            log_seq = await self._begin_log(run.id, queued_frame(run, position), QUEUED_ID)

        await self._attempt(begin_log, "log", run.id)
        await self._request(run.pool, run.id, log_seq)

    async def _tell_forked(self, run: RunRow, position: int) -> None:
        await self._attempt(lambda: self._begin_fork(run, position), "log", run.id)
        await self._request(run.pool, run.id)

    async def _begin_fork(self, run: RunRow, position: int) -> None:
        payload, last_id = queued_frame(run, position), QUEUED_ID
        picture = await take_picture(self._record.db, run.id)
        if (
            picture.newest is not None and picture.newest.attempt == QUEUED_ID.attempt
        ):  # else it is claimed, and has gone on
            payload, last_id = payload + picture.frame(picture.newest), picture.newest
        await self._begin_log(run.id, payload, last_id)

    async def _begin_log(self, run_id: UUID, payload: bytes, last_id: EventId) -> int | None:
        """Where that is in the stream; None: somebody has claimed it already, and written first."""
        try:
            return await event_log.append(
                self._carrier.client,
                run_id,
                payload,
                last_id=last_id,
                boot=None,
                expected_seq=0,
                timeout_s=_STEP_TIMEOUT_S,
            )
        except event_log.Refused:
            return None

    async def _tell_cancelled(self, ended: Ended) -> None:
        await self._tell_ended(ended, await self._pod_of(ended))

    async def _tell_ended(self, ended: Ended, pod: str | None) -> None:
        children: list[Ended] = []
        await self._attempt(lambda: self._cancel_children(ended.id, children), "children", ended.id)
        await self._tell_one(ended, pod)
        for child in children:
            await self._attempt(partial(self._tell_child, child), "child", child.id)
        if ended.parent_run_id is not None and ended.status in TERMINAL:
            await self._wake(ended.parent_run_id)

    async def _cancel_children(self, parent_id: UUID, cancelled: list[Ended]) -> None:
        """Children end with their parent, and theirs with them; each is cancelled once, so this comes to an end."""
        for tenant_id, run_id in await stranger.children(self._record.db, parent_id):
            child = await stranger.cancel(self._record.db, tenant_id, run_id)
            if child is not None:
                cancelled.append(child)
                await self._cancel_children(child.id, cancelled)

    async def _tell_child(self, child: Ended) -> None:
        await self._tell_one(child, await self._pod_of(child))

    async def _pod_of(self, ended: Ended) -> str | None:
        row = (await caller.tails(self._record.db, [ended.id])).get(ended.id)
        return row.run_owner_pod if row is not None else None

    async def _tell_one(self, ended: Ended, pod: str | None) -> None:
        if ended.status in TERMINAL:
            metrics.RUNS_ENDED.labels(status=ended.status).inc()
            await self._attempt(lambda: self._append_end(ended), "end", ended.id)
        elif pod is not None:
            await self._attempt(lambda: self._tell_owner(ended, pod), "cancel", ended.id)
        if ended.next_id is not None and ended.next_pool is not None:
            await self._request(ended.next_pool, ended.next_id)

    async def _wake(self, parent_id: UUID) -> None:
        async def wake() -> None:
            for woken in await stranger.wake(self._record.db, run_ids=[parent_id], limit=1):
                await self._request(woken.pool, woken.id)

        await self._attempt(wake, "parent", parent_id)

    async def _append_end(self, ended: Ended) -> None:
        assert ended.terminal_event_id is not None
        event_id = EventId.parse(ended.terminal_event_id)
        data = {"keep_through": ended.keep_through}
        await event_log.tell(self._carrier.client, ended.id, event_id, f"run.{ended.status}", data)

    async def _tell_owner(self, ended: Ended, pod: str) -> None:
        word = Control(action="cancel", run_id=ended.id, attempt=ended.attempt)
        await requests.control(self._carrier.broker, pod, word)

    async def _request(self, pool: str, run_id: UUID, log_seq: int | None = None) -> None:
        async def publish() -> None:
            await requests.publish(self._carrier.broker, pool, run_id, log_seq=log_seq, timeout_s=_STEP_TIMEOUT_S)

        await self._attempt(publish, "request", run_id)

    async def _attempt(self, tell: Callable[[], Coroutine[Any, Any, None]], what: str, run_id: UUID) -> None:
        try:
            async with asyncio.timeout(_TOTAL_TIMEOUT_S):
                await tell()
        except (Retryable, NatsError, APIError, TimeoutError) as error:
            log.info("bus.not_told", what=what, run_id=str(run_id), error=str(error))
