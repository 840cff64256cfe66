"""Threads know whose work they do."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest

from holdfast_runner.work_threads import WorkThreads, working_for
from tests.support.wait import wait_until

ONE, OTHER = UUID(int=1), UUID(int=2)


async def work_for(run_id: UUID, gate: threading.Event) -> None:
    """A task of a run's agent that waits for a thread."""
    working_for.set(run_id)
    await asyncio.to_thread(gate.wait, 10)


async def test_work_outlives_the_task_that_asked_for_it() -> None:
    threads = WorkThreads(threads_max=4)
    asyncio.get_running_loop().set_default_executor(threads)
    gate = threading.Event()
    task = asyncio.create_task(work_for(ONE, gate))
    other = asyncio.create_task(work_for(OTHER, gate))
    await wait_until(lambda: len(threads.busy()) == 2, description="both work")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ending = asyncio.create_task(threads.ended(ONE))
    await asyncio.sleep(0)
    assert len(threads.busy(ONE)) == 1
    assert not ending.done()
    gate.set()
    await ending
    await other
    assert threads.busy() == []


async def test_work_of_nobody_does_not_count() -> None:
    threads = WorkThreads(threads_max=1)
    asyncio.get_running_loop().set_default_executor(threads)
    gate = threading.Event()
    waiting = asyncio.ensure_future(asyncio.to_thread(gate.wait, 10))
    await asyncio.sleep(0)
    assert threads.busy() == []
    gate.set()
    await waiting


async def test_work_that_fails_is_over() -> None:
    threads = WorkThreads(threads_max=1)
    asyncio.get_running_loop().set_default_executor(threads)
    working_for.set(ONE)
    gate = threading.Event()

    def fail() -> None:
        gate.wait(10)
        raise ValueError("as told")

    failing = asyncio.ensure_future(asyncio.to_thread(fail))
    await wait_until(lambda: threads.busy(ONE), description="it works")
    ending = asyncio.create_task(threads.ended(ONE))
    gate.set()
    with pytest.raises(ValueError, match="as told"):
        await failing
    await ending
