"""What a viewer was sent is not kept for it: the event may have been a large one, and the next one may be an hour away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from starlette.types import Message

from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast.wire import events
from holdfast_gateway.batch import Batch
from holdfast_gateway.following import follow_run
from holdfast_gateway.http.stream import EventStream
from holdfast_gateway.viewer import Viewer
from tests.support.wait import wait_until

ROW = cast(TailRow, SimpleNamespace(id=UUID(int=1), status="running"))


def large() -> bytes:
    """The first event of a run."""
    return events.frame(EventId(0, 1), "text.delta", {"position": "0", "text": "x" * 100_000})


class Shown(Viewer):
    """Has read one event, and joined."""

    def __init__(self, read: list[Batch]) -> None:
        super().__init__(cast(Any, None), ROW, None, keepalive_interval_s=10.0, queue_bytes_max=1000)
        self._to_read = read

    async def _catch_up(self) -> AsyncGenerator[bytes, None]:
        await self._take(self._to_read.pop())
        self._joined = True
        yield self._flush()


async def test_f39_an_idle_viewer_keeps_nothing_of_what_it_was_sent(monkeypatch: Any) -> None:
    payload = large()
    batches = [Batch.of(1, payload)]
    before = sys.getrefcount(payload)
    viewer = Shown(batches)
    tails = cast(Any, SimpleNamespace(view=lambda *_: viewer))
    sent: list[int] = []

    async def send(message: Message) -> None:
        sent.append(len(message.get("body", b"")))

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    response = EventStream(follow_run(tails, ROW, None), asyncio.Event())
    answering = asyncio.create_task(response({"type": "http"}, receive, send))
    await wait_until(lambda: len(payload) in sent, description="the event to be sent")
    await wait_until(lambda: not viewer._wake.is_set() and viewer._joined, description="the viewer to wait")
    for _ in range(10):
        await asyncio.sleep(0)
    assert sys.getrefcount(payload) == before - 1, "the batch held one"
    answering.cancel()
    await asyncio.wait({answering})
