"""Asking for requests: what is owed, and what the server has forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from holdfast.bus import pulling as module
from holdfast.bus.pulling import Pulling
from holdfast.errors import BusUnavailable


@dataclass
class Word:
    """A message, or a status."""

    headers: dict[str, str] | None = None


@dataclass
class FakeServer:
    """A connection that notes what is asked for, and answers by hand."""

    asked: list[int] = field(default_factory=list)
    answer: Callable[[Any], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self.answer = cb

    async def publish(self, _: str, payload: bytes, *, reply: str) -> None:
        assert reply == "_INBOX.x"
        self.asked.append(json.loads(payload)["batch"])

    async def say(self, status: str | None = None, **headers: str) -> None:
        assert self.answer is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.answer(Word({"Status": status, **named} if status is not None else None))


async def _opened(server: FakeServer) -> Pulling:
    pulling = Pulling(cast("Client", server), "default", on_arrival=lambda: None)
    await pulling.open()
    return pulling


async def test_what_was_asked_for_is_owed_until_it_comes_is_taken_or_expires() -> None:
    server = FakeServer()
    pulling = await _opened(server)
    await pulling.ask(3)
    assert (pulling.owed, pulling.is_asking) == (3, True)
    await server.say()
    assert (pulling.owed, pulling.is_asking) == (3, True), "it has come, and was not taken"
    assert len(pulling.take()) == 1
    assert pulling.owed == 2
    await server.say("408", Nats_Pending_Messages="2")
    assert (pulling.owed, pulling.is_asking, pulling.take()) == (0, False, [])


async def test_what_has_come_is_taken_before_a_refusal_is_told() -> None:
    server = FakeServer()
    pulling = await _opened(server)
    await pulling.ask(2)
    await server.say()
    await server.say("409", Description="Consumer Deleted")
    assert len(pulling.take()) == 1
    with pytest.raises(BusUnavailable, match="409 Consumer Deleted"):
        pulling.take()


async def test_a_loop_that_stood_still_takes_no_pull_for_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server has said meanwhile is unread when the loop turns again."""
    monkeypatch.setattr(module, "_EXPIRES_S", 0.01)
    monkeypatch.setattr(module, "_FORGOTTEN_S", 0.01)
    server = FakeServer()
    pulling = await _opened(server)
    await pulling.ask(3)
    time.sleep(0.05)  # noqa: ASYNC251 - an agent that blocks the loop
    assert pulling.take() == []
    await server.say("408", Nats_Pending_Messages="3")
    assert (pulling.owed, pulling.take()) == (0, [])
    await pulling.ask(3)
    time.sleep(0.05)  # noqa: ASYNC251
    assert pulling.take() == []
    time.sleep(0.05)  # noqa: ASYNC251
    with pytest.raises(BusUnavailable, match="does not answer"):
        pulling.take()
