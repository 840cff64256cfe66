"""What was appended to the event log in one go: its bytes, and what the gateway can know of them without reading events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from holdfast.runs import EventId
from holdfast.wire import events

_LOOKED_AT = (b"\nevent: run.", b"\nevent: snapshot\n")  # a line of data cannot begin so: JSON holds no raw line end
_LOOKED_AT_TYPES = ("run.", "snapshot")


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that were written together.

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
        object.__setattr__(self, "before", EventId(self.first.attempt, self.first.n - 1))

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
        if not payload.endswith(b"\n\n"):
            raise ValueError(f"not whole event frames: …{payload[-40:]!r}")
        first = events.frame_id(payload)
        last_start = payload.rfind(b"\n\n", 0, -2)
        if last_start < 0:  # one frame, maybe a large one: nothing of it is searched but its beginning
            return cls(seq, payload, first, first, not events.frame_type(payload).startswith(_LOOKED_AT_TYPES))
        last = events.frame_id(payload[last_start + 2 :])
        unbroken = first.attempt == last.attempt and payload.count(b"\n\n") == last.n - first.n + 1
        return cls(seq, payload, first, last, unbroken and not any(mark in payload for mark in _LOOKED_AT))
