"""One reading for all who ask at one time: two thousand viewers of a run that ends make one or two queries, not two thousand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedReading(Generic[K, T]):
    """``read(key)``, shared. What a caller gets was read after it asked: who comes during a reading shares the next one."""

    def __init__(self, read: Callable[[K], Awaitable[T]]) -> None:
        self._read = read
        self._running: dict[K, asyncio.Task[T]] = {}
        self._waiting: dict[K, asyncio.Task[T]] = {}

    async def __call__(self, key: K) -> T:
        """The result of a reading that begins now or later. Its error is everybody's."""
        task = self._waiting.get(key)
        if task is None:
            before = self._running.get(key)
            task = asyncio.create_task(self._reading(key, before), name="shared-reading")
            (self._running if before is None else self._waiting)[key] = task
            task.add_done_callback(_retrieved)
        return await asyncio.shield(task)  # a caller that goes away does not take it from the others

    async def _reading(self, key: K, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
            self._running[key] = self._waiting.pop(key)
        try:
            return await self._read(key)
        finally:
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]


def _retrieved(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()
