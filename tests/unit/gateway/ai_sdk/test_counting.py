"""How many chunks a stream has now, which ``x-workflow-stream-tail-index`` tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from holdfast.bus import event_log
from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast.wire import events
from holdfast_gateway.parts import Parts
from holdfast_gateway.protocols.ai_sdk import streaming
from holdfast_gateway.protocols.ai_sdk.fold import Fold

_ROW = TailRow(UUID(int=1), "running", 1, None, None, None, "runner-1", keep_through=None)


async def test_f41_nobody_waits_for_an_event_that_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log has lost something, a viewer is sent its last event when the next one comes: that may be minutes."""

    async def follow(*_: Any) -> AsyncGenerator[bytes, None]:
        yield events.frame(EventId(1, 2), "text.delta", {"position": None, "text": "a"})
        await asyncio.get_running_loop().create_future()

    async def end(*_: Any) -> Any:
        return SimpleNamespace(last_id=EventId(1, 3))

    async def rests(*_: Any) -> bool:
        return False

    monkeypatch.setattr(streaming, "follow_run", follow)
    monkeypatch.setattr(event_log, "end", end)
    monkeypatch.setattr(streaming, "_rests", rests)
    monkeypatch.setattr(streaming, "_COUNT_QUIET_S", 0.01)
    parts = cast(Parts, SimpleNamespace(tails=SimpleNamespace(client=None)))
    async with asyncio.timeout(5.0):
        assert await streaming.count_chunks(parts, _ROW, Fold("run")) == 4
