"""However many streams are open, the next request is answered."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from holdfast import http
from holdfast_local.ports import free_ports
from tests.support.wait import wait_until

_BACKLOG = 128


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


async def test_more_streams_than_the_backlog_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BACKLOG", _BACKLOG)
    port = free_ports(1)[0]
    async with (
        http.serving(_app, "127.0.0.1", port),
        asyncio.timeout(10),
        httpx2.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def answers() -> bool:
            try:
                return (await client.get("/healthz")).text == "ok"
            except httpx2.ConnectError:
                return False

        await wait_until(answers, description="the server listens")
        writers = []
        for _ in range(_BACKLOG + 4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b": open\n\n")
        async with httpx2.AsyncClient(trust_env=False) as stranger:  # on a connection of its own
            assert (await stranger.get(f"http://127.0.0.1:{port}/healthz")).text == "ok"
        for writer in writers:
            writer.close()
