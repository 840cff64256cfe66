"""One set of servers for these tests; each test has a pool of its own on it. All of them run in one loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.runner.scene import Scene
from tests.support.stack import Stack

FAST = {"HOLDFAST_HEARTBEAT_INTERVAL_S": "0.4", "HOLDFAST_HEARTBEAT_TTL_S": "2", "HOLDFAST_SWEEP_INTERVAL_S": "0.5"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """The servers, with heartbeats that are counted in tenths of a second. Whoever stops a server starts it again."""
    async with Stack(env=FAST) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reaper(stack: Stack) -> AsyncIterator[None]:
    """A reaper, for tests in which a pod dies. Where there is none, nobody restores a request that was lost."""
    service = await stack.add("reaper", "reaper")
    yield
    service.kill()
    del stack.services["reaper"]


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    """A pool of this test's own."""
    async with Scene(stack) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(stack: Stack) -> AsyncIterator[Scene]:
    """A pool for all of a module's tests that do no more than run things, with a runner in this process."""
    async with Scene(stack) as made, made.here():
        yield made
