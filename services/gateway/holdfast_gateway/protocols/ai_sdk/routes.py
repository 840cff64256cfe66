"""Routes of the AI SDK's chat protocol: what ``useChat`` and ``WorkflowChatTransport`` call, and two more for their pages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic_core import to_json
from starlette.responses import Response

from holdfast.store import MessageRow, RunRow
from holdfast.store import caller as record
from holdfast_gateway.auth import Caller
from holdfast_gateway.following import tail_row
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, TOO_MANY, answer
from holdfast_gateway.http.dependencies import CallerOf, PartsOf, ThreadIdPath
from holdfast_gateway.http.guards import DEADLINE
from holdfast_gateway.http.models import Run
from holdfast_gateway.http.pages import Cursor, Limit, cut, place_of
from holdfast_gateway.http.showing import shown_one
from holdfast_gateway.http.stream import EventStream
from holdfast_gateway.parts import Parts
from holdfast_gateway.protocols.ai_sdk import chats
from holdfast_gateway.protocols.ai_sdk.asking import BODY_SCHEMA, ChatPostOf
from holdfast_gateway.protocols.ai_sdk.chats import Segment
from holdfast_gateway.protocols.ai_sdk.history import ui_messages
from holdfast_gateway.protocols.ai_sdk.streaming import HEADERS, Numbered, chunks_of, count_chunks

router = APIRouter(tags=["ai-sdk"])
Ident = Annotated[
    str,
    Path(max_length=200, description="a chat (its thread's id), a run, or what `x-workflow-run-id` said"),
]
StartIndex = Annotated[
    int | None,
    Query(
        alias="startIndex",
        ge=-(2**53),
        le=2**53,
        description="how many chunks the client has; negative: so many from the end, and"
        " `x-workflow-stream-tail-index` says where that is",
    ),
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a UI message stream, v1: it ends with `finish` and `[DONE]`; any other end: come back with `startIndex`",
        "content": {
            "text/event-stream": {
                "example": 'data: {"type":"start","messageId":"019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a"}\n\n'
                'data: {"type":"start-step"}\n\ndata: {"type":"text-start","id":"1-3"}\n\n'
            }
        },
    }
}
_IDLE: dict[int | str, dict[str, Any]] = {204: {"description": "nothing goes on in this chat"}}


@router.post(
    "/chat",
    response_class=Response,
    responses=_STREAM | NOT_FOUND | CONFLICT | TOO_MANY | PROBLEMS,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": BODY_SCHEMA}}}},
)
async def post_to_chat(body: ChatPostOf, request: Request, caller: CallerOf, parts: PartsOf) -> Response:
    """Say something, answer what a run asks, or have the last answer given anew; answered with the stream of what follows."""
    with ExitStack() as held:
        held.enter_context(parts.connections.place(caller))
        if body.trigger == "regenerate-message":
            request.scope[DEADLINE].reschedule(
                None
            )  # a run that is to end first may take a while, and is waited for so long
        segment = await chats.post(parts, caller, body)
        return await _stream(parts, segment, 0, held)


@router.get(
    "/chat/{ident}/stream", response_class=Response, responses=_STREAM | _IDLE | NOT_FOUND | TOO_MANY | PROBLEMS
)
async def resume_stream(ident: Ident, caller: CallerOf, parts: PartsOf, start_index: StartIndex = None) -> Response:
    """What goes on in a chat, from its beginning or from where the client is."""
    with ExitStack() as held:
        held.enter_context(parts.connections.place(caller))
        # Who has chunks already was following what has ended meanwhile, and is brought to its end.
        segment = await chats.named(parts, caller, ident, also_ended=bool(start_index and start_index > 0))
        if segment is None:
            return Response(status_code=204)
        return await _stream(parts, segment, start_index or 0, held)


async def _stream(parts: Parts, segment: Segment, start_index: int, held: ExitStack) -> Response:
    row = await tail_row(parts.tails, segment.run)
    headers = {**HEADERS, "x-workflow-run-id": segment.name}
    skip = start_index
    if start_index < 0:
        count = await count_chunks(parts, row, segment.fold())
        skip = max(count + start_index, 0)
        headers["x-workflow-stream-tail-index"] = str(count - 1)
    numbered = Numbered(segment.fold(), skip, of_before=start_index > 0)
    begin = numbered.begin()
    chunks = chunks_of(parts, row, numbered)
    return EventStream(chunks, parts.draining, begin=begin, headers=headers, place=held.pop_all())


@router.post(
    "/chat/{ident}/stop", status_code=202, response_model=Run, responses=_IDLE | NOT_FOUND | CONFLICT | PROBLEMS
)
async def stop_chat(ident: Ident, caller: CallerOf, parts: PartsOf) -> Response:
    """Cancel what goes on in a chat, or a run. (The SDK's own `stop` closes its connection, which no run minds.)"""
    segment = await chats.named(parts, caller, ident, also_ended=False)
    if segment is None or not await chats.stop(parts, caller, segment.run):
        return Response(status_code=204)
    return answer(await shown_one(parts, await record.run(parts.record.db, caller.tenant_id, segment.run.id)), 202)


@router.get("/chat/{ident}/messages", response_class=Response, responses=NOT_FOUND | PROBLEMS)
async def list_ui_messages(
    ident: ThreadIdPath, caller: CallerOf, parts: PartsOf, limit: Limit = 200, cursor: Cursor = None
) -> Response:
    """The chat's transcript as UI messages, oldest first: for `useChat({messages})`. What goes on still is in the stream."""
    await record.thread(parts.record.db, caller.tenant_id, ident)
    after = place_of("messages", cursor, int, 0)
    rows = await record.messages(parts.record.db, caller.tenant_id, ident, after=after, limit=limit + 1)
    shown, next_cursor = cut(rows, limit, "messages", lambda row: row.seq)
    messages = list(ui_messages(shown, await _runs_of(parts, caller, ident, shown)))
    return Response(to_json({"items": messages, "next_cursor": next_cursor}), media_type="application/json")


async def _runs_of(parts: Parts, caller: Caller, thread_id: str, rows: Sequence[MessageRow]) -> dict[UUID, RunRow]:
    """The runs that messages are of. Ids of runs are in the order of time, as messages are."""
    wanted = {row.run_id for row in rows}
    runs: dict[UUID, RunRow] = {}
    before = UUID(int=max((each.int for each in wanted), default=0) + 1)
    while wanted - runs.keys():
        page = await record.runs(
            parts.record.db,
            caller.tenant_id,
            before=before,
            statuses=None,
            thread_id=thread_id,
            agent=None,
            limit=200,
        )
        if not page:
            break
        runs.update({run.id: run for run in page})
        before = page[-1].id
    return runs
