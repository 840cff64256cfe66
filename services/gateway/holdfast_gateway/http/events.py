"""Routes of event streams, and of the same events by long poll."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from holdfast.errors import NotFound, Refused
from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast.store import caller as record
from holdfast_gateway.auth import Caller
from holdfast_gateway.following import ThreadFeed, check_cursor, follow_run, tail_row
from holdfast_gateway.http.answers import NOT_FOUND, PROBLEMS, TOO_MANY
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.guards import DEADLINE
from holdfast_gateway.http.problems import draining
from holdfast_gateway.http.stream import EventStream, client_gone
from holdfast_gateway.parts import Parts
from holdfast_gateway.picture import RunGone

_POLL_WAIT_MAX_S = 60.0
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
_POLL_EXAMPLE = {
    "events": [{"id": "1-3", "type": "text.delta", "data": {"position": "0", "text": "Hel"}}],
    "next": "1-3",
    "more": False,
    "ended": False,
    "ticket": "kJ3xq0Zt9v1B",
}
_STREAM_OR_POLL: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"{_STREAM[200]['description']} With `Accept: application/json` one answer for those whose proxies hold"
        " streams back: the next events, at once if there are any, else as soon as there are, else none after `wait_s`."
        " `next` is the cursor of the next request; `more`: others are there already; `ended`: these were the last; `ticket` may"
        " be given back with `next`.",
        "content": {**_STREAM[200]["content"], "application/json": {"example": _POLL_EXAMPLE}},
    }
}
PollWaitS = Annotated[
    float,
    Query(
        ge=0, le=_POLL_WAIT_MAX_S, description="with `Accept: application/json`: how many seconds to wait for an event"
    ),
]

PollTicket = Annotated[
    str | None,
    Query(
        max_length=64,
        description="the `ticket` of the poll before, if there is one: spares the gateway a read of the log",
    ),
]


def _cursor(text: str) -> EventId:
    try:
        return EventId.parse(text)
    except ValueError as error:
        raise Refused("invalid_cursor", str(error)) from error


def _wants_json(request: Request) -> bool:
    accepted = ",".join(request.headers.getlist("accept")).lower()
    return "application/json" in accepted and "text/event-stream" not in accepted


@router.get(
    "/runs/{run_id}/events", response_class=Response, responses=_STREAM_OR_POLL | NOT_FOUND | TOO_MANY | PROBLEMS
)
async def follow_one(
    *,
    run_id: UUID,
    request: Request,
    caller: CallerOf,
    parts: PartsOf,
    last_event_id: LastEventId = None,
    after: After = None,
    wait_s: PollWaitS = 0.0,
    ticket: PollTicket = None,
) -> Response:
    """A run's events, from the cursor on, exclusive; without one from the start. Ends after the last one."""
    text = last_event_id or after
    cursor = _cursor(text) if text else None
    with ExitStack() as held:
        held.enter_context(parts.connections.place(caller))
        run = await record.run(parts.record.db, caller.tenant_id, run_id)
        if cursor is not None:
            check_cursor(run, cursor)
        row = await tail_row(parts.tails, run)
        if _wants_json(request):
            return await _poll(parts, caller, request, row, cursor=cursor, wait_s=wait_s, ticket=ticket)
        headers = {"x-workflow-run-id": str(run_id)}
        return EventStream(follow_run(parts.tails, row, cursor), parts.draining, headers=headers, place=held.pop_all())


async def _poll(
    parts: Parts,
    caller: Caller,
    request: Request,
    row: TailRow,
    *,
    cursor: EventId | None,
    wait_s: float,
    ticket: str | None,
) -> Response:
    """Ends when there is an answer, the client has gone or the gateway stops: a stop is never told as the run's end."""
    request.scope[DEADLINE].reschedule(None)
    polling = asyncio.create_task(parts.polls.poll(caller, row, cursor, wait_s=wait_s, ticket=ticket), name="poll")
    others = [
        asyncio.create_task(client_gone(request.receive), name="poll-client"),
        asyncio.create_task(parts.draining.wait(), name="poll-draining"),
    ]
    try:
        await asyncio.wait({polling, *others}, return_when=asyncio.FIRST_COMPLETED)
        answered = polling.done()
    finally:
        for task in (polling, *others):
            task.cancel()
        await asyncio.wait({polling, *others})
    if not answered:
        return draining()
    try:
        body = polling.result().body(cursor)
    except RunGone as error:
        raise NotFound("run", str(row.id)) from error
    headers = {"cache-control": "no-store", "x-workflow-run-id": str(row.id)}
    return Response(body, headers=headers, media_type="application/json")


@router.get(
    "/threads/{thread_id}/events",
    response_class=Response,
    responses=_STREAM | {204: {"description": "no run of the thread is active"}} | NOT_FOUND | TOO_MANY | PROBLEMS,
)
async def follow_thread(
    *,
    thread_id: ThreadIdPath,
    request: Request,
    caller: CallerOf,
    parts: PartsOf,
    last_event_id: LastEventId = None,
    after: After = None,
) -> Response:
    """The events of the thread's active runs, one run after the other. Ids are `<run_id>:<attempt>-<n>`."""
    if _wants_json(request):
        raise Refused("not_supported", "a thread's events come as text/event-stream only: poll those of its runs")
    text = last_event_id or after
    cursor = _thread_cursor(text) if text else None
    with ExitStack() as held:
        held.enter_context(parts.connections.place(caller))
        await record.thread(parts.record.db, caller.tenant_id, thread_id)
        feed = ThreadFeed(parts.record.db, parts.tails, caller.tenant_id, thread_id)
        if not await feed.begin(cursor):
            return Response(status_code=204)
        return EventStream(feed.chunks(), parts.draining, place=held.pop_all())


def _thread_cursor(text: str) -> tuple[UUID, EventId]:
    run_id, _, event_id = text.partition(":")
    try:
        return UUID(run_id), EventId.parse(event_id)
    except ValueError as error:
        raise Refused("invalid_cursor", f"{text!r} is not an event id of the form <run_id>:<attempt>-<n>") from error
