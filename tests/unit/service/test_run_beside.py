"""Parts of a service that run beside each other: all end with the first that fails, and for certain when they are told to."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from holdfast import service
from holdfast.service import run_beside

AGAIN_S = 0.01


async def forgetful(began: asyncio.Event) -> None:
    """Forgets a cancel, as ``asyncio.wait_for`` of Python 3.11 does when what it waits for comes at the same moment."""
    began.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def fail() -> None:
    """As a part whose connection was closed for good."""
    raise ValueError("no more")


async def test_a_part_that_forgets_a_cancel_is_cancelled_again() -> None:
    """Else a reaper that is stopped while it connects would stay for ever (seen with its watch, its heartbeat)."""
    began = asyncio.Event()
    parts = {"outer": run_beside({"inner": forgetful(began)}, cancel_again_after_s=AGAIN_S)}
    task = asyncio.create_task(run_beside(parts, cancel_again_after_s=AGAIN_S))
    await began.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=2.0)
    assert task.cancelled()


async def test_the_first_part_that_fails_ends_the_others_and_is_told() -> None:
    began = asyncio.Event()
    with pytest.raises(BaseExceptionGroup) as told:
        async with asyncio.timeout(2.0):
            await run_beside({"fails": fail(), "goes on": forgetful(began)}, cancel_again_after_s=AGAIN_S)
    assert [str(error) for error in told.value.exceptions] == ["no more"]


async def test_parts_that_come_to_their_end_are_waited_for() -> None:
    done = []

    async def end_after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        done.append(turns)

    await run_beside({"soon": end_after(1), "later": end_after(5)})
    assert done == [1, 5]


async def test_a_part_that_never_ends_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_END_TIMEOUT_S", 0.05)
    began, may_end = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        began.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    task = asyncio.create_task(run_beside({"stays": stay()}, cancel_again_after_s=AGAIN_S))
    await began.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=2.0)
    assert task.cancelled()
    may_end.set()
