"""Plain functions run in the threads that a runner watches."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pydantic_ai
import pytest

from holdfast.errors import AgentFailed
from holdfast_agent import Run
from holdfast_agent.pydantic_ai import current_run, durable
from tests.unit.agent_pydantic_ai.memory_backend import RUN_ID, MemoryBackend, Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results

CALLS: list[list[Any]] = [[call(0, "work", "{}", "c1")], ["done"]]


async def test_a_plain_tool_runs_in_the_loops_threads_and_knows_its_run() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2, thread_name_prefix="watched"))
    script = Script(CALLS)
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    def work() -> list[str]:
        return [threading.current_thread().name, str(current_run().id)]

    await attempt(durable(agent, "x"), Record(), chat("go"))
    [(_, _, [thread, run_id])] = results(script.asked[1])
    assert thread.startswith("watched")
    assert run_id == str(RUN_ID)


async def test_what_a_plain_tool_raises_fails_its_step() -> None:
    agent = pydantic_ai.Agent(Script(CALLS).model())

    @agent.tool_plain
    def work() -> str:
        raise OSError("no disk")

    with pytest.raises(AgentFailed, match="no disk"):
        await attempt(durable(agent, "x"), Record(), chat("go"))


async def test_a_cancel_does_not_wait_for_the_thread() -> None:
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    agent = pydantic_ai.Agent(Script(CALLS).model())

    @agent.tool_plain
    def work() -> str:
        started.set()
        assert go_on.wait(20)
        ended.set()
        return "late"

    wrapped = durable(agent, "x")
    run = Run(RUN_ID, "thread", wrapped.name, 1, chat("go"), {}, MemoryBackend(Record()))
    task = asyncio.ensure_future(wrapped.function(run))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert not ended.is_set()
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
