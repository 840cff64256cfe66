"""What one viewer is to be sent: every event once, in order, and never a silent gap.

An id not above the last one is a duplicate, or a zombie's. Ids that do not follow each other are a gap: the log lost something,
or no longer goes back as far as the viewer's cursor. Then a ``snapshot`` made from the record replaces everything, and the log
goes on from there.

What the record cannot have is the text of a step that is not finished. While a viewer may lack some of that, it is sent another
snapshot as soon as such a step has finished, before a takeover drops what was not kept, or at the end: whoever reads to the end
holds what the record holds. To have an id for that snapshot, one frame is held back meanwhile, and is sent, or replaced, when the
next one comes. What comes after a ``run.waiting`` may be a month away, so that one is not held back once the record has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from holdfast.runs import EventId
from holdfast.runs.fold import ENDING_TYPES, TERMINAL_TYPES
from holdfast.wire import events
from holdfast_gateway.batch import Batch
from holdfast_gateway.picture import Picture, RunGone

_BEGINNING = EventId(0, 1)
_FINISHING = frozenset({"step.completed", "step.failed"})
_TAKING_OVER = frozenset({"run.resumed", "run.interrupted"})  # what is not kept by then is gone
_WAITING = "run.waiting"
_SAYING_WHAT_IS_KEPT = ENDING_TYPES | {"run.resumed"}


class Continuity:
    """The sequence of one viewer. ``last`` is the newest event that it has, or that a snapshot stands for.

    ``ending`` is the type of the last event sent while that is one which ends a stream, else None.

    Args:
        after: the viewer's cursor, exclusive; None: from the start.
        take_picture: reads the run's picture from the record.
    """

    def __init__(self, after: EventId | None, take_picture: Callable[[], Awaitable[Picture]]) -> None:
        self.last = after
        self.ending: str | None = None
        self._take_picture = take_picture
        self._cursor = after
        self._passed_over: EventId | None = None
        self._torn = False  # the viewer may lack events of an unfinished step, nobody knows which
        self._broken: set[str] = set()  # positions of unfinished steps whose beginning a snapshot has replaced
        self._held: bytes | None = None
        self._pictured: EventId | None = None  # the newest event that a snapshot's finished steps reach
        self._nothing_before: EventId | None = None
        self._smooth = after is None  # nothing is held back, missing or to be skipped: plain messages pass as they are

    @property
    def _last(self) -> EventId:
        assert self.last is not None
        return self.last

    @property
    def _whole(self) -> bool:
        return not (self._torn or self._broken)

    def passes(self, batch: Batch) -> bool:
        """Is this message to be sent as it is? If so it is taken."""
        if not (self._smooth and batch.plain and batch.before == self.last):
            return False
        self.last = batch.last
        self.ending = None
        return True

    async def take(self, batch: Batch, out: list[bytes]) -> None:
        """Append to ``out`` what the viewer is to be sent of this message.

        May be called again with the same message after an error: what was taken of it is not taken twice.

        Raises:
            StoreUnavailable: a snapshot was needed, and the record did not answer.
            RunGone: the same, and the run is not there any more.
        """
        if self.passes(batch):
            out.append(batch.payload)
            return
        if self._cursor is not None and batch.seq is not None:
            self._meet_cursor(batch, self._cursor)
        if self.last is None or batch.last > self.last:
            self._smooth = False
            for frame in events.split(batch.payload):
                await self._take_frame(frame, out)
        self._smooth = self._whole and self._held is None and self._cursor is None and self._nothing_before is None

    def _meet_cursor(self, batch: Batch, cursor: EventId) -> None:
        """The log up to the cursor, which the viewer has from another connection. Where the log has gaps now, it may have had
        them then, and the viewer lacks what others lack. Nothing that lasts comes before the first attempt."""
        if batch.first <= cursor:
            self._torn = self._torn or (batch.first.n > 1 and batch.before != self._passed_over)
            self._passed_over = batch.last
            if batch.last == cursor and batch.last_type == "run.resumed":
                self._torn = self._torn or _awaits_a_snapshot(list(events.split(batch.payload))[-1])
        if batch.last > cursor:
            self._torn = self._torn or (
                _is_of_an_owner(cursor) and batch.first > cursor and self._passed_over != cursor
            )
            self._cursor = None

    @property
    def is_ahead(self) -> bool:
        """What was read of the log does not reach the cursor. Of a first event it need not: that may be from the record."""
        cursor, seen = self._cursor, self._passed_over
        return cursor is not None and _is_of_an_owner(cursor) and (seen is None or seen < cursor)

    async def rewind(self, log_ends: EventId | None, out: list[bytes]) -> Picture:
        """Let go of a cursor that nothing bears out: the log lost its end, or the cursor is made up. Append a snapshot.

        Its id is below the cursor, at the log's end (None: as far as the record is), so that what comes next is not passed over.

        Raises:
            StoreUnavailable: the record did not answer; nothing has changed.
            RunGone: the run is not there any more.
        """
        picture = await self._take_picture()
        at = _as_far_as(picture, log_ends or _BEGINNING)
        self._cursor = None
        self._smooth = False
        self._send_picture(picture, at, out)
        self._torn = picture.terminal_id is None and at.attempt > 0 and picture.newest != at
        return picture

    async def settle(self, out: list[bytes]) -> None:
        """Nothing has come for a while. A ``run.waiting`` that is held back is sent if the record has it, a snapshot after it.

        Raises:
            StoreUnavailable: the record did not answer; nothing has changed.
            RunGone: the run is not there any more.
        """
        held, last = self._held, self.last
        if held is None or last is None or events.frame_type(held) != _WAITING:
            return
        picture = await self._take_picture()
        if _has_suspended(picture, last):  # so no other event of its attempt will come
            out.append(held)
            self._send_picture(picture, last.next(), out)

    async def catch_up(self, out: list[bytes]) -> Picture:
        """The log ends before the record does, and nothing more will come for long. Append a snapshot of all that there is.

        Raises:
            StoreUnavailable: the record did not answer; nothing has changed.
            RunGone: the run is not there any more.
        """
        picture = await self._take_picture()
        at = self.last.next() if self.last is not None else _BEGINNING
        self._cursor = None
        self._smooth = False
        self._send_picture(picture, max(at, picture.newest or at), out)
        return picture

    async def _take_frame(self, frame: bytes, out: list[bytes]) -> None:
        event_id, event_type = events.frame_id(frame), events.frame_type(frame)
        if self._covered(event_id):
            return
        if event_type == "snapshot":
            self._torn, self._held = False, None
            self._broken.clear()
        elif (gap_ends := self._gap_before(event_id, event_type, frame)) is not None:
            await self._mend(gap_ends, out)
        if self._held is not None or not self._whole:
            await self._release_held(event_id, event_type, out)
        if event_type in ENDING_TYPES and _is_a_strangers(event_id) and not self._covered(event_id):
            frame = await self._with_all_that_is_kept(event_id, event_type, frame, out)
        if self._covered(event_id):
            return
        self._heal(event_type, frame)
        self.last = event_id
        self.ending = event_type if event_type in ENDING_TYPES else None
        if self._whole or self.ending is not None:
            out.append(frame)
            self._torn = self._torn or (event_type == "run.resumed" and _awaits_a_snapshot(frame))
        else:
            self._held = frame

    def _gap_before(self, event_id: EventId, event_type: str, frame: bytes) -> EventId | None:
        """The last id of the gap between what the viewer has and this event; None when there is none."""
        last = self.last
        if event_id.n > 1:
            follows = last is not None and last.attempt == event_id.attempt and last.n == event_id.n - 1
            return None if follows else EventId(event_id.attempt, event_id.n - 1)
        if event_type in _SAYING_WHAT_IS_KEPT:
            keep = events.decode(frame).data.get("keep_through")
            if keep is not None and (last is None or EventId.parse(keep) > last):
                return EventId.parse(keep)
        return None

    def _covered(self, event_id: EventId) -> bool:
        """The viewer has this event, or a snapshot that stands for it."""
        if self._nothing_before is not None and event_id < self._nothing_before:
            return True
        return self.last is not None and event_id <= self.last

    async def _mend(self, gap_ends: EventId, out: list[bytes]) -> None:
        """Send a snapshot that stands for everything up to the gap's end, or up to where the record is, if that is further."""
        picture = await self._take_picture()
        self._send_picture(picture, _as_far_as(picture, gap_ends), out)
        self._torn = picture.terminal_id is None and (picture.newest is None or picture.newest < gap_ends)

    async def _release_held(self, event_id: EventId, event_type: str, out: list[bytes]) -> None:
        """Before the next event is sent: send the frame that was held back, or a snapshot in its place."""
        held = self._held
        if event_type in TERMINAL_TYPES:
            picture = await self._take_picture()
            if picture.terminal_id is not None and (held is not None or picture.terminal_id != self._last.next()):
                return self._send_picture(picture, self._last, out)
        elif event_type == _WAITING and held is not None and events.frame_type(held) != _WAITING:
            picture = await self._take_picture()
            if _has_suspended(picture, event_id):
                further = picture.newest is not None and picture.newest.attempt > event_id.attempt
                return self._send_picture(picture, _as_far_as(picture, self._last) if further else self._last, out)
        elif event_type in _TAKING_OVER:
            at = self._last if held is not None else self._last.next()
            if at < event_id:
                picture = await self._take_picture()
                return self._send_picture(picture, _as_far_as(picture, at), out)
        elif held is not None and events.frame_type(held) in _FINISHING and not self._is_pictured(self._last):
            picture = await self._take_picture()
            if picture.newest is not None and picture.newest >= self._last:
                return self._send_picture(picture, _as_far_as(picture, self._last), out)
        if held is not None:
            out.append(held)
            self._held = None
        return None

    async def _with_all_that_is_kept(self, event_id: EventId, event_type: str, frame: bytes, out: list[bytes]) -> bytes:
        """An end that somebody else than the owner has told says what to keep by an event's id. What finished while the log was
        away has none, and a viewer whose cursor was not found in the log may lack what it says to keep: then the viewer is shown
        all of it, and the end says to keep that."""
        try:
            picture = await self._take_picture()
        except RunGone:
            return frame  # deleted since: there is nothing to keep
        is_known = self._cursor is None or self._cursor == self._passed_over
        if is_known and all(each.last_event_id is not None for each in picture.kept):
            return frame
        self._send_picture(picture, self.last.next() if self.last is not None else _BEGINNING, out)
        return events.frame(event_id, event_type, {**events.decode(frame).data, "keep_through": str(self._last)})

    def _is_pictured(self, event_id: EventId) -> bool:
        return self._pictured is not None and event_id <= self._pictured

    def _send_picture(self, picture: Picture, at: EventId, out: list[bytes]) -> None:
        """A snapshot that stands for everything up to ``at``; of a run that has ended, for everything but its last event."""
        end = picture.terminal_id
        if end is not None:
            # What the log still holds before the last event is in the picture, or was not kept.
            at = EventId(end.attempt, end.n - 1) if end.n > 1 else EventId(at.attempt, at.n + 1)
            self._nothing_before = end
        out.append(picture.frame(at))
        self.last = at
        self.ending = None
        self._held = None
        self._pictured = picture.newest
        self._torn = False
        self._broken = set(picture.unfinished) if end is None else set()

    def _heal(self, event_type: str, frame: bytes) -> None:
        """A step that begins anew is whole again; a takeover drops all that was not finished."""
        if event_type == "step.started" and self._broken:
            self._broken.discard(str(events.decode(frame).data.get("position")))
        elif event_type == "run.resumed":
            self._torn = False
            self._broken.clear()


