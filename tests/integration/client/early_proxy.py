"""A proxy that ends event streams cleanly, as some do after a time. A client must not take that for an end."""

from __future__ import annotations

import httpx2
from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class EarlyProxy:
    """ASGI. Forwards to ``target``; of a stream the first ``events_max`` events. ``ended`` counts the streams that it ended."""

    def __init__(self, target: str, *, events_max: int) -> None:
        self.ended = 0
        self._events_max = events_max
        self._client = httpx2.AsyncClient(base_url=target, timeout=10.0)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        asked = Request(scope, receive)
        headers = {name: value for name, value in asked.headers.items() if name != "host"}
        url = httpx2.URL(asked.url.path, query=asked.url.query.encode())
        async with self._client.stream(asked.method, url, headers=headers, content=await asked.body()) as answer:
            raw = [(name, value) for name, value in answer.headers.raw if name.lower() == b"content-type"]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": raw})
            left = self._events_max if answer.headers["content-type"].startswith("text/event-stream") else None
            async for line in answer.aiter_lines():
                await send({"type": "http.response.body", "body": f"{line}\n".encode(), "more_body": True})
                if left is not None and line.startswith("data:"):
                    left -= 1
                if left == 0 and not line:
                    self.ended += 1
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
