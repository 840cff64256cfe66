"""Numbers that another process counts and this one reads, in a file that both have mapped: no messages, so nothing waits.

One process writes. Each number is one aligned machine word, so a reader never sees half of one.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_CONNECTED, _RECEIVED, _LOST, _REFUSED, _SAMPLES, _FIRST = range(6)
_WORDS = 1 << 17


class Board:
    """``samples`` are latencies in nanoseconds; the newest are kept, as many as there is room for."""

    def __init__(self, path: Path) -> None:
        """Map the file, and make it if it is not there."""
        if not path.exists():
            path.write_bytes(bytes(_WORDS * 8))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _WORDS * 8)
        self._words = memoryview(self._memory).cast("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._words.release()
        self._memory.close()

    @property
    def connected(self) -> int:
        """How many viewers have the headers of their stream."""
        return self._words[_CONNECTED]

    @property
    def received(self) -> int:
        """How many events have come, over all viewers."""
        return self._words[_RECEIVED]

    @property
    def lost(self) -> int:
        """How many connections have ended."""
        return self._words[_LOST]

    @property
    def sampled(self) -> int:
        """How many latencies were measured."""
        return self._words[_SAMPLES]

    @property
    def refused(self) -> int:
        """How often a viewer was refused and came again."""
        return self._words[_REFUSED]

    def count(self, connected: int, received: int, lost: int, refused: int) -> None:
        """Write down the counts, of the process that owns the board."""
        words = self._words
        words[_CONNECTED], words[_RECEIVED], words[_LOST], words[_REFUSED] = connected, received, lost, refused

    def sample(self, latency_ns: int) -> None:
        """Write down one latency."""
        taken = self._words[_SAMPLES]
        self._words[_FIRST + taken % (_WORDS - _FIRST)] = latency_ns
        self._words[_SAMPLES] = taken + 1

    def samples_since(self, taken: int) -> Sequence[int]:
        """The latencies from the given number of them on, as far as they are kept."""
        room = _WORDS - _FIRST
        return [self._words[_FIRST + n % room] for n in range(max(taken, self.sampled - room), self.sampled)]
