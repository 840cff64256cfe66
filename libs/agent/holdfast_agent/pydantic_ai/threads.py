"""Plain functions of an agent in the event loop's own threads, as those of ``run.step``.

A runner knows whose work is done there, and hands a run over only when none is left. Left to itself the library would take
threads that nobody watches, and would not let go of them in a cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class LoopThreads(Executor):
    """Hands everything on to the default executor of the loop that it is used in."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``Executor.submit``; to be called in the loop's thread."""
        told: Future[T] = Future()
        work = asyncio.get_running_loop().run_in_executor(None, partial(fn, *args, **kwargs))

        def tell(done: asyncio.Future[T]) -> None:
            error = done.exception() if not done.cancelled() else None
            if not told.set_running_or_notify_cancel():
                return  # who asked has gone
            if error is not None:
                told.set_exception(error)
            elif done.cancelled():
                told.set_exception(RuntimeError("the loop's threads have ended"))
            else:
                told.set_result(done.result())

        work.add_done_callback(tell)
        return told
