"""A real HTTP server that takes webhooks as a test scripts it, and checks them as the specification says, by code of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.wait import wait_until

CERTIFICATE = Path(__file__).with_name("webhook_receiver.pem")
"""For ``receiver.example``, signed by itself, good until 2120. Its key is in the same file and protects nothing."""
_TOLERANCE_S = 300


@dataclass(frozen=True)
class Message:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["data"])

    def verify(self, secret: str) -> None:
        """As Standard Webhooks 1.0.0, "Verifying signatures", says."""
        timestamp = self.headers["webhook-timestamp"]
        assert abs(time.time() - int(timestamp)) < _TOLERANCE_S
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = b".".join([self.id.encode(), timestamp.encode(), self.body])
        expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        signatures = [each.partition(",") for each in self.headers["webhook-signature"].split(" ")]
        assert any(mark == "v1" and hmac.compare_digest(sent, expected) for mark, _, sent in signatures)


@dataclass
class Receiver:
    """``answers`` are used up one after another, then it says 204: a status, or a status with headers. ``held`` keeps answers
    back while it is not set."""

    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    connections: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    port: int = 0

    def __post_init__(self) -> None:
        self.held.set()

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.messages]

    async def until(self, count: int, *, timeout_s: float = 10.0) -> list[Message]:
        """Wait for so many messages."""
        await wait_until(lambda: len(self.messages) >= count, description=f"{count} messages came", timeout_s=timeout_s)
        return self.messages

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; it takes one request."""
        self.connections += 1
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.messages.append(Message(first.split(" ")[1], headers, body))
            answer = self.answers.pop(0) if self.answers else 204
            await self.held.wait()
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            said = [
                f"HTTP/1.1 {status} Said",
                "content-length: 0",
                *(f"{name}: {value}" for name, value in more.items()),
            ]
            writer.write("\r\n".join([*said, "", ""]).encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sender went away
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*, tls: bool = False) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hook"
    try:
        yield receiver
    finally:
        receiver.held.set()
        server.close()
        await server.wait_closed()
