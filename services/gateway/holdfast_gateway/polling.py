"""A run's events by request and answer, for clients behind proxies that hold a stream back until it ends.

A poll is a slice of what a stream would show, cut off where all that there is was shown. Its viewer is kept for a moment for the
poll that goes on from there, so that not every one of them reads the log from its beginning. That poll names it by a ``ticket``:
a cursor does not say what else its client lacks, so two clients at one cursor may not share a viewer. A poll without a ticket, or
with one that is gone, begins anew, here or at another gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from holdfast.runs import EventId
from holdfast.settings import GatewaySettings
from holdfast.store import TailRow
from holdfast.wire import events
from holdfast_gateway.auth import Caller
from holdfast_gateway.tails import Tails
from holdfast_gateway.viewer import Viewer

ANSWER_BYTES_MAX = 1024 * 1024
_READING_S = 4.0  # what the log may take to be read, also for those who do not wait
_SETTLING_S = 0.2
_KEPT_S = 5.0
_KEPT_MAX = 1000
_BOOLS = (b"false", b"true")

_Place = tuple[str, UUID, EventId | None]  # whose it is, in which run, up to where


@dataclass(frozen=True, slots=True)
class Polled:
    """The next events of a run. ``more``: others are there already. ``ended``: a stream would have ended after these.

    ``ticket`` names what is kept for the poll that goes on, if anything is.
    """

    frames: Sequence[bytes]
    more: bool
    ended: bool
    ticket: str | None = None

    def next(self, cursor: EventId | None) -> EventId | None:
        """The cursor of the poll after one with this ``cursor``."""
        return events.frame_id(self.frames[-1]) if self.frames else cursor

    def body(self, cursor: EventId | None) -> bytes:
        """As JSON, made of the ready bytes of events."""
        last = self.next(cursor)
        return b'{"events":[%s],"next":%s,"more":%s,"ended":%s,"ticket":%s}' % (
            b",".join(map(_as_json, self.frames)),
            _quoted(last),
            _BOOLS[self.more],
            _BOOLS[self.ended],
            _quoted(self.ticket),
        )


def _quoted(plain: object | None) -> bytes:
    return b'"%s"' % str(plain).encode() if plain is not None else b"null"


def _as_json(frame: bytes) -> bytes:
    id_ends = frame.index(b"\n")
    type_ends = frame.index(b"\n", id_ends + 1)
    return b'{"id":"%s","type":"%s","data":%s}' % (
        frame[len(b"id: ") : id_ends],
        frame[id_ends + len(b"\nevent: ") : type_ends],
        frame[type_ends + len(b"\ndata: ") : -2],
    )


class Polls:
    """Use: :meth:`poll` for each request. What it keeps goes by itself, and at once when ``draining`` is set."""

    def __init__(self, tails: Tails, settings: GatewaySettings, draining: asyncio.Event) -> None:
        self._tails = tails
        self._settings = settings
        self._draining = draining
        self._kept: dict[str, _Kept] = {}

    async def poll(
        self, caller: Caller, row: TailRow, cursor: EventId | None, *, wait_s: float, ticket: str | None = None
    ) -> Polled:
        """What is new: at once if there is something, else as soon as there is, else nothing after ``wait_s``.

        Of much, the first ``ANSWER_BYTES_MAX`` bytes, and one event at the least.

        Raises:
            RunGone: the run was deleted.
        """
        kept = self._kept.get(ticket) if ticket is not None else None
        if ticket is not None and kept is not None and kept.place == (caller.key, row.id, cursor):
            del self._kept[ticket]
            kept.going.cancel()
            slices = kept.slices
        else:
            slices = _Slices(_PollingViewer(self._tails, row, cursor, self._settings, wait_s=wait_s))
        polled: Polled | None = None
        try:
            polled = await slices.next(wait_s)
        finally:
            if polled is None or polled.ended or len(self._kept) >= _KEPT_MAX:
                await slices.close()
            else:
                polled = self._keep(slices, polled, (caller.key, row.id, polled.next(cursor)))
        return polled

    def _keep(self, slices: _Slices, polled: Polled, place: _Place) -> Polled:
        ticket = secrets.token_urlsafe(9)
        going = asyncio.create_task(self._let_go(ticket), name="poll-kept")
        self._kept[ticket] = _Kept(slices, place, going)
        return replace(polled, ticket=ticket)

    async def _let_go(self, ticket: str) -> None:
        """Nobody has gone on from there in time. Cancelled by who does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KEPT_S):
                await self._draining.wait()
        await self._kept.pop(ticket).slices.close()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A viewer between two polls; ``going`` closes it."""

    slices: _Slices
    place: _Place
    going: asyncio.Task[None]


class _PollingViewer(Viewer):
    """A viewer that says when it has shown all that there is: ``caught_up`` is set while it waits for what comes next."""

    def __init__(
        self, tails: Tails, row: TailRow, after: EventId | None, settings: GatewaySettings, *, wait_s: float
    ) -> None:
        # after a quiet time a viewer looks whether it holds something back that may be shown: a poll is to see that too
        quiet_s = max(wait_s, _SETTLING_S) / 2
        super().__init__(
            tails,
            row,
            after,
            keepalive_interval_s=min(quiet_s, settings.keepalive_interval_s),
            queue_bytes_max=settings.viewer_queue_bytes_max,
        )
        self.caught_up = asyncio.Event()
        self._wake = _WokenFromIdling(self.caught_up)


class _WokenFromIdling(asyncio.Event):
    """Sets ``idle`` while somebody waits for it."""

    def __init__(self, idle: asyncio.Event) -> None:
        super().__init__()
        self._idle = idle

    async def wait(self) -> Literal[True]:
        self._idle.set()
        try:
            return await super().wait()
        finally:
            self._idle.clear()


class _Slices:
    """A viewer's chunks, cut into the answers of polls. Between two of them no more than one chunk is taken from it."""

    def __init__(self, viewer: _PollingViewer) -> None:
        self._viewer = viewer
        self._chunks = viewer.chunks()
        self._step: asyncio.Task[bytes | None] | None = None
        self._left: deque[bytes] = deque()
        self._is_over = False

    async def next(self, wait_s: float) -> Polled:
        """The next answer. Raises as a viewer does."""
        loop = asyncio.get_running_loop()
        until, read_until = loop.time() + max(wait_s, _SETTLING_S), loop.time() + max(wait_s, _READING_S)
        frames: list[bytes] = []
        size = 0
        while True:
            if self._left and not frames:  # what is there is not held back for long, whatever freezes now
                read_until = loop.time() + _READING_S
            while self._left:
                size += len(self._left[0])
                if frames and size > ANSWER_BYTES_MAX:
                    return Polled(frames, more=True, ended=False)
                frames.append(self._left.popleft())
            if self._is_over:
                return Polled(frames, more=False, ended=True)
            if not await self._comes(until, read_until, at_once=bool(frames)):
                return Polled(frames, more=False, ended=False)

    async def _comes(self, until: float, read_until: float, *, at_once: bool) -> bool:
        """Wait for a chunk. False: all that there is was shown, and the time is up or something was shown."""
        step = self._step = self._step or asyncio.create_task(anext(self._chunks, None), name="poll-step")
        caught_up = asyncio.create_task(self._viewer.caught_up.wait(), name="poll-caught-up")
        loop = asyncio.get_running_loop()
        try:
            patience_s = max(0.0, read_until - loop.time())
            await asyncio.wait({step, caught_up}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not step.done() and caught_up.done() and not at_once:
                await asyncio.wait({step}, timeout=max(0.0, until - loop.time()))
        finally:
            caught_up.cancel()
        if not step.done():
            return False
        self._step = None
        chunk = step.result()
        self._is_over = chunk is None
        self._left.extend(frame for frame in events.split(chunk or b"") if not frame.startswith(b":"))
        return True

    async def close(self) -> None:
        """The viewer goes."""
        step, self._step = self._step, None
        if step is not None:
            step.cancel()
            await asyncio.wait({step})
            if not step.cancelled():
                step.exception()  # nobody is there to be told
        await self._chunks.aclose()
