"""Publishing: what a connection that is gone leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from holdfast.bus import publishing


class FakeClient:
    """A connection whose server answers at once; what it hands out knows it, as a subscription does."""

    def __init__(self) -> None:
        self._answer: Callable[[Any], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, _: str, cb: Callable[[Msg], Awaitable[None]]) -> tuple[FakeClient]:
        self._answer = cb
        return (self,)

    async def publish(self, _: str, __: bytes, *, reply: str, headers: object) -> None:
        assert headers is None
        assert self._answer is not None
        await self._answer(Msg(cast("Client", self), subject=reply, data=b'{"seq": 7}'))


async def test_a_connection_that_is_gone_is_forgotten() -> None:
    client = FakeClient()
    assert await publishing.publish(cast("Client", client), "a", b"", timeout_s=1.0) == 7
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
