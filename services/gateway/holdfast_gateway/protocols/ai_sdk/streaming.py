"""A run's events as the frames of an AI SDK stream: folded, numbered, and cut to what the client does not have.

This is the part with I/O round the pure :mod:`fold`: it reads the run's events from the gateway's tails, asks the record whether
a run really rests at a question, and passes comments on, so that no proxy takes a quiet stream for a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from pydantic_core import to_json

from holdfast.bus import event_log
from holdfast.errors import StoreUnavailable
from holdfast.store import TailRow
from holdfast.store import caller as record
from holdfast.wire import events
from holdfast_gateway.following import follow_run
from holdfast_gateway.parts import Parts
from holdfast_gateway.picture import ending_frame
from holdfast_gateway.protocols.ai_sdk.fold import Fold
from holdfast_gateway.protocols.ai_sdk.message import Chunk

DONE = b"data: [DONE]\n\n"
HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
_LOOK_FIRST_S = 0.02  # a suspend is committed a moment after its run.waiting is in the log
_LOOK_LAST_S = 1.0
_COUNT_QUIET_S = 1.0
_PERSONS = frozenset({"ask", "unknown"})
_LOST = "the log of this answer was lost while it was followed: load the chat's messages again, and resume it"


def frame(chunk: Chunk) -> bytes:
    """A chunk as a server-sent event."""
    return b"data: %s\n\n" % to_json(chunk, inf_nan_mode="null")


class Numbered:
    """The chunks of one stream, without the first ``skip``. ``count`` is how many there were so far.

    ``of_before``: the client has the skipped ones, from another connection; else it wants none of them.
    """

    def __init__(self, fold: Fold, skip: int = 0, *, of_before: bool = True) -> None:
        self.fold = fold
        self.count = 0
        self._skip = skip
        self._of_before = of_before
        self._last: Chunk | None = None
        self._told_end = False
        self._held: list[Chunk] | None = None

    def begin(self) -> bytes:
        """What is known before any event."""
        return self._frames(self.fold.begin())

    def take(self, chunk: bytes) -> bytes:
        """What becomes of whole events and comments of the run's own stream."""
        return b"".join(
            piece if piece.startswith(b":") else self._of_event(events.decode(piece)) for piece in events.split(chunk)
        )

    def rest(self) -> bytes:
        """The run rests at a question."""
        return self._frames(self.fold.suspended())

    def end(self) -> bytes:
        """There will be no more events. A stream without ``finish`` would have the client connect again, without a pause."""
        ending = self._frames(self.fold.ended())
        if not self._told_end and self._last is not None:
            ending += frame(self._last)
        return ending + DONE

    def _of_event(self, event: events.Event) -> bytes:
        numbers_held = self._of_before and not self.fold.renumbered
        chunks = self.fold.apply(event)
        if numbers_held and self.count < self._skip and self._held is None:
            if self.fold.renumbered:
                chunks = [*self._start_again(chunks)]
            elif event.type == "snapshot" and self.fold.begins_late:
                self._held = []
        return self._frames(chunks)

    def _hold(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """The log was lost, and begins with a snapshot of the run's owner. The client has its chunks from before that, or from
        after: nobody knows. It has no more than there are up to its number; if all those are in one SDK step, that is reset."""
        assert self._held is not None
        self._held += chunks
        one_step = self.fold.redrew_all and not any(chunk["type"] == "start-step" for chunk in chunks)
        if one_step and self.count + len(self._held) < self._skip and not self.fold.over:
            return []
        held, self._held, self._skip = self._held, None, 0
        return [{"type": "reset-step"}, *held] if one_step else self._give_up()

    def _give_up(self) -> Sequence[Chunk]:
        self.fold.over = True
        return [{"type": "error", "errorText": _LOST}, {"type": "finish", "finishReason": "error"}]

    def _start_again(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """The client has chunks of a log that is lost, and this snapshot is in place of it. As long as all of them can be in one
        SDK step, that is reset. Else nobody knows what it has; the record has it all, and is to be read."""
        self._skip = 0
        if not self.fold.redrew_all or any(chunk["type"] == "start-step" for chunk in chunks):
            return self._give_up()
        return [{"type": "reset-step"}, *(chunk for chunk in chunks if chunk["type"] != "reset-step")]

    def _frames(self, chunks: Sequence[Chunk]) -> bytes:
        if self._held is not None:
            chunks = self._hold(chunks)
        left = list(chunks)[max(self._skip - self.count, 0) :]
        self.count += len(chunks)
        self._last = chunks[-1] if chunks else self._last
        self._told_end = self._told_end or any(chunk["type"] == "finish" for chunk in left)
        return b"".join(map(frame, left))


async def chunks_of(parts: Parts, row: TailRow, numbered: Numbered) -> AsyncGenerator[bytes, None]:
    """The frames of a stream, after those of :meth:`Numbered.begin`, to its end.

    Raises:
        RunGone: the run was deleted.
    """
    fold = numbered.fold
    async with contextlib.aclosing(follow_run(parts.tails, row, None)) as source:
        waiting = _Patiently(source)
        try:
            while not fold.over:
                chunk = await waiting.next(may_rest=bool(fold.asked))
                if chunk is None:
                    break
                if chunk:
                    shown = numbered.take(chunk)
                elif await _rests(parts, row.id, fold):
                    shown = numbered.rest()
                else:
                    continue
                if shown:
                    yield shown
        finally:
            await waiting.close()
    yield numbered.end()


class _Patiently:
    """The chunks of a source. While the run may rest, waiting for one is broken off from time to time, to ask the record."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        self._source = source
        self._step: asyncio.Task[bytes | None] | None = None
        self._pause_s = _LOOK_FIRST_S

    async def next(self, *, may_rest: bool) -> bytes | None:
        """The next chunk; None at the source's end; empty: nothing came for a while, and the record is to be asked."""
        if self._step is None and not may_rest:
            return await anext(self._source, None)
        self._step = self._step or asyncio.create_task(_next(self._source), name="chat-step")
        done, _ = await asyncio.wait({self._step}, timeout=self._pause_s if may_rest else None)
        if not done:
            self._pause_s = min(self._pause_s * 2, _LOOK_LAST_S)
            return b""
        step, self._step = self._step, None
        self._pause_s = _LOOK_FIRST_S
        return step.result()

    async def close(self) -> None:
        """Let go of the source."""
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})


