"""One way to serve ASGI in a process: granian inside our own event loop.

Embedded, so that the process is one OS process with its own signal handlers: granian's own master waits more than
8 s after SIGTERM for a stream that never ends. ``docs/adr`` says why granian.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.types import ASGIApp

from holdfast.errors import AddressInUse


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
    server = Server(
        app, address=host, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False, backlog=2048
    )
    task = asyncio.create_task(server.serve(), name="http")
    try:
        yield
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it unannotated
        done, _ = await asyncio.wait({task}, timeout=stop_timeout_s)
        if not done:
            task.cancel()
