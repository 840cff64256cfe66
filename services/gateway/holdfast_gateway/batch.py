"""What was appended to the event log in one go: its bytes, and what the gateway can know of them without reading events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from holdfast.runs import EventId
from holdfast.wire import events

_HEAD = re.compile(rb"id: (0|[1-9][0-9]{0,9})-([1-9][0-9]{0,9})\nevent: ([^\n]*)\n")
_LOOKED_AT = (b"\nevent: run.", b"\nevent: snapshot\n")  # a line of data cannot begin so: JSON holds no raw line end
_LOOKED_AT_TYPES = (b"run.", b"snapshot")
_JOINED_BYTES_MAX = 64 * 1024


@dataclass(slots=True, eq=False)
class Batch:
    """Frames that were written together. Shared by many, so nobody changes it.

    ``seq`` is the message's place in the stream; None for what the gateway made itself, which is in no stream. ``plain`` batches
    are passed on as they are to a viewer that has the event ``before``, which comes before the first of these in an unbroken log
    (its n is 0 at an attempt's beginning): their ids follow each other, and no event in them changes how a stream goes on.
    """

    seq: int | None
    payload: bytes
    first: EventId
    last: EventId
    plain: bool
    before: EventId = field(init=False)

    def __post_init__(self) -> None:
        """Once for all viewers, each of which asks for it."""
        self.before = EventId(self.first.attempt, self.first.n - 1)

    @property
    def last_type(self) -> str:
        """The type of the last of these."""
        last_start = self.payload.rfind(b"\n\n", 0, -2)
        return events.frame_type(self.payload[last_start + 2 :] if last_start >= 0 else self.payload)

    @classmethod
    def of(cls, seq: int | None, payload: bytes) -> Self:
        """Look at a message.

        Raises:
            ValueError: this is not whole frames.
        """
        head = _HEAD.match(payload)
        if head is None or not payload.endswith(b"\n\n"):
            raise ValueError(f"not whole event frames: {payload[:40]!r} … {payload[-40:]!r}")
        first = EventId(int(head[1]), int(head[2]))
        last_start = payload.rfind(b"\n\n", 0, -2)
        if last_start < 0:  # one frame, maybe a large one: nothing of it is searched but its beginning
            return cls(seq, payload, first, first, not head[3].startswith(_LOOKED_AT_TYPES))
        last = events.frame_id(payload[last_start + 2 :])
        unbroken = first.attempt == last.attempt and payload.count(b"\n\n") == last.n - first.n + 1
        return cls(seq, payload, first, last, unbroken and not any(mark in payload for mark in _LOOKED_AT))


def joined(batches: Sequence[Batch]) -> Iterator[Batch]:
    """The same messages, in order: those that are plain and follow each other as one, up to 64 KiB of them."""
    if len(batches) == 1:
        yield batches[0]
        return
    start = size = 0
    for at, batch in enumerate(batches):
        before = batches[at - 1]
        size += len(batch.payload)
        if at and not (batch.plain and before.plain and batch.before == before.last and size <= _JOINED_BYTES_MAX):
            yield _one(batches[start:at])
            start, size = at, len(batch.payload)
    if batches:
        yield _one(batches[start:])


def _one(batches: Sequence[Batch]) -> Batch:
    first, last = batches[0], batches[-1]
    if first is last:
        return first
    return Batch(last.seq, b"".join(batch.payload for batch in batches), first.first, last.last, plain=True)
