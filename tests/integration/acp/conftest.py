"""One stack for the tests that need the real thing: two runners, a reaper, a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.stack import Stack

AGENTS = Path(__file__).with_name("stack_agents.py")
FAST = {"HOLDFAST_HEARTBEAT_INTERVAL_S": "0.4", "HOLDFAST_HEARTBEAT_TTL_S": "2", "HOLDFAST_SWEEP_INTERVAL_S": "0.5"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the children of the stack live."""
    return tmp_path_factory.mktemp("acp")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(folder: Path) -> AsyncIterator[Stack]:
    """Runners whose agent is the scripted child."""
    async with Stack(env={**FAST, "HOLDFAST_AGENTS": str(AGENTS), "ACP_TEST_FOLDER": str(folder)}) as started:
        await started.start(gateways=1, runners=2, reapers=1)
        yield started
