"""One way to serve ASGI in a process: granian inside our own event loop.

Embedded, so that the process is one OS process with its own signal handlers: granian's own master waits more than
8 s after SIGTERM for a stream that never ends. ``docs/adr`` says why granian.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast.errors import AddressInUse

_BACKLOG = 2048
_CONNECTIONS_MAX = 1_000_000
"""More than a process may have files. Left unsaid, granian serves as many at once as its backlog holds, and the next one waits
for ever without a byte, health too. How many streams are too many, the gateway says (``streams_per_key_max``)."""

GOES_ON = "holdfast.goes_on"
"""In a scope: a list to which an answer may append what is to be done for it when the application has returned."""


class GoesOn(Protocol):
    """The rest of an answer that lasts: it needs neither the application's stack nor what that knows of the request."""

    async def go_on(self) -> None:
        """Answer to the end. An exception cuts the connection."""

    def forsake(self) -> None:
        """Called instead when the application has failed after all."""


def going_on(app: ASGIApp) -> ASGIApp:
    """``app``, whose answers may go on after it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        left: list[GoesOn] = []
        scope[GOES_ON] = left
        try:
            await app(scope, receive, send)
        except BaseException:
            for each in left:
                each.forsake()
            raise
        if left:
            scope.clear()
        for each in left:
            await each.go_on()

    return answer


def allow_open_files() -> None:
    """Let this process have as many files open, connections too, as its limits can be raised to. Containers start at 1024."""
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems refuse what they name as their limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(host, port) from error
            raise


@asynccontextmanager
async def serving(app: ASGIApp, host: str, port: int, *, stop_timeout_s: float = 5.0) -> AsyncIterator[None]:
    """Serve ``app`` on ``host:port`` while the block runs; leaving it stops accepting and cuts what is still open.

    Raises:
        AddressInUse: somebody listens there already (granian itself would share the port silently).
    """
    _refuse_taken_port(host, port)
    logging.getLogger("_granian").setLevel(logging.CRITICAL)  # a stream that is cut on purpose is not an error to print
    allow_open_files()
    server = Server(
        going_on(app),
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
        backlog=_BACKLOG,
        backpressure=_CONNECTIONS_MAX,
    )
    task = asyncio.create_task(server.serve(), name="http")
    try:
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it unannotated
        done, _ = await asyncio.wait({task}, timeout=stop_timeout_s)
        if not done:
            task.cancel()
