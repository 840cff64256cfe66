"""One stack and one Node process for these tests: two gateways, a runner, a reaper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.integration.ai_sdk.driver import Driver
from tests.support.stack import Stack

AGENTS = Path(__file__).with_name("chat_agents.py")
FAST = {
    "HOLDFAST_HEARTBEAT_INTERVAL_S": "0.4",
    "HOLDFAST_HEARTBEAT_TTL_S": "2",
    "HOLDFAST_SWEEP_INTERVAL_S": "0.5",
    "HOLDFAST_APPEND_BUDGET_S": "2",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver() -> AsyncIterator[Driver]:
    """The SDK."""
    async with Driver() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Servers, two gateways, a runner with the built-in agents and those of these tests, and a reaper."""
    async with Stack(env={**FAST, "HOLDFAST_AGENTS": str(AGENTS), "HOLDFAST_APPROVE": "clock"}) as started:
        wanted = [("gateway", "gateway-1"), ("gateway", "gateway-2"), ("runner", "runner-1"), ("reaper", "reaper-1")]
        await asyncio.gather(
            *(started.add(kind, name) for kind, name in wanted)
        )  # who kills waits until the reaper can see
        yield started
