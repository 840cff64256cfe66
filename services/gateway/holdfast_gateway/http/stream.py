"""An event stream as a response: headers at once, then ready bytes as they gather, and a clean end only at the run's end.

Clients take a clean end for the end of the run. So whatever else ends a stream (the gateway drains, the run was deleted, a bug)
resets the connection: an exception raised in the body cuts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from holdfast import metrics
from holdfast.logs import get_logger
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
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(_body(_OPENED + self._begin))
            await self._stream(receive, scope.get(SERVERS_SEND, send))
        finally:
            self._place.__exit__(None, None, None)

    async def _stream(self, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send), name="stream")
        others = [
            asyncio.create_task(client_gone(receive), name="stream-client"),
            asyncio.create_task(self._draining.wait(), name="stream-draining"),
        ]
        with metrics.VIEWERS.track_inprogress():
            try:
                await asyncio.wait({pump, *others}, return_when=asyncio.FIRST_COMPLETED)
                ended = pump.done()
            finally:
                for task in (pump, *others):
                    task.cancel()
                await asyncio.wait({pump, *others})
        if not ended:
            if self._draining.is_set():
                raise StreamReset("the gateway is stopping")
            return
        try:
            pump.result()
        except RunGone as error:
            raise StreamReset("the run was deleted") from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        try:
            async for chunk in self._chunks:
                for piece in _pieces(chunk):
                    await send(_body(piece))
                del chunk, piece  # nothing is kept for who waits
        finally:
            await self._chunks.aclose()


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """A large event in slices: its viewers share it as a whole, and the server holds no more than a slice for each of them."""
    if len(chunk) <= _SEND_BYTES_MAX:
        yield chunk
        return
    for start in range(0, len(chunk), _SEND_BYTES_MAX):
        yield chunk[start : start + _SEND_BYTES_MAX]


def _body(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
