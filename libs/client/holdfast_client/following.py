"""A run's events, once and in order, over as many connections as that takes.

The cursor is the id of the last event. An id that is not above it is a duplicate; only a ``snapshot`` may go back, since a log
that has lost its end is behind whoever comes back to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic_core import from_json

from holdfast.runs import EventId, Status
from holdfast.runs.fold import TERMINAL_TYPES
from holdfast.wire.events import Event
from holdfast_client.answers import model_of
from holdfast_client.errors import NotAGateway, Refused, Unreachable
from holdfast_client.gateway import Gateway
from holdfast_client.models import RunState
from holdfast_client.patience import Patience

BEGINNING = EventId(0, 0)
"""The id of the empty snapshot that begins a run anew. No event of a log has it."""
_EMPTY_STREAM_PAUSE_S = 1.0
_POLL_WAIT_S = 15.0  # of the read timeout of 25 s


class Following:
    """One follower of a run.

    Args:
        gateway: where it is followed.
        run_id: the run.
        after: the cursor, exclusive; None: from its first event.
        patience: with a gateway that is away.
        polling: by long polls from the start, for those who know that a proxy holds streams back. Otherwise a stream that stays
            silent, without even a keepalive, is taken for one that is held back.
    """

    def __init__(
        self, gateway: Gateway, run_id: str, *, after: EventId | None, patience: Patience, polling: bool = False
    ) -> None:
        self._gateway = gateway
        self._run_id = run_id
        self._path = f"/v1/runs/{quote(run_id, safe='')}"
        self._patience = patience
        self._polling = polling
        self._last = after if after != BEGINNING else None
        self._last_type = ""
        self._shown_any = False
        self._stopped = False  # the record said so before this connection was made
        self._unknown = False  # the record does not know the cursor

    async def events(self) -> AsyncGenerator[Event, None]:
        """Every event after the cursor, to the end of the stream. A run that has ended and has none gives none.

        Raises:
            Unreachable: the gateway stayed away for longer than the patience.
            Refused: it says no: the key, the run or the given cursor.
            NotAGateway: it does not stream as one.
        """
        while True:
            came = False
            try:
                if self._unknown:
                    yield await self._anew()
                async with aclosing(self._connection()) as connection:
                    async for event in connection:
                        if self._takes(event):
                            came = True
                            yield event
                if await self._is_over(came=came):
                    return
            except Unreachable as away:
                if self._last_type in TERMINAL_TYPES:
                    return
                if not self._gateway.was_there:
                    raise
                await self._patience.pause(away)
            except Refused as refused:
                if refused.code != "invalid_cursor" or not self._shown_any:
                    raise
                self._unknown = True

    def _takes(self, event: Event) -> bool:
        if self._last is not None and event.id <= self._last and event.type != "snapshot":
            return False
        self._shown_any, self._last, self._last_type = True, event.id, event.type
        return True

    async def _is_over(self, *, came: bool) -> bool:
        """After a clean end, which is the run's end behind its last event; but a proxy may end a stream cleanly at any time.

        Who stands at the end already is sent nothing: then the end counts when the record said before that it is one.
        """
        if self._last_type in TERMINAL_TYPES:
            return True
        was_stopped = self._stopped
        if was_stopped and not came and not self._shown_any:
            return True
        state = await self._state()
        self._stopped = state.stopped
        if self._is_interruption_of(state):
            return True
        if not came and not self._stopped:
            await asyncio.sleep(_EMPTY_STREAM_PAUSE_S)
        elif not came and was_stopped:
            url = self._gateway.url
            raise Unreachable(
                f"{url} ends the stream of run {self._run_id} before its last event", url=url, reached=True
            )
        return False

    def _is_interruption_of(self, state: RunState) -> bool:
        """Was the last event the interruption that the record tells of? The run may have gone on since, and have ended by now."""
        return (
            self._last_type == "run.interrupted"
            and state.status == Status.INTERRUPTED.value
            and self._last is not None
            and self._last.attempt >= state.attempt
        )

    async def _anew(self) -> Event:
        """The record has not had the events that were shown: it was restored from a backup. So all of it is shown again."""
        run = (await self._state()).as_json()
        self._last, self._last_type, self._stopped, self._unknown = None, "snapshot", False, False
        return Event(BEGINNING, "snapshot", {"run": run, "steps": []})

    async def _state(self) -> RunState:
        return model_of(RunState, await self._gateway.send("GET", self._path), self._gateway.url)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        silent = True
        try:
            source = self._polls() if self._polling else self._stream()
            async with aclosing(source) as events:
                async for event in events:
                    silent = False
                    yield event
        except (ValueError, LookupError, TypeError) as error:
            raise NotAGateway(f"{self._gateway.url} does not stream as Holdfast does: {error}") from error
        except Unreachable as away:
            self._polling = self._polling or (silent and isinstance(away.__cause__, httpx2.ReadTimeout))
            raise

    async def _stream(self) -> AsyncGenerator[Event, None]:
        cursor = str(self._last) if self._last is not None else None
        async with aclosing(self._gateway.stream(f"{self._path}/events", cursor, self._patience)) as frames:
            async for frame in frames:
                yield Event(EventId.parse(frame.id), frame.event, from_json(frame.data))

    async def _polls(self) -> AsyncGenerator[Event, None]:
        """The same by requests and answers, to the end of the run."""
        ended, ticket = False, None
        while not ended:
            headers = {"Accept": "application/json"}
            if self._last is not None:
                headers["Last-Event-ID"] = str(self._last)
            params = {"wait_s": _POLL_WAIT_S, "ticket": ticket}  # it spares the gateway a read of the log
            answer = await self._gateway.send("GET", f"{self._path}/events", params=params, headers=headers, slow=True)
            self._patience.connected()
            self._patience.moved()
            for each in answer["events"]:
                yield _event(each)
            ended, ticket = answer["ended"], answer.get("ticket")


def _event(shown: dict[str, Any]) -> Event:
    return Event(EventId.parse(shown["id"]), shown["type"], shown["data"])


def cursor_of(after: EventId | str | None) -> EventId | None:
    """A cursor as it was given: an event's id, or its text.

    Raises:
        ValueError: it is none.
    """
    if after is None or isinstance(after, EventId):
        return after
    return BEGINNING if after == str(BEGINNING) else EventId.parse(after)
