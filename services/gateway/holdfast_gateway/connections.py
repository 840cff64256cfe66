"""How many connections each key holds open here: streams, long polls, the feed, submits that wait. One too many is refused.

Counted by key and per gateway, so that one client that opens streams without end takes no place from the others. Where nobody
has a key, all callers are one.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from holdfast.errors import Retryable
from holdfast_gateway.auth import Caller


class TooManyStreams(Retryable):
    """This key holds as many connections open at this gateway as it may."""


class Place:
    """One connection of a key, held from its making until :meth:`leave`, which may be repeated. Also a context manager."""

    def __init__(self, held: dict[str, int], key: str) -> None:
        self._held: dict[str, int] | None = held
        self._key = key

    def leave(self) -> None:
        """The connection is over."""
        held, self._held = self._held, None
        if held is None:
            return
        held[self._key] -= 1
        if not held[self._key]:
            del held[self._key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()


class Connections:
    """The count. ``of_each_max`` connections of one key may be open.

    Use: ``with connections.place(caller): …``, before anything else is done for the request. A route that answers with a stream
    hands its place on to the response::

        with ExitStack() as held:
            held.enter_context(parts.connections.place(caller))
            …  # what fails here gives the place back
            return EventStream(chunks, parts.draining, place=held.pop_all())
    """

    def __init__(self, of_each_max: int) -> None:
        self._of_each_max = of_each_max
        self._held: dict[str, int] = {}

    def place(self, caller: Caller) -> Place:
        """Take a place for one connection.

        Raises:
            TooManyStreams: the caller's key has none left.
        """
        held = self._held.get(caller.key, 0)
        if held >= self._of_each_max:
            raise TooManyStreams(
                f"this key holds {held} streams open here, as many as it may: close some, or ask another gateway"
            )
        self._held[caller.key] = held + 1
        return Place(self._held, caller.key)

    @property
    def count(self) -> int:
        """How many connections are open."""
        return sum(self._held.values())
