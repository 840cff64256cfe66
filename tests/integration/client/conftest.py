"""One Holdfast for the client's tests: two gateways, of which one may be killed, and a runner with agents of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from holdfast_client import Holdfast
from tests.support.stack import Stack

HERE = Path(__file__).parent
AGENTS = (HERE.parent / "cli" / "waiting_agents.py", HERE / "counting_agent.py")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """``gateway-1`` is left alone by all tests."""
    async with Stack(env={"HOLDFAST_AGENTS": ",".join(map(str, AGENTS))}) as stack:
        await stack.start(gateways=2, runners=1, reapers=0)
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def holdfast(stack: Stack) -> AsyncIterator[Holdfast]:
    """A client of ``gateway-1``."""
    async with Holdfast(stack.url(), "") as client:
        yield client


def golden(chunks: int) -> str:
    """What the counter says of a number."""
    return "".join(f"chunk-{n} " for n in range(1, chunks + 1))
