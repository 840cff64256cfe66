"""The route of the feed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from holdfast.errors import Refused
from holdfast.store.feed import ChangeId
from holdfast_gateway.http.answers import PROBLEMS, TOO_MANY
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.events import After, LastEventId
from holdfast_gateway.http.stream import EventStream

router = APIRouter(tags=["feed"])

_EXAMPLE = (
    'id: 741-0\nevent: snapshot\ndata: {"runs":[{"id":"019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a","thread_id":"chat-42",'
    '"agent":"assistant","status":"queued","attempt":0,"cancelling":false,"created_at":"2026-11-20T10:00:00Z",'
    '"at":"2026-11-20T10:00:00Z"}],"more":false,"pods":[]}\n\n'
    'id: 743-12\nevent: run.changed\ndata: {"run_id":"019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a","thread_id":"chat-42",'
    '"agent":"assistant","status":"running","attempt":1,"cancelling":false,"at":"2026-11-20T10:00:01Z"}\n\n'
    'event: pod.gone\ndata: {"pod":"runner-1","boot":"0b1c3c0e-3f0f-4f0a-8a53-0d8a4d1c5f11"}\n\n'
)
_FEED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; the stream never ends by itself. `snapshot` replaces everything, `run.changed` sets"
        " a run (its status, or `deleted`), `pods` replaces the pods, `pod.changed` sets one, `pod.gone` takes one away."
        " What is said of pods has no id: the cursor stays.",
        "content": {"text/event-stream": {"example": _EXAMPLE}},
    }
}


@router.get("/feed", response_class=Response, responses=_FEED | TOO_MANY | PROBLEMS)
async def follow_feed(
    caller: CallerOf, parts: PartsOf, last_event_id: LastEventId = None, after: After = None
) -> Response:
    """Every change of the tenant's runs, and of the pods. Without a cursor, or with one too old, a snapshot comes first."""
    text = last_event_id or after
    cursor = _cursor(text) if text else None
    with ExitStack() as held:
        held.enter_context(parts.connections.place(caller))
        chunks = parts.feed.follow(caller, cursor).chunks()
        return EventStream(chunks, parts.draining, place=held.pop_all())


def _cursor(text: str) -> ChangeId:
    try:
        return ChangeId.parse(text)
    except ValueError as error:
        raise Refused("invalid_cursor", str(error)) from error
