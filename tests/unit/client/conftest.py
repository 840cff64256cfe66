"""A client whose gateway the test scripts, in the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from holdfast_client import Holdfast, Run, patience
from tests.unit.local.stub_gateway import RUN_ID, StubGateway, listening

Pauses = list[float]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pause is short."""
    monkeypatch.setattr(patience, "PAUSE_FIRST_S", 0.01)


@pytest.fixture
def stub() -> StubGateway:
    """The gateway."""
    return StubGateway()


@pytest.fixture
async def holdfast(stub: StubGateway) -> AsyncIterator[Holdfast]:
    """The client, with little patience."""
    async with Holdfast(
        "http://gateway.test", "", patience_s=0.3, stream_patience_s=0.3, transport=stub.transport()
    ) as client:
        yield client


@pytest.fixture
async def on_a_socket(stub: StubGateway) -> AsyncIterator[Holdfast]:
    """A client that reaches the same gateway over a connection of its own."""
    async with listening(stub) as url, Holdfast(url, "") as client:
        yield client


@pytest.fixture
def run(holdfast: Holdfast) -> Run:
    """The stub's run."""
    return holdfast.run(RUN_ID)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """How long was paused, each time. Nothing sleeps."""
    made: Pauses = []
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def at_once(delay_s: float) -> None:
        made.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return made
