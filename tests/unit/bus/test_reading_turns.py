"""Many who read the log over one connection at one time: they take turns, so that the server does not cut the connection off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.bus.event_log import Reading
from holdfast.errors import BusUnavailable

MIB = 1024 * 1024


class Connection:
    """What is known of a connection: how large a message may be. Answers come when ``may_answer`` says so."""

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self.may_answer = asyncio.Event()
        self.at_once = self.at_once_max = self.answered = 0

    async def batch(self, *_: Any) -> tuple[list[Any], bool]:
        """An answer."""
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await self.may_answer.wait()
        finally:
            self.at_once -= 1
        self.answered += 1
        return [], False


async def read(connection: Connection) -> None:
    """A run's log."""
    async for _ in Reading(UUID(int=1)).to_the_end(cast(Client, connection)):
        pass


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """One to a server with messages of 2 MiB."""
    made = Connection(2 * MIB)
    monkeypatch.setattr(event_log, "_ask_for_batch", made.batch)
    return made


async def test_f39_a_crowd_of_readers_takes_turns(connection: Connection) -> None:
    """What the server has on its way for all of them stays far below the 64 MiB for which it would cut the connection off."""
    crowd = [asyncio.create_task(read(connection)) for _ in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    given_up = crowd.pop(0)
    given_up.cancel()
    connection.may_answer.set()
    await asyncio.gather(*crowd)
    assert connection.answered == 99
    assert connection.at_once_max * (event_log._BATCH_BYTES_MAX + connection.max_payload) <= 32 * MIB
    assert connection.at_once_max == 10


@pytest.mark.parametrize(("max_payload", "at_once"), [(64 * 1024, 30), (MIB, 16), (64 * MIB, 1)])
async def test_f39_as_many_read_at_once_as_the_server_s_messages_allow(
    connection: Connection, max_payload: int, at_once: int
) -> None:
    connection.max_payload = max_payload
    connection.may_answer.set()
    assert event_log._place_to_read(cast(Client, connection))._value == at_once
    await read(connection)


async def test_who_gets_no_turn_is_told(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_TURN_PATIENCE_S", 0.01)
    connection.max_payload = 64 * MIB
    first = asyncio.create_task(read(connection))
    await asyncio.sleep(0)
    with pytest.raises(BusUnavailable):
        await read(connection)
    connection.may_answer.set()
    await first
    await read(connection)


class Slow:
    """A server that answers with a few messages, one every 20 ms, and may fall silent before the end."""

    max_payload = MIB

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends

    def new_inbox(self) -> str:
        """Where the answer goes."""
        return "inbox"

    async def subscribe(self, *_: Any, **__: Any) -> Slow:
        """To the answer."""
        return self

    async def publish(self, *_: Any, **__: Any) -> None:
        """The question."""

    async def unsubscribe(self) -> None:
        """From the answer."""

    @property
    async def messages(self) -> AsyncIterator[SimpleNamespace]:
        """The answer."""
        for seq in range(1, 6):
            await asyncio.sleep(0.02)
            yield SimpleNamespace(headers={"Nats-Sequence": str(seq)}, data=b"x")
        if not self.ends:
            await asyncio.Event().wait()
        yield SimpleNamespace(headers={"Status": "204"}, data=b"")


async def test_a_server_is_given_up_when_it_is_silent_not_when_it_takes_long() -> None:
    got = [entry.seq async for entry in event_log.read(cast(Client, Slow(ends=True)), UUID(int=1), 0, timeout_s=0.08)]
    assert got == [1, 2, 3, 4, 5]
    with pytest.raises(BusUnavailable):
        async for _ in event_log.read(cast(Client, Slow(ends=False)), UUID(int=1), 0, timeout_s=0.08):
            pass
