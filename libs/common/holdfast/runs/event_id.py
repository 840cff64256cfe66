"""The id of an event: ``<attempt>-<n>``, n from 1 within the attempt; ids of a run are totally ordered."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(r"(0|[1-9][0-9]{0,9})-([1-9][0-9]{0,9})")


class EventId(NamedTuple):
    """An event's place in its run's log. Comparison is the order of the log."""

    attempt: int
    n: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.n}"

    def next(self) -> EventId:
        """The id that follows within the same attempt."""
        return EventId(self.attempt, self.n + 1)

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read ``"3-17"``.

        Raises:
            ValueError: the text is not an event id.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not an event id of the form <attempt>-<n>")
        return cls(int(match[1]), int(match[2]))


QUEUED_ID = EventId(0, 1)
"""Of ``run.queued``, the first event of every run."""