async def _next(source: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(source, None)


async def _rests(parts: Parts, run_id: UUID, fold: Fold) -> bool:
    """Does the record say that the run waits for persons, and has the fold seen all that they are asked?"""
    try:
        row = await parts.tails.row(run_id)
        if row is None or row.status != "waiting":
            return False
        waits = (await record.waits(parts.record.db, [run_id])).get(run_id, [])
    except StoreUnavailable:
        return False
    asked = {str(wait.id) for wait in waits if wait.suspended and wait.kind in _PERSONS}
    return bool(asked) and asked <= fold.asked


async def count_chunks(parts: Parts, row: TailRow, fold: Fold) -> int:
    """How many chunks a stream has now: up to the end of the log, or of the stream. Of what does not come now, as the event that
    is held back where the log has lost something, nobody waits for the end.

    Raises:
        BusUnavailable: NATS is away.
        RunGone: the run was deleted.
    """
    has_ended = ending_frame(row) is not None
    log_end = None if has_ended else (await event_log.end(parts.tails.client, row.id)).last_id
    numbered = Numbered(fold)
    numbered.begin()
    with contextlib.suppress(TimeoutError):
        async with contextlib.aclosing(follow_run(parts.tails, row, None)) as source:
            while not fold.over and (has_ended or (log_end is not None and (fold.last is None or fold.last < log_end))):
                async with asyncio.timeout(_COUNT_QUIET_S if not has_ended else None):
                    chunk = await anext(source, None)
                if chunk is None:
                    break
                numbered.take(chunk)
    if has_ended:
        numbered.end()
    elif await _rests(parts, row.id, fold):
        numbered.rest()
    return numbered.count
