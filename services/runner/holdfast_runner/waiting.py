"""What an attempt waits for that others have to do, and when to give its slot back for it.

The attempt is suspended once something is waited for and nothing else goes on: no step is worked on, and no branch of a gather
can move. To suspend early does no harm but to the time that it takes, since a replay brings everything back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

_SETTLE_S = 0.02
"""What an agent may do between two steps, in tasks that are not a gather's, without being taken for one that only waits."""


@dataclass(eq=False, slots=True)
class Activity:
    """Something that goes on: a step, a branch of a gather. It stands still while it is blocked, or while all within it does."""

    within: Activity | None
    inner: int = 0
    blocked: bool = False


_activity: ContextVar[Activity | None] = ContextVar("activity", default=None)
"""Within what the present task was started, or what it does."""


@dataclass(frozen=True, slots=True)
class OpenWait:
    """One thing that is waited for, as viewers are told of it."""

    id: UUID
    position: str
    kind: str
    question: Mapping[str, Any] | None = None
    schema: Mapping[str, Any] | None = None
    until: datetime | None = None
    child_run_id: UUID | None = None

    def told(self) -> Mapping[str, Any]:
        """The data of its ``run.waiting``."""
        data: dict[str, Any] = {"position": self.position, "kind": self.kind, "question_id": str(self.id)}
        if self.question is not None:
            data["question"] = self.question
        if self.schema is not None:
            data["schema"] = self.schema
        if self.until is not None:
            data["until"] = self.until.isoformat()
        if self.child_run_id is not None:
            data["child_run_id"] = str(self.child_run_id)
        return data


class Waiting:
    """Knows what goes on, and calls ``on_idle`` with what is waited for when there is nothing else."""

    def __init__(self, on_idle: Callable[[Sequence[OpenWait]], None]) -> None:
        self._on_idle = on_idle
        self._activities: set[Activity] = set()
        self._open: dict[str, OpenWait] = {}
        self._settling: asyncio.TimerHandle | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """The present task, and those that it starts, do something: a step, or a branch of a gather."""
        within = _activity.get()
        mine = Activity(within)
        if within is not None:
            within.inner += 1
        self._activities.add(mine)
        token = _activity.set(mine)
        try:
            yield
        finally:
            _activity.reset(token)
            self._activities.discard(mine)
            if within is not None:
                within.inner -= 1
            self._settle()

    async def block(self, wait: OpenWait) -> NoReturn:
        """Wait for others; ends by cancellation only."""
        self._open[wait.position] = wait
        mine = _activity.get()
        if mine is not None:
            mine.blocked = True
        self._settle()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nobody sets this")
        finally:
            if mine is not None:
                mine.blocked = False
            del self._open[wait.position]

    def _settle(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
        self._settling = asyncio.get_running_loop().call_later(_SETTLE_S, self._look)

    def _look(self) -> None:
        if self._open and all(each.blocked or each.inner for each in self._activities):
            self._on_idle(list(self._open.values()))

    def close(self) -> None:
        """Nothing is looked at any more."""
        if self._settling is not None:
            self._settling.cancel()
