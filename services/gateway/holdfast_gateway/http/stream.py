"""An event stream as a response: headers at once, then ready bytes as they gather, and a clean end only at the run's end.

Clients take a clean end for the end of the run. So whatever else ends a stream (the gateway drains, the run was deleted, a bug)
resets the connection: an exception raised in the body cuts it.

A stream goes on when the application has returned (:data:`holdfast.http.GOES_ON`), so that nothing of the routing, which took a
good part of a viewer's memory, is kept for as long as it lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import coroutine

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from holdfast import metrics
from holdfast.http import GOES_ON
from holdfast.logs import get_logger
from holdfast_gateway.following import RunStream
from holdfast_gateway.picture import RunGone

log = get_logger(__name__)
SERVERS_SEND = "holdfast.send"
"""In a scope: what sends without passing by those who only look at an answer's head. A stream sends a thousand times."""
_OPENED = b": holdfast\n\n"
_SEND_BYTES_MAX = 256 * 1024


class StreamReset(Exception):
    """Raised in the body of a stream that must not end cleanly."""


async def client_gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events.

    Args:
        chunks: whole events and comments; closed by the response. Its end is the stream's end.
        draining: when it is set, the connection is reset.
        begin: events that are known already, sent with the headers.
        headers: further headers.
        place: the caller's place among the connections, entered already; left when the response is over, however it ends.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        draining: asyncio.Event,
        *,
        begin: bytes = b"",
        headers: Mapping[str, str] | None = None,
        place: AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(
            headers={"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})},
            media_type=self.media_type,
        )
        del self.headers["content-length"]
        self._chunks = chunks
        self._draining = draining
        self._begin = begin
        self._place = place if place is not None else nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        stream = _Stream(self._chunks, self._draining, receive, scope.get(SERVERS_SEND, send), self._place)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(_body(_OPENED + self._begin))
        except BaseException:
            stream.forsake()
            raise
        goes_on = scope.get(GOES_ON)
        if goes_on is None:
            await stream.go_on()
        else:
            goes_on.append(stream)


class _Stream:
    """One stream, from its headers on, written by the task in which it goes on."""

    __slots__ = ("_chunks", "_draining", "_place", "_receive", "_reset", "_send", "_stopped", "_task")

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        draining: asyncio.Event,
        receive: Receive,
        send: Send,
        place: AbstractContextManager[object],
    ) -> None:
        self._chunks, self._draining, self._receive, self._send, self._place = chunks, draining, receive, send, place
        self._task: asyncio.Task[object] | None = None
        self._stopped = self._reset = False

    def forsake(self) -> None:
        """It will never go on."""
        self._place.__exit__(None, None, None)

    async def go_on(self) -> None:
        """Write to the end.

        Raises:
            StreamReset: or anything else: the connection is to be cut.
        """
        self._task = asyncio.current_task()
        client = asyncio.create_task(client_gone(self._receive), name="stream-client")
        client.add_done_callback(self._client_gone)
        of_gateway = _OfGateway.enter(self, self._draining)
        try:
            with metrics.VIEWERS.track_inprogress():
                await self._write_all()
        except asyncio.CancelledError:
            if not self._stopped or (self._task is not None and self._task.uncancel() > 0):
                raise
            if self._reset:
                raise StreamReset("the gateway is stopping") from None
        except RunGone as error:
            raise StreamReset("the run was deleted") from error
        except Exception as error:
            log.error("stream.failed", exc_info=error)
            raise
        finally:
            client.remove_done_callback(self._client_gone)
            client.cancel()
            of_gateway.leave(self)
            self._place.__exit__(None, None, None)

    async def _write_all(self) -> None:
        if isinstance(self._chunks, RunStream):
            self._chunks.write_through(self._write)
        try:
            async for chunk in self._chunks:
                for piece in _pieces(chunk):
                    await self._send(_body(piece))
                del chunk, piece  # nothing is kept for who waits
        finally:
            await self._chunks.aclose()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _write(self, chunk: bytes) -> Awaitable[None] | None:
        """Send without waiting. What is returned, if anything, is the rest of it, to be awaited."""
        try:
            sending = self._send(_body(chunk)).__await__()
            for awaited in sending:
                return _rest(awaited, sending)
        except Exception as error:  # told to who writes, not to who hands on
            return _rest(None, iter(()), error)
        return None

    def _client_gone(self, _: object) -> None:
        self._stop()

    def reset(self) -> None:
        """The gateway drains."""
        self._reset = True
        self._stop()

    def _stop(self) -> None:
        if not self._stopped and self._task is not None:
            self._stopped = True
            self._task.cancel()


class _OfGateway:
    """The open streams of one gateway, and one task that resets all of them when it drains."""

    def __init__(self, draining: asyncio.Event) -> None:
        self._draining = draining
        self._streams: set[_Stream] = set()
        self._task = asyncio.create_task(self._when_draining(), name="streams-draining")

    @classmethod
    def enter(cls, stream: _Stream, draining: asyncio.Event) -> _OfGateway:
        """A stream begins."""
        entered = _gateways.get(draining)
        if entered is None:
            entered = _gateways[draining] = cls(draining)
        entered._streams.add(stream)
        if draining.is_set():  # those that were there may have been reset already
            stream.reset()
        return entered

    def leave(self, stream: _Stream) -> None:
        """It is over."""
        self._streams.discard(stream)
        if not self._streams and _gateways.pop(self._draining, None) is not None:
            self._task.cancel()

    async def _when_draining(self) -> None:
        await self._draining.wait()
        for stream in tuple(self._streams):
            stream.reset()


_gateways: dict[asyncio.Event, _OfGateway] = {}  # those that have streams


@coroutine
def _rest(awaited: object, sending: Iterator[object], error: Exception | None = None) -> Generator[object, None, None]:
    """What a send has left to do that was begun outside of a task, and waits for something, or has failed."""
    if error is not None:
        raise error
    yield awaited
    yield from sending


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """A large event in slices: its viewers share it as a whole, and the server holds no more than a slice for each of them."""
    if len(chunk) <= _SEND_BYTES_MAX:
        yield chunk
        return
    for start in range(0, len(chunk), _SEND_BYTES_MAX):
        yield chunk[start : start + _SEND_BYTES_MAX]


def _body(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
