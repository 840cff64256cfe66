"""Where steps stand in a journal: positions that are the same at every replay, also of work that runs side by side. Pure.

The n-th item of a run is ``n``. A gather is an item without a row of its own: branch i of the gather at ``3`` is the scope
``3.i``, whose first step is ``3.i`` itself and whose further items are ``3.i.1``, ``3.i.2``. Keyed steps (tool calls with an id)
that stand between two other items form such a group too; at a replay each is found again by its key. What is done within the
work of the step at ``5`` is keyed, and stands in the group ``5.0``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from holdfast.errors import AgentFailed

KeysUnder = Callable[[str], Mapping[str, str]]
"""What the journal has in a group: position by key."""


class Scope:
    """A line of items, one after the other. Nothing in it may overlap but keyed steps with each other."""

    def __init__(self, prefix: str = "", *, nested: bool = False) -> None:
        self.prefix = prefix
        self.nested = nested
        self._next = 0
        self._group = prefix if nested else None
        self._keys: dict[str, str] = {}
        self._open_keys: set[str] = set()
        self._open: list[str] = []
        self._open_alone = False

    @classmethod
    def within(cls, position: str) -> Scope:
        """The scope of what is done within a step's work: keyed steps only."""
        return cls(f"{position}.0", nested=True)

    @classmethod
    def branch(cls, group: str, number: int) -> Scope:
        """The scope of a gather's branch."""
        return cls(f"{group}.{number}")

    def enter(self, name: str) -> str:
        """The position of the next item, which must stand alone.

        Raises:
            AgentFailed: ``steps_overlap``.
        """
        self._refuse_overlap(name, alone=True)
        position = self._take(row=True)
        self._open, self._open_alone = [name], True
        return position

    def enter_group(self, name: str) -> str:
        """The position of a gather. Raises as :meth:`enter` does."""
        self._refuse_overlap(name, alone=True)
        position = self._take(row=False)
        self._open, self._open_alone = [name], True
        return position

    def enter_keyed(self, name: str, key: str, keys_under: KeysUnder) -> str:
        """The position of a keyed step, which may stand beside others. Raises as :meth:`enter` does."""
        self._refuse_overlap(name, alone=False)
        if self._group is None:
            self._group, self._keys = self._take(row=False), {}
        if key in self._open_keys or (key in self._keys and not self.nested):
            raise AgentFailed(
                "steps_overlap", f"step {name!r}: the call id {key!r} was used before, for step {self._keys[key]}"
            )
        known = keys_under(self._group)
        position = known.get(key) or self._keys.get(key)
        if position is None:
            taken = {*known.values(), *self._keys.values()}
            position = next(each for each in (f"{self._group}.{n}" for n in count()) if each not in taken)
        self._keys[key] = position
        self._open_keys.add(key)
        self._open.append(name)
        return position

    def leave(self, name: str, key: str | None = None) -> None:
        """An item has ended."""
        if key is not None:
            self._open_keys.discard(key)
        if name in self._open:
            self._open.remove(name)
        if not self._open:
            self._open_alone = False

    def _take(self, *, row: bool) -> str:
        """The next position. The prefix of a branch is a position itself, but only for a step: a group there would share its
        children's positions with the items that follow."""
        if not self.nested:
            self._group = None
        if self.prefix and self._next == 0 and not row:
            self._next = 1
        number, self._next = self._next, self._next + 1
        if not self.prefix:
            return str(number)
        return self.prefix if number == 0 else f"{self.prefix}.{number}"

    def _refuse_overlap(self, name: str, *, alone: bool) -> None:
        if self.nested and alone:
            raise AgentFailed(
                "steps_overlap",
                f"{name!r} was started within the work of a step: only tool calls with a call_id may be, do the rest outside",
            )
        if self._open and (alone or self._open_alone):
            raise AgentFailed(
                "steps_overlap",
                f"step {name!r} was started beside {self._open[0]!r}: use run.gather for what runs side by side",
            )
