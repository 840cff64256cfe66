"""How a runner asks for requests: for all that it has room for, and with one question at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import pytest

from holdfast.bus import topology
from holdfast.bus.connection import Link
from holdfast.runs import Owner
from holdfast.settings import RunnerSettings
from holdfast_runner.claims import Claims, Slots


@dataclass
class Expired:
    """The server's word that a pull has expired."""

    headers: dict[str, str]


@dataclass
class FakeServer:
    """A connection that notes what is asked for."""

    asked: list[int] = field(default_factory=list)
    answer: Callable[[Any], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _: str, cb: Callable[[Any], Awaitable[None]]) -> FakeServer:
        self.answer = cb
        return self

    async def unsubscribe(self) -> None:
        pass

    async def publish(self, _: str, payload: bytes, *, reply: str) -> None:
        assert reply
        self.asked.append(json.loads(payload)["batch"])


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_slots_that_become_free_one_by_one_wait_for_the_question_that_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A consumer keeps 2,048 pulls for all runners. With one for each slot that was freed, a few large ones have them refused."""

    async def made(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(topology, "ensure", made)
    monkeypatch.setattr(topology, "ensure_consumer", made)
    server, slots = FakeServer(), Slots(1)
    claims = Claims(
        db=cast("Any", None),
        broker=cast("Any", None),
        client=cast("Any", server),
        link=Link("test"),
        settings=RunnerSettings(),
        me=Owner("a", uuid4()),
        agents={},
        slots=slots,
        start=lambda *_: None,
    )
    task = asyncio.create_task(claims.take_until_closed())
    await _turns()
    for _ in range(100):
        slots.release()
        await _turns()
    assert server.asked == [1]
    assert server.answer is not None
    await server.answer(Expired({"Status": "408", "Nats-Pending-Messages": "1"}))
    await _turns()
    assert server.asked == [1, 101], "then for all of them"
    claims.close()
    async with asyncio.timeout(5):
        await task