def _is_of_an_owner(event_id: EventId) -> bool:
    """Was it in the log, if anybody has seen it? An attempt's first event may be the record's, and says what is kept."""
    return event_id.attempt > 0 and event_id.n > 1


def _awaits_a_snapshot(resumed: bytes) -> bool:
    """Has this ``run.resumed`` dropped all, for a snapshot to follow? Until then the viewer lacks what the record keeps."""
    return bool(events.decode(resumed).data.get("reason") == "log_lost")


def _is_a_strangers(event_id: EventId) -> bool:
    """Is an end with this id told by somebody who never had the run? An owner's first event is another."""
    return event_id.n == 1 and event_id.attempt > 1


def _as_far_as(picture: Picture, at: EventId) -> EventId:
    """Where a snapshot goes that stands for everything up to ``at``, or up to where the record is, if that is further.

    While a step is unfinished, one more snapshot may be due just before the run's last event: so one event is left to hold back.
    """
    if picture.newest is None or picture.newest <= at:
        return at
    return max(at, EventId(picture.newest.attempt, picture.newest.n - 1)) if picture.unfinished else picture.newest


def _has_suspended(picture: Picture, waiting: EventId) -> bool:
    """Does the record have the suspend that this ``run.waiting`` told of?"""
    if picture.newest is not None and picture.newest >= waiting:
        return True
    return picture.run.status == "waiting" and picture.run.attempt == waiting.attempt
