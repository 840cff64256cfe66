"""Places of connections: counted by key, given back once, however the response ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.http import going_on
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


async def _chunks(error: Exception | None, *, last: bool) -> AsyncGenerator[bytes, None]:
    yield b"id: 1-1\nevent: x\ndata: {}\n\n"
    if error is not None:
        raise error
    if last:
        await asyncio.Event().wait()


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
@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_response_gives_its_place_back_however_it_ends(how: str, afterwards: bool) -> None:
    """Whether it goes on while the application runs, or when that has returned, as it does behind a server."""
    connections, draining = Connections(1), asyncio.Event()
    error = {"is reset": RunGone("r"), "fails": LookupError()}.get(how)
    lasts = how in ("client goes", "drains", "cancelled")
    stream = EventStream(_chunks(error, last=lasts), draining, place=connections.place(OURS))
    if how == "drains":
        draining.set()
    app: ASGIApp = going_on(stream) if afterwards else stream
    receive, send = (_gone if how == "client goes" else _never), (_broken if how == "was never begun" else _sent)
    task = asyncio.ensure_future(app({"type": "http"}, receive, send))
    if how == "cancelled":
        await asyncio.sleep(0)
        task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    expected: dict[str, type] = {"is reset": StreamReset, "fails": LookupError, "drains": StreamReset}
    expected |= {"was never begun": OSError, "cancelled": asyncio.CancelledError}
    assert isinstance(result, expected.get(how, type(None)))
    assert connections.count == 0


async def test_a_stream_that_begins_when_the_others_were_reset_is_reset_as_well() -> None:
    draining, lets_go = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in _chunks(None, last=True):
                yield chunk
        finally:
            await lets_go.wait()

    scope = {"type": "http"}
    first = asyncio.create_task(EventStream(slow_to_end(), draining)(scope, _never, _sent))
    await asyncio.sleep(0.01)
    draining.set()
    await asyncio.sleep(0.01)
    with pytest.raises(StreamReset):
        await asyncio.wait_for(EventStream(_chunks(None, last=True), draining)(scope, _never, _sent), 1.0)
    lets_go.set()
    with pytest.raises(StreamReset):
        await first


async def test_what_fails_behind_an_answer_that_would_go_on_gives_its_place_back() -> None:
    connections = Connections(1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await EventStream(_chunks(None, last=True), asyncio.Event(), place=connections.place(OURS))(
            scope, receive, send
        )
        assert connections.count == 1
        raise LookupError

    with pytest.raises(LookupError):
        await going_on(app)({"type": "http"}, _never, _sent)
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
