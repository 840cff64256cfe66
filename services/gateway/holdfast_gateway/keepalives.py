"""Comments between events, so that no proxy takes a quiet stream for a dead one (F33)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from holdfast.wire.events import KEEPALIVE

_CANCEL_AGAIN_AFTER_S = 0.5  # a read of the log may forget a cancel: see holdfast.service.run_beside


class Quiet:
    """For how long a stream has said nothing, and a wake-up when a comment is due.

    One timer for the stream's life, set anew when it fires: a timer for each wait would cost more than an event does.

    Args:
        interval_s: after so long without a byte a comment is due.
        wake: called in the loop when it is.
    """

    def __init__(self, interval_s: float, wake: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._wrote_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The stream begins."""
        self.wrote()
        self._timer = self._loop.call_at(self.due_at(), self._look)

    def wrote(self) -> None:
        """Something was sent."""
        self._wrote_at = self._loop.time()

    def due_at(self) -> float:
        """When the next comment is due, in the loop's time."""
        return self._wrote_at + self._interval_s

    @property
    def is_due(self) -> bool:
        """It has been quiet for the whole interval."""
        return self.due_at() <= self._loop.time()

    def stop(self) -> None:
        """The stream is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        due_at, now = self.due_at(), self._loop.time()
        if due_at <= now:
            self._wake()
            due_at = now + self._interval_s
        self._timer = self._loop.call_at(due_at, self._look)


async def with_keepalives(
    source: AsyncGenerator[bytes, None], due_at: Callable[[], float]
) -> AsyncGenerator[bytes, None]:
    """The chunks of ``source``, and a comment whenever ``due_at()`` (loop time) passes while it has none. Closes ``source``.

    For a source that waits for others (the log, the record). Costs a task for each chunk.
    """
    step: asyncio.Task[bytes | None] | None = None
    loop = asyncio.get_running_loop()
    try:
        while True:
            if step is None:
                step = asyncio.create_task(_next(source), name="viewer-step")
            done, _ = await asyncio.wait({step}, timeout=max(0.0, due_at() - loop.time()))
            if not done:
                yield KEEPALIVE
                continue
            chunk = step.result()
            step = None
            if chunk is None:
                return
            yield chunk
    finally:
        while step is not None and not step.done():
            step.cancel()
            await asyncio.wait({step}, timeout=_CANCEL_AGAIN_AFTER_S)
        await source.aclose()


async def _next(source: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(source, None)
