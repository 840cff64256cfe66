"""Routes that submit runs: answered with the run, with its stream at once, or with the run when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from holdfast.errors import Refused
from holdfast.runs import QUEUED_ID, TERMINAL, EventId
from holdfast.store import caller as record
from holdfast.store.caller import Submitted
from holdfast_gateway.announcing import queued_frame
from holdfast_gateway.auth import Caller
from holdfast_gateway.following import follow_run, tail_row, wait_for_end
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, TOO_MANY, run_answer, run_headers
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.events import STREAM_EXAMPLE
from holdfast_gateway.http.guards import DEADLINE
from holdfast_gateway.http.models import Run
from holdfast_gateway.http.showing import shown_one
from holdfast_gateway.http.stream import EventStream, client_gone
from holdfast_gateway.http.wanted import RunOnNewThreadWanted, RunWanted
from holdfast_gateway.ids import new_id
from holdfast_gateway.parts import Parts
from holdfast_gateway.submitting import Wanted, fingerprint_of, submit

_KEY_FORM = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_WAIT_MAX_S = 600.0

router = APIRouter(tags=["runs"])
WaitS = Annotated[
    float | None,
    Query(
        gt=0, le=_WAIT_MAX_S, description="answer when the run has ended, with 200; or with 202 after so many seconds"
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(description="a submit that is repeated with the same key and body answers 200 with the first one's run"),
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Run,
        "description": "the finished run (`?wait_s=`), the run of an earlier submit with this key, or, with"
        " `Accept: text/event-stream`, its events from `run.queued` on",
        "content": {"text/event-stream": {"example": STREAM_EXAMPLE}},
    },
    **NOT_FOUND,
    **CONFLICT,
    **TOO_MANY,
    **PROBLEMS,
}


@router.post("/threads/{thread_id}/runs", status_code=202, response_model=Run, responses=_RESPONSES)
async def submit_to_thread(
    *,
    thread_id: ThreadIdPath,
    body: RunWanted,
    request: Request,
    caller: CallerOf,
    parts: PartsOf,
    wait_s: WaitS = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a run to a thread."""
    wanted = _wanted(request, caller, body, idempotency_key, thread_id, make_thread=False)
    return await _submit(parts, caller, request, wanted, wait_s)


@router.post("/runs", status_code=202, response_model=Run, responses=_RESPONSES)
async def submit_on_its_own(
    *,
    body: RunOnNewThreadWanted,
    request: Request,
    caller: CallerOf,
    parts: PartsOf,
    wait_s: WaitS = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a run, and make its thread."""
    thread_id = body.thread_id or str(new_id())
    wanted = _wanted(request, caller, body, idempotency_key, thread_id, make_thread=True)
    return await _submit(parts, caller, request, wanted, wait_s)


def _wanted(
    request: Request, caller: Caller, body: RunWanted, key: str | None, thread_id: str, *, make_thread: bool
) -> Wanted:
    if key is not None and not _KEY_FORM.fullmatch(key):
        raise Refused("invalid_header", "an Idempotency-Key is 1 to 255 printable ASCII characters")
    return Wanted(
        tenant_id=caller.tenant_id,
        thread_id=thread_id,
        make_thread=make_thread,
        agent=body.agent,
        input=body.input,
        metadata=body.metadata,
        on_busy=body.on_busy,
        on_owner_lost=body.on_owner_lost,
        on_unknown=body.on_unknown,
        max_crashes=body.max_crashes,
        idle_timeout_s=body.idle_timeout_s,
        deadline_s=body.deadline_s,
        idempotency_key=key,
        fingerprint=fingerprint_of(request.scope["path"], body.telling()) if key is not None else b"",
        webhook=body.webhook.kept() if body.webhook is not None else None,
        operator=caller.operator,
    )


async def _submit(parts: Parts, caller: Caller, request: Request, wanted: Wanted, wait_s: float | None) -> Response:
    """Submit, and answer as the client asked. A connection that stays open takes its place before anything is made."""
    to_follow = "text/event-stream" in ",".join(request.headers.getlist("accept")).lower()
    with ExitStack() as held:
        if to_follow or wait_s is not None:
            held.enter_context(parts.connections.place(caller))
        submitted = await submit(parts, wanted)
        if not to_follow:
            return await _answer(parts, caller, request, submitted, wait_s)
        run = submitted.run
        after, begin = _beginning(submitted)
        chunks = follow_run(parts.tails, await tail_row(parts.tails, run), after)
        return EventStream(chunks, parts.draining, begin=begin, headers=run_headers(run.id), place=held.pop_all())


async def _answer(
    parts: Parts, caller: Caller, request: Request, submitted: Submitted, wait_s: float | None
) -> Response:
    run = submitted.run
    if wait_s is not None and run.status not in TERMINAL:
        request.scope[DEADLINE].reschedule(None)
        await _wait(parts, request, submitted, wait_s)
        run = await record.run(parts.record.db, caller.tenant_id, run.id)
    status = (200 if run.status in TERMINAL else 202) if wait_s is not None else (202 if submitted.created else 200)
    return run_answer(await shown_one(parts, run), status)


def _beginning(submitted: Submitted) -> tuple[EventId | None, bytes]:
    """A new run's first event is known before the log has it: its viewer need not wait for anything."""
    return (QUEUED_ID, queued_frame(submitted.run, submitted.position)) if submitted.created else (None, b"")


async def _wait(parts: Parts, request: Request, submitted: Submitted, wait_s: float) -> None:
    """Until the run has ended, the time is up, the client has gone or the gateway stops."""
    row = await tail_row(parts.tails, submitted.run)
    tasks = [
        asyncio.create_task(wait_for_end(parts.tails, row), name="wait-run"),
        asyncio.create_task(client_gone(request.receive), name="wait-client"),
        asyncio.create_task(parts.draining.wait(), name="wait-draining"),
    ]
    try:
        await asyncio.wait(tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(*tasks, return_exceptions=True)
