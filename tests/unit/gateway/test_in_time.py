"""Requests are answered in time and in turn: so many at once, whoever waits lets others by, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from holdfast_gateway.http import guards
from holdfast_gateway.http.guards import DEADLINE, InTime


class _Record:
    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def failed(self, error: Exception) -> None:
        self.failures.append(error)


class _App:
    """Answers when it is let, on a path that waits or not."""

    def __init__(self) -> None:
        self.at_work = 0
        self.most = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        if scope["path"] == "/v1/waits":
            scope[DEADLINE].reschedule(None)
        await self.go.wait()
        self.at_work -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _ask(app: InTime, path: str = "/v1/runs") -> int:
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        said.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": []}
    await app(scope, receive, send)
    return int(said[0]["status"])


def _guarded(inner: _App, record: _Record) -> InTime:
    return InTime(inner, record, at_once_max=3)  # type: ignore[arg-type]  # only `failed` is used of a record


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_so_many_are_worked_on_at_once_and_the_others_in_turn() -> None:
    inner = _App()
    app = _guarded(inner, _Record())
    asked = [asyncio.create_task(_ask(app)) for _ in range(20)]
    await _turns()
    assert inner.at_work == 3
    inner.go.set()
    assert await asyncio.gather(*asked) == [200] * 20
    assert inner.most == 3


async def test_who_waits_by_intention_and_health_take_no_place() -> None:
    inner = _App()
    app = _guarded(inner, _Record())
    waiting = [asyncio.create_task(_ask(app, "/v1/waits")) for _ in range(9)]
    health = [asyncio.create_task(_ask(app, "/readyz")) for _ in range(9)]
    await _turns(40)
    assert inner.at_work == 18
    inner.go.set()
    assert await asyncio.gather(*waiting, *health) == [200] * 18


async def test_one_that_is_cancelled_or_fails_gives_its_place_back() -> None:
    inner = _App()
    app = _guarded(inner, _Record())
    for _ in range(5):
        asked = asyncio.create_task(_ask(app))
        await _turns()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    inner.go.set()
    assert await asyncio.gather(*(_ask(app) for _ in range(9))) == [200] * 9


async def test_who_has_waited_too_long_for_a_place_is_told_to_ask_again_and_the_record_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "QUEUE_TIMEOUT_S", 0.01)
    inner, record = _App(), _Record()
    app = _guarded(inner, record)
    asked = [asyncio.create_task(_ask(app)) for _ in range(3)]
    await _turns()
    assert await _ask(app) == 503
    assert record.failures == []
    inner.go.set()
    assert await asyncio.gather(*asked) == [200] * 3
