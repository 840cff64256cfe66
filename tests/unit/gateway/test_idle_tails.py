"""A gateway that follows nothing looks at nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from nats.aio.client import Client

from holdfast.errors import BusUnavailable
from holdfast.settings import GatewaySettings
from holdfast.store import TailRow
from holdfast_gateway.tails import Tails
from tests.support.wait import wait_until


class Away:
    """A connection that is not there."""

    @property
    def client(self) -> Client:
        """See the real one."""
        raise BusUnavailable("away")


async def test_nothing_is_looked_at_while_nothing_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast_gateway.tails._TICK_S", 0.001)
    tails = Tails(cast(Any, None), cast(Any, Away()), GatewaySettings())
    reading = asyncio.create_task(tails._keep_reading())
    for number in range(2):  # nor when what was followed is gone
        tails.link_changed(up=True)
        await asyncio.sleep(0.02)
        assert tails._reconnected.is_set()
        viewer = tails.view(cast(TailRow, SimpleNamespace(id=UUID(int=number), status="running")), None)
        tail = tails.follow(viewer)
        await wait_until(lambda: not tails._reconnected.is_set(), description="it looks now")
        await tails.leave(tail, viewer)
        await asyncio.sleep(0.01)
    assert not reading.done()
    reading.cancel()
