"""Comments between events, so that no proxy takes a quiet stream for a dead one (F33)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from holdfast.wire.events import KEEPALIVE

_CANCEL_AGAIN_AFTER_S = 0.5  # a read of the log may forget a cancel: see holdfast.service.run_beside


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
