"""A gateway that a test scripts: answers by path, and connections of a stream that break as the test wants them to.

It answers from within the process, as an httpx2 transport; :func:`listening` puts it on a port of its own for a command.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from click.testing import CliRunner, Result
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from holdfast import http
from holdfast.wire.events import KEEPALIVE
from holdfast_local.__main__ import main
from holdfast_local.ports import free_ports, is_free
from tests.support.wait import wait_until

RUN_ID = "0198c0de-0000-7000-8000-000000000001"
Event = tuple[str | None, str, dict[str, Any]]
_STREAMS = (f"GET /v1/runs/{RUN_ID}/events", "GET /v1/feed")
Handler = Callable[[str, dict[str, Any]], httpx2.Response]


def run_shown(**changes: Any) -> dict[str, Any]:
    """A run as the API shows it."""
    return {
        "id": RUN_ID, "thread_id": "chat", "agent": "assistant", "pool": "default", "status": "completed", "attempt": 2,
        "crashes": 0, "run_owner_pod": None, "input": {"messages": []}, "output": {"text": "hi"}, "error": None,
        "created_at": "2026-01-01T00:00:00Z", "claimed_at": "2026-01-01T00:00:01Z", "cancel_requested_at": None,
        "finished_at": "2026-01-01T00:00:03Z", "last_progress_at": "2026-01-01T00:00:03Z", **changes,
    }  # fmt: skip


def problem(status: int, code: str, detail: str, **headers: str) -> httpx2.Response:
    """An answer in the API's form of an error."""
    body = json.dumps({"status": status, "code": code, "detail": detail})
    return httpx2.Response(status, text=body, headers={"content-type": "application/problem+json", **headers})


@dataclass(frozen=True)
class Connection:
    """One connection of a stream: these events, then a clean end, or it stays open, or the socket is cut: by this error."""

    events: Sequence[Event] = ()
    cut: bool | httpx2.TransportError = False
    stays: bool = False
    refused: httpx2.Response | Exception | None = None


@dataclass
class StubGateway:
    """``connections`` are used up one after another. ``answers`` maps ``GET /path`` to one answer, or to several in turn.

    An answer that is an exception is raised in its place: the request's answer got lost. ``left`` counts the streams that
    were let go of before their end.
    """

    connections: list[Connection] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    cursors: list[str | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    left: int = 0

    def transport(self) -> httpx2.MockTransport:
        """This gateway, in the process."""
        return httpx2.MockTransport(self._handle)

    async def _handle(self, request: httpx2.Request) -> httpx2.Response:
        called = f"{request.method} {request.url.path}"
        content = await request.aread()
        self.requests.append(
            (called, dict(request.headers), json.loads(content) if content else request.url.query.decode())
        )
        if called in _STREAMS and "text/event-stream" in request.headers["accept"]:
            return self._stream(request.headers.get("last-event-id"))
        answer = self.answers[called]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def _stream(self, cursor: str | None) -> httpx2.Response:
        self.cursors.append(cursor)
        connection = self.connections.pop(0)
        if isinstance(connection.refused, Exception):
            raise connection.refused
        if connection.refused is not None:
            return connection.refused

        async def body() -> AsyncIterator[bytes]:
            yield KEEPALIVE
            try:
                for event in connection.events:
                    whole = _frame(*event)
                    yield whole[:7]
                    yield whole[7:]
                if connection.stays:
                    await asyncio.Event().wait()
            except (GeneratorExit, asyncio.CancelledError):
                self.left += 1
                raise
            if connection.cut:
                raise connection.cut if isinstance(connection.cut, Exception) else httpx2.ReadError("cut")

        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: the same on a socket."""
        asked = Request(scope, receive)
        content = await asked.body()
        answer = await self._handle(
            httpx2.Request(asked.method, str(asked.url), headers=dict(asked.headers), content=content)
        )
        if answer.headers.get("content-type") == "text/event-stream":
            streamed = StreamingResponse(answer.aiter_raw(), media_type="text/event-stream")
            await streamed(scope, receive, send)
        else:
            body = await answer.aread()
            headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
            await Response(body, answer.status_code, headers)(scope, receive, send)


def _frame(event_id: str | None, event_type: str, data: dict[str, Any]) -> bytes:
    """One event; ids are of whatever form the test has them in."""
    id_line = f"id: {event_id}\n" if event_id is not None else ""
    return f"{id_line}event: {event_type}\ndata: {json.dumps(data)}\n\n".encode()


class Shell:
    """Runs ``holdfast`` in a thread beside the stub."""

    def __init__(self, stub: StubGateway, url: str) -> None:
        self.stub = stub
        self.url = url

    async def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        runner = CliRunner(env={"HOLDFAST_URL": self.url, "HOLDFAST_KEY": None, "NO_COLOR": "1"})
        return await asyncio.to_thread(runner.invoke, main, list(arguments), input=stdin)


@asynccontextmanager
async def listening(stub: StubGateway) -> AsyncIterator[str]:
    """The stub on a port of its own; yields its URL."""
    port = free_ports(1)[0]
    async with http.serving(stub, "127.0.0.1", port):
        await wait_until(lambda: not is_free(port), description="the stub listens")
        yield f"http://127.0.0.1:{port}"


def deltas(*words: str, attempt: int = 1, first: int = 1) -> Iterator[Event]:
    """Text of step 0, one event a word."""
    for n, word in enumerate(words, first):
        yield f"{attempt}-{n}", "text.delta", {"position": "0", "text": word}
