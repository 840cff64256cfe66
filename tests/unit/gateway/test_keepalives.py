"""A source that waits for others, with comments in between: whoever goes away while it waits is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from holdfast.wire.events import KEEPALIVE
from holdfast_gateway import keepalives
from holdfast_gateway.keepalives import with_keepalives


async def test_f33_who_leaves_is_let_go_though_the_source_forgets_a_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``asyncio.wait_for`` of Python 3.11 may, with which the log is read. The caller's place would never be free again."""
    monkeypatch.setattr(keepalives, "_CANCEL_AGAIN_AFTER_S", 0.01)
    closed = asyncio.Event()

    async def forgetful() -> AsyncGenerator[bytes, None]:
        try:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()
            yield b""
        finally:
            closed.set()

    chunks = with_keepalives(forgetful(), asyncio.get_running_loop().time)
    assert await anext(chunks) == KEEPALIVE
    leaving = asyncio.create_task(chunks.aclose())
    await asyncio.wait({leaving}, timeout=2.0)
    assert leaving.done()
    assert closed.is_set()
