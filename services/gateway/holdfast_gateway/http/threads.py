"""Routes of threads: make, list, one, delete, the transcript."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from holdfast.errors import NotFound, Refused
from holdfast.store import RunRow, stranger
from holdfast.store import caller as record
from holdfast_gateway.auth import Caller
from holdfast_gateway.following import tail_row, wait_for_end
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer, page
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.guards import DEADLINE
from holdfast_gateway.http.models import Message, Page, Thread
from holdfast_gateway.http.pages import Cursor, Limit, cut, place_of
from holdfast_gateway.http.wanted import ThreadWanted
from holdfast_gateway.ids import new_id
from holdfast_gateway.parts import Parts
from holdfast_gateway.picture import RunGone

router = APIRouter(tags=["threads"])
_NEWEST = 2**63 - 1
_RECORD_LOOK_S = 0.5  # between two looks at the record; one takes three seconds at the most
_DELETE_WAIT_S = 15.0  # an owner heeds a cancel at once; if it does not, the reaper forces it after ten seconds


@router.post(
    "/threads",
    status_code=201,
    response_model=Thread,
    responses={200: {"model": Thread, "description": "it was there, and `if_exists` is `use`"}} | CONFLICT | PROBLEMS,
)
async def make_thread(caller: CallerOf, parts: PartsOf, body: ThreadWanted = Body(default=ThreadWanted())) -> Response:  # noqa: B008
    """Make a thread."""
    thread_id = body.id or str(new_id())
    made = await record.make_thread(parts.record.db, caller.tenant_id, thread_id, body.metadata)
    if made is not None:
        return answer(Thread.of(made), 201, headers={"location": f"/v1/threads/{thread_id}"})
    if body.if_exists == "raise":
        raise Refused("thread_exists", f"there is a thread {thread_id!r} already")
    return answer(Thread.of(await record.thread(parts.record.db, caller.tenant_id, thread_id)))


@router.get("/threads", response_model=Page[Thread], responses=PROBLEMS)
async def list_threads(caller: CallerOf, parts: PartsOf, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Threads, newest first."""
    before = place_of("threads", cursor, int, _NEWEST)
    rows = await record.threads(parts.record.db, caller.tenant_id, before=before, limit=limit + 1)
    shown, next_cursor = cut(rows, limit, "threads", lambda row: row.seq)
    return page([Thread.of(row) for row in shown], next_cursor)


@router.get("/threads/{thread_id}", response_model=Thread, responses=NOT_FOUND | PROBLEMS)
async def show_thread(thread_id: ThreadIdPath, caller: CallerOf, parts: PartsOf) -> Response:
    """One thread."""
    return answer(Thread.of(await record.thread(parts.record.db, caller.tenant_id, thread_id)))


@router.delete("/threads/{thread_id}", status_code=204, responses=NOT_FOUND | CONFLICT | PROBLEMS)
async def delete_thread(thread_id: ThreadIdPath, request: Request, caller: CallerOf, parts: PartsOf) -> Response:
    """Delete a thread with all of it, once its runs are cancelled. 409: one of them does not end; ask again."""
    await record.thread(parts.record.db, caller.tenant_id, thread_id)
    request.scope[DEADLINE].reschedule(None)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DELETE_WAIT_S):
            while not await _deleted(parts, caller, thread_id):
                for run in await record.active_runs(parts.record.db, caller.tenant_id, thread_id):
                    await _cancel(parts, caller, run)
            return Response(status_code=204)
    raise Refused("thread_busy", "a run of this thread has been asked to end and has not ended yet: ask again")


async def _deleted(parts: Parts, caller: Caller, thread_id: str) -> bool:
    try:
        return await record.delete_thread(parts.record.db, caller.tenant_id, thread_id)
    except NotFound:  # by somebody else, meanwhile
        return True


async def _cancel(parts: Parts, caller: Caller, run: RunRow) -> None:
    """Cancel a run and wait for its end.

    Raises:
        StoreUnavailable: the record went away meanwhile.
    """
    ended = await stranger.cancel(parts.record.db, caller.tenant_id, run.id)
    if ended is not None:
        await parts.announcer.ended(ended, run.run_owner_pod)
        if ended.status == "running":
            waiting = asyncio.create_task(
                wait_for_end(parts.tails, await tail_row(parts.tails, run)), name="delete-wait"
            )
            looking = asyncio.create_task(_until_the_record_is_away(parts), name="delete-record")
            await _first(waiting, looking)


async def _until_the_record_is_away(parts: Parts) -> None:
    """A viewer is patient with a record that is away; a caller who waits for its answer is to be told.

    Raises:
        StoreUnavailable: it is away now.
    """
    while True:
        await asyncio.sleep(_RECORD_LOOK_S)
        parts.record.require()
        await record.ping(parts.record.db)


async def _first(*tasks: asyncio.Task[None]) -> None:
    """Wait for the first task, stop the others, and raise what it raised, unless the run is gone."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    with contextlib.suppress(RunGone):
        for task in done:
            task.result()


@router.get("/threads/{thread_id}/messages", response_model=Page[Message], responses=NOT_FOUND | PROBLEMS)
async def list_messages(
    thread_id: ThreadIdPath, caller: CallerOf, parts: PartsOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """The durable transcript, oldest first."""
    await record.thread(parts.record.db, caller.tenant_id, thread_id)
    after = place_of("messages", cursor, int, 0)
    rows = await record.messages(parts.record.db, caller.tenant_id, thread_id, after=after, limit=limit + 1)
    shown, next_cursor = cut(rows, limit, "messages", lambda row: row.seq)
    return page([Message.of(row) for row in shown], next_cursor)
