"""The feed: every change of the tenant's runs and pods on one connection, over as many connections as that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from holdfast_client.errors import NotAGateway, Refused, Unreachable
from holdfast_client.gateway import Gateway
from holdfast_client.patience import Patience

_PATH = "/v1/feed"
_PAUSE_S = 1.0
_WITHOUT_ID = frozenset({"pods", "pod.changed", "pod.gone"})  # a viewer is shown what pods there are at each connect


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of the feed.

    - ``snapshot`` ``{"runs": […], "pods": […], "more": bool}`` replaces everything: the active runs and the live pods. It comes
      first, and in place of what a cursor has missed for too long.
    - ``run.changed`` ``{"run_id", "thread_id", "agent", "status", "attempt", "cancelling", "at"}``; a lower attempt than is known
      is old news, and the status of a run that was deleted is ``deleted``.
    - ``pods`` ``{"pods": […]}`` replaces the pods; ``pod.changed`` and ``pod.gone`` change one.

    ``id`` is the cursor that it stands for; None for what has none.
    """

    id: str | None
    type: str
    data: Mapping[str, Any]


async def follow_feed(gateway: Gateway, *, after: str | None, patience: Patience) -> AsyncGenerator[FeedEvent, None]:
    """Every event after the cursor, for ever. A cursor that the record does not know any more is one no more: a snapshot comes.

    Raises:
        Unreachable: the gateway stayed away for longer than the patience.
        Refused: it says no: the key, or the given cursor.
        NotAGateway: it does not stream as one.
    """
    last, was_given = after, True
    while True:
        try:
            async with aclosing(gateway.stream(_PATH, last, patience)) as frames:
                async for frame in frames:
                    event = _event(frame.id, frame.event, frame.data, gateway.url)
                    if event.id is not None:
                        last, was_given = event.id, False
                    yield event
            await asyncio.sleep(_PAUSE_S)  # it has no end: a proxy ended it
        except Unreachable as away:
            if not gateway.was_there:
                raise
            await patience.pause(away)
        except Refused as refused:
            if refused.code != "invalid_cursor" or was_given:
                raise
            last = None


def _event(event_id: str, event_type: str, data: str, url: str) -> FeedEvent:
    try:
        shown = from_json(data)
    except ValueError as error:
        raise NotAGateway(f"{url} does not stream as Holdfast does: {error}") from error
    return FeedEvent(event_id if event_id and event_type not in _WITHOUT_ID else None, event_type, shown)
