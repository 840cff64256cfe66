"""Routes of a thread's queue: the queued runs in order; change one, remove one, put one first.

Each change is guarded by the run being queued still: once a runner has claimed it, the answer is 409 and nothing is changed.
"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from holdfast.errors import NotFound, Refused
from holdfast.store import RunRow
from holdfast.store import caller as record
from holdfast_gateway.auth import Caller
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer, page
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.models import Page, Run
from holdfast_gateway.http.showing import shown_one, shown_runs
from holdfast_gateway.http.wanted import QueueEdit
from holdfast_gateway.parts import Parts

router = APIRouter(tags=["queue"])
_ANSWERS = NOT_FOUND | CONFLICT | PROBLEMS


@router.get("/threads/{thread_id}/queue", response_model=Page[Run], responses=NOT_FOUND | PROBLEMS)
async def list_queue(thread_id: ThreadIdPath, caller: CallerOf, parts: PartsOf) -> Response:
    """The queued runs, in the order in which they will run. All of them on one page."""
    await record.thread(parts.record.db, caller.tenant_id, thread_id)
    return page(await shown_runs(parts, await record.queue(parts.record.db, caller.tenant_id, thread_id)))


@router.patch("/threads/{thread_id}/queue/{run_id}", response_model=Run, responses=_ANSWERS)
async def edit_queued(
    thread_id: ThreadIdPath, run_id: UUID, body: QueueEdit, caller: CallerOf, parts: PartsOf
) -> Response:
    """Change the input of a queued run."""
    run = await _run_of(parts, caller, thread_id, run_id)
    parts.agents.check(await parts.agents.find(run.agent), body.input)
    row = await record.queue_edit(parts.record.db, caller.tenant_id, thread_id, run_id, body.input)
    if row is None:
        raise await _not_queued(parts, caller, thread_id, run_id)
    return answer(await shown_one(parts, row))


@router.delete("/threads/{thread_id}/queue/{run_id}", status_code=202, response_model=Run, responses=_ANSWERS)
async def remove_queued(thread_id: ThreadIdPath, run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Take a run out of the queue: it is cancelled."""
    ended = await record.queue_remove(parts.record.db, caller.tenant_id, thread_id, run_id)
    if ended is None:
        raise await _not_queued(parts, caller, thread_id, run_id)
    await parts.announcer.ended(ended, None)
    return answer(await shown_one(parts, await record.run(parts.record.db, caller.tenant_id, run_id)), 202)


@router.post("/threads/{thread_id}/queue/{run_id}/now", response_model=Run, responses=_ANSWERS)
async def put_first(thread_id: ThreadIdPath, run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Put a queued run before all others of its queue. What runs now goes on."""
    row = await record.queue_first(parts.record.db, caller.tenant_id, thread_id, run_id)
    if row is None:
        raise await _not_queued(parts, caller, thread_id, run_id)
    await parts.announcer.asked_again(row.pool, row.id)
    return answer(await shown_one(parts, row))


async def _run_of(parts: Parts, caller: Caller, thread_id: str, run_id: UUID) -> RunRow:
    """A run of this thread.

    Raises:
        NotFound: the thread has no such run, or there is no such thread.
    """
    await record.thread(parts.record.db, caller.tenant_id, thread_id)
    run = await record.run(parts.record.db, caller.tenant_id, run_id)
    if run.thread_id != thread_id:
        raise NotFound("run", str(run_id))
    return run


async def _not_queued(parts: Parts, caller: Caller, thread_id: str, run_id: UUID) -> Refused:
    run = await _run_of(parts, caller, thread_id, run_id)
    if run.status == "queued":  # and was not, a moment ago; or it has a journal, which belongs to the input that it has
        return Refused("not_queued", f"run {run_id} has a journal already, which goes with the input that it has")
    return Refused("not_queued", f"run {run_id} is not queued any more: it is {run.status}; nothing was changed")
