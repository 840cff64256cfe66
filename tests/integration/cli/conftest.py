"""One Holdfast for the tests that break nothing, and a shell for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.cli.shell import Shell
from tests.support.stack import Stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm() -> AsyncIterator[Stack]:
    """A stack that a whole module shares: a gateway, one that wants keys, two runners, a reaper. Nobody kills anything in it."""
    async with Stack() as stack:
        await stack.start()
        await stack.add("gateway", "gateway-keys", {"HOLDFAST_AUTH": "keys"})
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def calm_shell(calm: Stack, tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell whose environment names the calm stack."""
    shell = Shell(tmp_path, environment_of(calm))
    yield shell
    await shell.close()


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Servers of a test's own; it adds its services."""
    async with Stack() as stack:
        yield stack


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell with nothing in its environment."""
    shell = Shell(tmp_path)
    yield shell
    await shell.close()


def environment_of(stack: Stack) -> dict[str, str]:
    """The variables by which commands find a stack."""
    return {
        "HOLDFAST_URL": stack.url(),
        "HOLDFAST_POSTGRES_URL": stack.postgres.url,
        "HOLDFAST_NATS_URL": stack.nats.url,
    }


def golden(chunks: int, call: int | None = None) -> str:
    """The mock model's answer to ``many:<chunks>``; with ``stamp`` each chunk carries the number of the call."""
    return "".join(f"chunk-{n} " if call is None else f"chunk-{n}@{call} " for n in range(1, chunks + 1))
