"""The tutorial's agents on a whole Holdfast: one set of servers, runners of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.integration.examples.desk import Desk
from tests.support.stack import Stack

FAST = {"HOLDFAST_HEARTBEAT_INTERVAL_S": "0.4", "HOLDFAST_HEARTBEAT_TTL_S": "2", "HOLDFAST_SWEEP_INTERVAL_S": "0.5"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Servers, a gateway and a reaper."""
    async with Stack(env=FAST) as started:
        await started.start(gateways=1, runners=0, reapers=1)
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def desk(stack: Stack, tmp_path: Path) -> AsyncIterator[Desk]:
    """A runner with the tutorial's agents, and a folder in which they write."""
    made = Desk(stack, tmp_path)
    await made.hire()
    yield made
    made.dismiss()
