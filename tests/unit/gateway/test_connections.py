"""Places of connections: counted by key, given back once, however the response ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest
from starlette.types import Message

from holdfast_gateway.auth import EVERYBODY, Caller
from holdfast_gateway.connections import Connections, TooManyStreams
from holdfast_gateway.http.stream import EventStream, StreamReset
from holdfast_gateway.picture import RunGone

OURS, THEIRS = Caller("t", operator=False, key="ours"), Caller("t", operator=False, key="theirs")


def test_each_key_has_its_own_places() -> None:
    connections = Connections(2)
    first, _ = connections.place(OURS), connections.place(OURS)
    with pytest.raises(TooManyStreams):
        connections.place(OURS)
    connections.place(THEIRS)
    connections.place(EVERYBODY)
    first.leave()
    first.leave()
    connections.place(OURS)
    with pytest.raises(TooManyStreams):
        connections.place(OURS)


def test_what_fails_before_it_is_handed_on_gives_its_place_back() -> None:
    connections = Connections(1)
    with contextlib.suppress(LookupError), ExitStack() as held:
        held.enter_context(connections.place(OURS))
        raise LookupError
    assert connections.count == 0
    with ExitStack() as held:
        held.enter_context(connections.place(OURS))
        handed_on = held.pop_all()
    assert connections.count == 1
    handed_on.close()
    assert connections.count == 0


async def _chunks(error: Exception | None) -> AsyncGenerator[bytes, None]:
    yield b"id: 1-1\nevent: x\ndata: {}\n\n"
    if error is not None:
        raise error


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _gone() -> Message:
    return {"type": "http.disconnect"}


async def _sent(_: Message) -> None:
    pass


async def _broken(_: Message) -> None:
    raise OSError


@pytest.mark.parametrize("how", ["ends", "is reset", "fails", "client goes", "drains", "was never begun", "cancelled"])
async def test_a_response_gives_its_place_back_however_it_ends(how: str) -> None:
    connections, draining = Connections(1), asyncio.Event()
    error = {"is reset": RunGone("r"), "fails": LookupError()}.get(how)
    stream = EventStream(_chunks(error), draining, place=connections.place(OURS))
    if how == "drains":
        draining.set()
    receive, send = (_gone if how == "client goes" else _never), (_broken if how == "was never begun" else _sent)
    task = asyncio.create_task(stream({"type": "http"}, receive, send))
    if how == "cancelled":
        await asyncio.sleep(0)
        task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    expected = {"is reset": StreamReset, "fails": LookupError, "drains": (StreamReset, type(None))}
    expected |= {"was never begun": OSError, "cancelled": asyncio.CancelledError}
    assert isinstance(result, expected.get(how, type(None)))  # type: ignore[arg-type]  # a type or some
    assert connections.count == 0


async def test_a_large_chunk_goes_in_slices_and_arrives_whole() -> None:
    large = b"id: 1-1\nevent: x\ndata: " + b"x" * 1_000_000 + b"\n\n"
    bodies: list[bytes] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield large
        yield b": keepalive\n\n"

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b""))

    await EventStream(chunks(), asyncio.Event())({"type": "http"}, _never, send)
    assert max(map(len, bodies)) <= 256 * 1024
    assert b"".join(bodies) == b": holdfast\n\n" + large + b": keepalive\n\n"
