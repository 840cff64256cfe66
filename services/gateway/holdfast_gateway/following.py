"""Following a run, following a thread, and waiting for a run: what the routes do with viewers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any
from uuid import UUID

from holdfast.errors import NotFound, Refused, StoreUnavailable
from holdfast.runs import EventId
from holdfast.store import Database, RunRow, TailRow, caller
from holdfast.wire import events
from holdfast.wire.events import KEEPALIVE
from holdfast_gateway.tails import Tails
from holdfast_gateway.viewer import Viewer

_RETRY_PAUSE_S = 1.0
_ENDING_STATUSES = frozenset({"completed", "failed", "cancelled", "interrupted"})


def check_cursor(run: RunRow, cursor: EventId) -> None:
    """Refuse a cursor that no event of this run can have been, as far as the record knows.

    Raises:
        Refused: ``invalid_cursor``.
    """
    if cursor.attempt > run.attempt:
        raise Refused("invalid_cursor", f"{cursor} is an event of an attempt that this run has not had")
    ended_by = run.terminal_event_id if run.status in _ENDING_STATUSES else None
    if ended_by is not None and cursor > EventId.parse(ended_by):
        raise Refused("invalid_cursor", f"{cursor} is after this run's last event, {ended_by}")


async def tail_row(tails: Tails, run: RunRow) -> TailRow:
    """What a viewer needs to know of a run. For one that has ended a second look says what its end keeps.

    Raises:
        StoreUnavailable: the record did not answer.
    """
    if run.status in _ENDING_STATUSES:
        row = await tails.row(run.id)
        if row is not None:
            return row
    return TailRow(
        run.id,
        run.status,
        run.attempt,
        run.terminal_event_id,
        run.output,
        run.error,
        run.run_owner_pod,
        keep_through=None,
    )


class RunStream(AsyncGenerator[bytes, None]):
    """A run's stream: iterate it, and close it. What comes live may be written past the iteration (:meth:`write_through`).

    Raises, when iterated:
        RunGone: the run was deleted.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._chunks = viewer.chunks()
        self.write_through = viewer.write_through

    def __anext__(self) -> Coroutine[Any, Any, bytes]:
        return self._chunks.__anext__()

    async def asend(self, value: None) -> bytes:
        """See the base class."""
        return await self._chunks.asend(value)

    async def athrow(self, *error: Any) -> bytes:
        """See the base class."""
        return await self._chunks.athrow(*error)

    async def aclose(self) -> None:
        """Let go of the run."""
        await self._chunks.aclose()


def follow_run(tails: Tails, row: TailRow, after: EventId | None) -> RunStream:
    """A run's stream, from the cursor on."""
    return RunStream(tails.view(row, after))


async def wait_for_end(tails: Tails, row: TailRow) -> None:
    """Return when the run has ended, or is interrupted: at once when its last event comes, without asking again and again."""
    async with contextlib.aclosing(tails.view(row, None).chunks()) as chunks:
        async for _ in chunks:
            pass


class ThreadFeed:
    """The stream of a thread's runs, from the active one's start on through the next; ids are ``<run_id>:<event id>``.

    Also a run that began and ended between two looks is shown, and one that ended while the follower was not connected.
    """

    def __init__(self, db: Database, tails: Tails, tenant_id: str, thread_id: str) -> None:
        self._db = db
        self._tails = tails
        self._tenant_id = tenant_id
        self._thread_id = thread_id
        self._seen: list[UUID] = []
        self._first: tuple[TailRow, EventId | None] | None = None

    async def begin(self, cursor: tuple[UUID, EventId] | None) -> bool:
        """Find where to begin: what the cursor's run has left, else the next run. False: there is nothing to follow.

        Raises:
            NotFound: the cursor's run is none of this thread's.
            Refused: ``invalid_cursor``: that run has not had such an event.
            StoreUnavailable: the record did not answer.
        """
        if cursor is not None:
            run_id, after = cursor
            run = await caller.run(self._db, self._tenant_id, run_id)
            if run.thread_id != self._thread_id:
                raise NotFound("run", str(run_id))
            check_cursor(run, after)
            self._seen.append(run_id)
            if run.terminal_event_id is None or after < EventId.parse(run.terminal_event_id):
                self._first = await tail_row(self._tails, run), after
        if self._first is None:
            following = await self._next()
            self._first = (following, None) if following is not None else None
        return self._first is not None

    async def _next(self) -> TailRow | None:
        """The first run that has not been followed yet."""
        rows = await caller.feed(self._db, self._tenant_id, self._thread_id, seen=self._seen, limit=1)
        self._seen.extend(row.id for row in rows)
        return rows[0] if rows else None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Events and comments, until no run is active any more.

        Raises:
            RunGone: a followed run was deleted.
        """
        assert self._first is not None
        row: TailRow | None
        row, after = self._first
        while row is not None:
            async with contextlib.aclosing(follow_run(self._tails, row, after)) as chunks:
                async for chunk in chunks:
                    yield with_run_ids(chunk, row.id)
                    del chunk
            while True:
                try:
                    row, after = await self._next(), None
                    break
                except StoreUnavailable:
                    yield KEEPALIVE
                    await asyncio.sleep(_RETRY_PAUSE_S)


def with_run_ids(chunk: bytes, run_id: UUID) -> bytes:
    """Whole events with their ids made unique in the thread: ``id: 1-3`` becomes ``id: <run_id>:1-3``. Comments stay."""
    mark = f"id: {run_id}:".encode()
    return b"".join(
        mark + frame.removeprefix(b"id: ") if frame.startswith(b"id: ") else frame for frame in events.split(chunk)
    )
