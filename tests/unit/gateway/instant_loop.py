"""An event loop whose time passes only when there is nothing else to do: minutes take no time, in the same order each run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NobodyWaits(selectors.DefaultSelector):
    """Instead of waiting for the world, let the loop's clock go on."""

    loop: InstantLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits, and nothing will come")
        self.loop.now += timeout
        return super().select(0)


class InstantLoop(asyncio.SelectorEventLoop):
    """``now`` is its clock, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _NobodyWaits()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Its own clock."""
        return self.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in no time."""
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        return runner.run(work)
