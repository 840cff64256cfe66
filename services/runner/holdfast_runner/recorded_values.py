"""Values that are made once and given back at each replay: times, random numbers. Pure.

A value is written with the next write of the journal, whichever it is: what depends on it comes later. One that was not written
was not used for anything that lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Entry = list[Any]
"""``[scope, number within the scope, value]``."""


class RecordedValues:
    """The values of one run. ``written`` are the entries that the journal has; one that it has twice counts once."""

    def __init__(self, written: Iterable[Entry]) -> None:
        self._values: dict[tuple[str, int], Any] = {}
        for scope, number, value in written:
            self._values.setdefault((scope, number), value)
        self._taken: dict[str, int] = {}
        self._unwritten: dict[tuple[str, int], Entry] = {}

    def take(self, scope: str, make: Callable[[], Any]) -> Any:
        """The next value of a scope: the journal's, else a new one."""
        number = self._taken.get(scope, 0)
        self._taken[scope] = number + 1
        key = (scope, number)
        if key not in self._values:
            self._values[key] = make()
            self._unwritten[key] = [scope, number, self._values[key]]
        return self._values[key]

    def unwritten(self) -> list[Entry]:
        """What the next write has to carry. Two writes at once both carry it: which of them lands first is not known."""
        return list(self._unwritten.values())

    def wrote(self, entries: Iterable[Entry]) -> None:
        """A write with these has landed."""
        for scope, number, _ in entries:
            self._unwritten.pop((scope, number), None)
