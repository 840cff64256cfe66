"""Events larger than a message: cut into parts by whoever appends, joined again by whoever reads. Pure: no I/O.

Each part is a message of its own, appended and fenced like any other, in order. Its headers say which part of how many it is, and
of which whole. ``Holdfast-Last-Id`` of all but the final part is the event before, so whoever looks where a log ends does not
count an event of which a part is missing.

A part is joined to the part before it, of the same whole, and to nothing else. When anything else follows, its writer has died or
given up between two parts: what there is of that event was never acknowledged as a whole, nothing was committed on it, and
readers drop it. A reader that knows nothing of parts finds that each is no event frame, and mends the gap from the record.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from holdfast.bus import names
from holdfast.runs import EventId


@dataclass(frozen=True, slots=True)
class Mark:
    """Which part this is: the ``number``-th (from 1) of ``count`` parts of a ``whole``.

    ``whole`` is ``<event id>/<bytes>/<checksum>``: when the same event is written anew, after its writer gave it up, no part of
    the one try is taken for a part of the other unless they hold the same bytes.
    """

    number: int
    count: int
    whole: str

    @property
    def event_id(self) -> EventId:
        """The last event of the whole; its attempt is the writer's."""
        return EventId.parse(self.whole.partition("/")[0])

    @property
    def is_final(self) -> bool:
        """Does this part complete the whole?"""
        return self.number == self.count

    @property
    def next(self) -> Mark:
        """The mark of the part that follows."""
        return Mark(self.number + 1, self.count, self.whole)

    def headers(self) -> dict[str, str]:
        """As headers of the part's message."""
        return {names.PART_HEADER: f"{self.number}/{self.count}", names.PART_OF_HEADER: self.whole}

    @classmethod
    def of(cls, headers: Mapping[str, str] | None) -> Self | None:
        """Read a message's headers. None: it is no part (or one of nobody who keeps to this)."""
        if headers is None or (place := headers.get(names.PART_HEADER)) is None:
            return None
        number, _, count = place.partition("/")
        try:
            mark = cls(int(number), int(count), headers.get(names.PART_OF_HEADER, ""))
            _ = mark.event_id
        except ValueError:
            return None
        return mark if 1 <= mark.number <= mark.count else None


class Part(NamedTuple):
    """What one message holds. Without a ``mark`` it is a message as any other."""

    payload: bytes
    mark: Mark | None = None

    @property
    def is_final(self) -> bool:
        """Is the whole in the log with this one?"""
        return self.mark is None or self.mark.is_final


def split(payload: bytes, last_id: EventId, bytes_max: int) -> Iterator[Part]:
    """Cut frames, the last of them ``last_id``, into as many parts as they need, made one at a time; mostly that is one."""
    size = len(payload)
    if size <= bytes_max:
        yield Part(payload)
        return
    whole = f"{last_id}/{size}/{zlib.crc32(payload):08x}"
    count = -(-size // bytes_max)
    for number in range(1, count + 1):
        yield Part(payload[(number - 1) * bytes_max : number * bytes_max], Mark(number, count, whole))


class Joining:
    """Takes a log's messages in order, and gives what is whole. Holds the parts of one unfinished event at the most.

    ``at`` is the newest message that was taken. ``seq`` is the newest one that is whole or completes a whole: a reader that
    begins anew behind it begins with a first part. They differ while an event is unfinished.
    """

    def __init__(self, after_seq: int = 0) -> None:
        self.at = self.seq = after_seq
        self._pieces: list[bytes] = []
        self._awaited: Mark | None = None

    def take(self, seq: int, headers: Mapping[str, str] | None, payload: bytes) -> bytes | None:
        """The next message. Returns what is whole with it; None while parts are to follow, and for a part without its
        beginning: the gap that this leaves is mended like any other."""
        self.at = seq
        mark = Mark.of(headers)
        if mark is None:
            self._drop()
            self.seq = seq
            return payload
        if mark.number == 1:
            self._drop()
        elif mark != self._awaited:
            self._drop()
            if mark.is_final:
                self.seq = seq
            return None
        self._pieces.append(payload)
        if not mark.is_final:
            self._awaited = mark.next
            return None
        whole = b"".join(self._pieces)
        self._drop()
        self.seq = seq
        return whole

    def _drop(self) -> None:
        if self._pieces:
            self._pieces = []
            self._awaited = None
