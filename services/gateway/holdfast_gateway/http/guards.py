"""What stands before the routes, as plain ASGI: loopback names, draining, the body's size, the request's time.

A response that has started is never touched: a stream may last for days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.errors import StoreUnavailable
from holdfast.settings import LOOPBACK_HOSTS
from holdfast_gateway.http.problems import problem, record_away
from holdfast_gateway.http.stream import SERVERS_SEND
from holdfast_gateway.record import Record

BODY_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 4.5
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_DISCARDED_BODIES_MAX = (
    8  # of an oversized body, so many times the limit is still read, so that the client reads the answer
)
AT_ONCE_MAX = 64
QUEUE_TIMEOUT_S = 10.0
DEADLINE = "holdfast.deadline"
_SERVED = ("/v1/", "/ai-sdk/")  # health and metrics stay readable to the end


class LoopbackNames:
    """Without keys, Host and Origin must be names of this machine: no web page may reach the gateway by a name of its own."""

    def __init__(self, app: ASGIApp, allowed_origins: Collection[str]) -> None:
        self._app = app
        self._allowed_origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if _name(f"//{host}") not in LOOPBACK_HOSTS:
                detail = f"HOLDFAST_AUTH=none serves this machine alone: the Host must be a loopback name, not {host!r}"
                return await problem(403, "host_not_loopback", detail)(scope, receive, send)
            if origin is not None and origin not in self._allowed_origins and _name(origin) not in LOOPBACK_HOSTS:
                detail = (
                    f"HOLDFAST_AUTH=none serves this machine alone: the Origin must be a loopback name, not {origin!r}"
                )
                return await problem(403, "origin_not_loopback", detail)(scope, receive, send)
        return await self._app(scope, receive, send)


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


class Draining:
    """A gateway that is about to end takes no new requests; its health stays readable."""

    def __init__(self, app: ASGIApp, draining: asyncio.Event) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and self._draining.is_set() and scope["path"].startswith(_SERVED):
            headers = {"Retry-After": "1", "Connection": "close"}
            return await problem(503, "draining", "this gateway is stopping: ask again", headers=headers)(
                scope, receive, send
            )
        return await self._app(scope, receive, send)


class WholeBody:
    """Reads a request's body before anything else, up to the limit, whether its length is declared or not. It must be JSON."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            return await self._app(scope, receive, send)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await self._read(receive)
        except ClientDisconnect:
            return None
        except TimeoutError:
            late = problem(408, "body_too_slow", f"the body was not there after {BODY_TIMEOUT_S:g} s")
            return await late(scope, receive, send)
        refusal = self._refusal(body, Headers(scope=scope).get("content-type", ""), scope["path"])
        if refusal is not None:
            return await refusal(scope, receive, send)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> Message:
            return unread.pop() if unread else await receive()

        return await self._app(scope, receive_body, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None when it is too large."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size <= self._bytes_max:
                chunks.append(chunk)
            elif size > self._bytes_max * _DISCARDED_BODIES_MAX:
                return None
            if not message.get("more_body", False):
                return b"".join(chunks) if size <= self._bytes_max else None

    def _refusal(self, body: bytes | None, content_type: str, path: str) -> Response | None:
        if body is None:
            return problem(413, "too_large", f"the body is larger than {self._bytes_max} bytes")
        if not body:
            return None
        # WorkflowChatTransport names no type, and `fetch` then says text/plain. A page of another origin can send that without
        # being asked; what keeps it out is the key, and where there is none, that Origin must be a loopback name.
        if not _is_json(content_type) and not (path.startswith("/ai-sdk/") and _is_text(content_type)):
            return problem(415, "unsupported_media_type", "send the body as Content-Type: application/json")
        try:
            from_json(
                body, allow_inf_nan=False
            )  # stricter than Python's own parser, which takes NaN and half characters
        except ValueError as error:
            return problem(400, "malformed_json", f"the body is not JSON: {error}")
        return None


def _is_text(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "text/plain"


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


class InTime:
    """No request waits longer than 4.5 s for its answer to begin, whatever is frozen behind the gateway, and no more than 64 are
    worked on at once: the thousands who come back when another gateway has died are answered in turn, instead of all too late.

    A route that is meant to wait lifts its deadline, ``scope[DEADLINE].reschedule(None)``, and bounds itself.
    """

    def __init__(self, app: ASGIApp, record: Record, *, at_once_max: int = AT_ONCE_MAX) -> None:
        self._app = app
        self._record = record
        self._places = asyncio.Semaphore(at_once_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(_SERVED):
            return await self._app(scope, receive, send)
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._places.acquire()
        except TimeoutError:
            detail = f"this gateway has had more to do than it can for {QUEUE_TIMEOUT_S:g} s: ask again"
            return await problem(503, "overloaded", detail, headers={"Retry-After": "1"})(scope, receive, send)
        at_work: _AtWork | None = None

        async def send_in_time(message: Message) -> None:
            assert at_work is not None
            at_work.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S) as deadline:
                at_work = scope[DEADLINE] = _AtWork(deadline, self._places)
                scope[SERVERS_SEND] = send
                await self._app(scope, receive, send_in_time)
        except TimeoutError:
            if not deadline.expired():
                raise
            late = StoreUnavailable(f"no answer within {REQUEST_TIMEOUT_S:g} s")
            self._record.failed(late)
            await record_away(str(late))(scope, receive, send)
        finally:
            if at_work is not None:
                at_work.leave()
        return None


class _AtWork:
    """A request's deadline, and its place among those that are worked on. Both end with the first byte of its answer."""

    def __init__(self, deadline: asyncio.Timeout, places: asyncio.Semaphore) -> None:
        self._deadline = deadline
        self._places: asyncio.Semaphore | None = places

    def reschedule(self, when: float | None) -> None:
        """As that of :class:`asyncio.Timeout`; None: the request may take as long as it wants from now on."""
        if self._places is None and when is None:
            return
        self._deadline.reschedule(when)
        if when is None:
            self.leave()

    def leave(self) -> None:
        """Let the next one be worked on. May be repeated."""
        places, self._places = self._places, None
        if places is not None:
            places.release()
