"""The threads that agents' blocking work runs in (``asyncio.to_thread``), and whose work it is.

A thread cannot be stopped: cancelling the task that waits for it ends the task, not the work. So a run is handed over only when
its threads have ended, and a process that still has some at its end leaves without them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

P = ParamSpec("P")
T = TypeVar("T")

working_for: ContextVar[UUID | None] = ContextVar("working_for", default=None)
"""The run whose agent's code runs here."""


class WorkThreads(ThreadPoolExecutor):
    """The event loop's default executor."""

    def __init__(self, *, threads_max: int) -> None:
        super().__init__(max_workers=threads_max, thread_name_prefix="work")
        self._lock = threading.Lock()
        self._busy: dict[Future[Any], UUID | None] = {}

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``Executor.submit``; the work is the run's whose agent asks for it."""
        future = super().submit(fn, *args, **kwargs)
        with self._lock:
            self._busy[future] = working_for.get()
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._busy.pop(future, None)

    def busy(self, run_id: UUID | None = None) -> list[Future[Any]]:
        """What is being done for one run, or for any."""
        with self._lock:
            return [future for future, whose in self._busy.items() if whose is not None and run_id in (None, whose)]

    async def ended(self, run_id: UUID) -> None:
        """Wait until no thread works for a run."""
        while waiting := [asyncio.wrap_future(future) for future in self.busy(run_id)]:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if not each.cancelled():
                    each.exception()  # the agent's own call has seen it
