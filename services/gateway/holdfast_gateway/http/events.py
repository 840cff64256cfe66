"""Routes of event streams."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from holdfast.errors import Refused
from holdfast.runs import EventId
from holdfast.store import caller as record
from holdfast_gateway.following import ThreadFeed, check_cursor, follow_run, tail_row
from holdfast_gateway.http.answers import NOT_FOUND, PROBLEMS
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.stream import EventStream

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=128, description="the last event that the client has")
]
After = Annotated[str | None, Query(max_length=128, description="the same, for a first connect; the header wins")]

STREAM_EXAMPLE = (
    'id: 1-1\nevent: run.started\ndata: {"run_id":"019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a","attempt":1,"pod":"runner-1"}\n\n'
    'id: 1-2\nevent: step.started\ndata: {"position":"0","kind":"model","name":"chat"}\n\n'
    'id: 1-3\nevent: text.delta\ndata: {"position":"0","text":"Hel"}\n\n'
    'id: 2-1\nevent: run.resumed\ndata: {"run_id":"019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a","attempt":2,"pod":"runner-2",'
    '"from_pod":"runner-1","reason":"owner_lost","keep_through":null}\n\n'
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events. A clean end is the end of the run; any other end: connect again with the cursor.",
        "content": {"text/event-stream": {"example": STREAM_EXAMPLE}},
    }
}


def _cursor(text: str) -> EventId:
    try:
        return EventId.parse(text)
    except ValueError as error:
        raise Refused("invalid_cursor", str(error)) from error


@router.get("/runs/{run_id}/events", response_class=Response, responses=_STREAM | NOT_FOUND | PROBLEMS)
async def follow_one(
    run_id: UUID, caller: CallerOf, parts: PartsOf, last_event_id: LastEventId = None, after: After = None
) -> Response:
    """A run's events, from the cursor on, exclusive; without one from the start. Ends after the last one."""
    text = last_event_id or after
    cursor = _cursor(text) if text else None
    run = await record.run(parts.record.db, caller.tenant_id, run_id)
    if cursor is not None:
        check_cursor(run, cursor)
    chunks = follow_run(parts.tails, await tail_row(parts.tails, run), cursor)
    return EventStream(chunks, parts.draining, headers={"x-workflow-run-id": str(run_id)})


@router.get(
    "/threads/{thread_id}/events",
    response_class=Response,
    responses=_STREAM | {204: {"description": "no run of the thread is active"}} | NOT_FOUND | PROBLEMS,
)
async def follow_thread(
    thread_id: ThreadIdPath, caller: CallerOf, parts: PartsOf, last_event_id: LastEventId = None, after: After = None
) -> Response:
    """The events of the thread's active runs, one run after the other. Ids are `<run_id>:<attempt>-<n>`."""
    text = last_event_id or after
    cursor = _thread_cursor(text) if text else None
    await record.thread(parts.record.db, caller.tenant_id, thread_id)
    feed = ThreadFeed(parts.record.db, parts.tails, caller.tenant_id, thread_id)
    if not await feed.begin(cursor):
        return Response(status_code=204)
    return EventStream(feed.chunks(), parts.draining)


def _thread_cursor(text: str) -> tuple[UUID, EventId]:
    run_id, _, event_id = text.partition(":")
    try:
        return UUID(run_id), EventId.parse(event_id)
    except ValueError as error:
        raise Refused("invalid_cursor", f"{text!r} is not an event id of the form <run_id>:<attempt>-<n>") from error
