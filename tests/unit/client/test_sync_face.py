"""The client without an event loop: the same answers and errors, iterators that let go, Ctrl-C, and a thread that ends."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import cast

import pytest

from holdfast_client import NotFound, RunFailed
from holdfast_client.sync import Holdfast, Turning
from tests.support.wait import wait_until
from tests.unit.local.stub_gateway import RUN_ID, Connection, StubGateway, deltas, listening, problem, run_shown

RUN = f"GET /v1/runs/{RUN_ID}"
DONE = ("1-9", "run.completed", {"output": None})
ROOT = Path(__file__).parents[3]


@pytest.fixture
def stub() -> StubGateway:
    return StubGateway()


@pytest.fixture
def holdfast(stub: StubGateway) -> Iterator[Holdfast]:
    with Holdfast("http://gateway.test", "", transport=stub.transport()) as client:
        yield client
    assert "holdfast-client" not in {thread.name for thread in threading.enumerate()}


def test_a_run_from_submit_to_its_result(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {"POST /v1/runs": run_shown(status="queued"), RUN: run_shown(output="hi")}
    run = holdfast.submit("assistant", {}, thread="chat")
    assert run.id == RUN_ID
    stub.connections = [Connection([*deltas("h")], cut=True), Connection([*deltas("i", first=2), DONE])] * 3
    assert [str(event.id) for event in run.events()] == ["1-1", "1-2", "1-9"]
    assert [transcript.text for transcript in run.transcript(live=True)] == ["h", "hi", "hi"]
    assert run.transcript().text == "hi"
    assert run.result() == "hi"
    assert run.state is not None
    assert run.state.ended


def test_errors_and_lists_are_the_same(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {
        RUN: [problem(404, "run_not_found", "no run"), run_shown(status="failed", error={"code": "stalled"})],
        "GET /v1/agents": {"items": [{"name": "echo"}], "next_cursor": None},
    }
    with pytest.raises(NotFound):
        holdfast.run(RUN_ID).refresh()
    with pytest.raises(RunFailed):
        holdfast.run(RUN_ID).result()
    assert [agent.name for agent in holdfast.agents()] == ["echo"]


async def test_leaving_a_loop_lets_go_of_the_connection(stub: StubGateway) -> None:
    stub.connections = [Connection([*deltas("a", "b")], stays=True)]

    def first() -> str:
        for event in client.run(RUN_ID).events():
            return str(event.id)
        raise AssertionError("no event")

    async with listening(stub) as url:
        client = Holdfast(url, "")
        assert await asyncio.to_thread(first) == "1-1"
        await wait_until(lambda: stub.left == 1, description="the gateway sees that the reader has gone")
        await asyncio.to_thread(client.close)


def test_a_closed_client_says_so_and_may_be_closed_again(stub: StubGateway) -> None:
    stub.connections = [Connection([*deltas("a", "b")], stays=True)]
    client = Holdfast("http://gateway.test", "", transport=stub.transport())
    events = client.run(RUN_ID).events()
    next(events)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(events)
    with pytest.raises(RuntimeError, match="closed"):
        client.agents()


async def test_who_waits_while_another_thread_closes_the_client_is_told(stub: StubGateway) -> None:
    stub.answers = {RUN: run_shown(status="running")}
    stub.connections = [Connection(stays=True)]
    client = Holdfast("http://gateway.test", "", transport=stub.transport())
    waiting = asyncio.create_task(asyncio.to_thread(client.run(RUN_ID).result))
    await wait_until(lambda: stub.cursors, description="the stream is followed")
    await asyncio.to_thread(client.close)
    with pytest.raises(RuntimeError, match="closed"):
        await waiting


def test_what_interrupts_a_call_ends_what_it_was_doing() -> None:
    """A signal's handler raises in the main thread, as Ctrl-C does."""
    ended = threading.Event()

    async def work() -> None:
        main = threading.main_thread().ident
        assert main is not None
        asyncio.get_running_loop().call_later(0.05, signal.pthread_kill, main, signal.SIGUSR1)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    turning = Turning()
    try:
        with pytest.raises(KeyboardInterrupt):
            turning.wait(work())
        assert ended.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
        turning.close()


def test_an_iterator_that_is_collected_on_the_loops_thread_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = threading.Event()
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def collect() -> None:
        gc.collect()

    turning = Turning()
    held: list[object] = [turning.iterate(endless())]
    next(cast("Iterator[int]", held[0]))
    held.append(held)
    del held
    try:
        turning.wait(collect())
        assert closed.wait(2)
        assert raised == []
    finally:
        turning.close()


def test_what_is_asked_while_the_loop_is_closed_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last turn is over, and it is not closed yet."""
    turning = Turning()
    told: list[str] = []
    join = turning._thread.join

    async def nothing() -> None: ...

    def ask() -> None:
        try:
            turning.wait(nothing())
        except RuntimeError as error:
            told.append(str(error))

    def ask_then() -> None:
        join()
        late = threading.Thread(target=ask, daemon=True)
        late.start()
        late.join(2)

    monkeypatch.setattr(turning._thread, "join", ask_then)
    turning.close()
    assert told == ["this client is closed"]


def test_several_threads_may_close_it_at_once(stub: StubGateway) -> None:
    failed: list[BaseException] = []

    def close(client: Holdfast) -> None:
        try:
            client.close()
        except BaseException as error:
            failed.append(error)

    for _ in range(20):
        client = Holdfast("http://gateway.test", "", transport=stub.transport())
        threads = [threading.Thread(target=close, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert failed == []


_FORKED = """
import os, signal, sys
from holdfast_client.sync import Turning

async def one():
    return 1

turning = Turning()
child = os.fork()
signal.alarm(10)
if not child:
    try:
        turning.wait(one())
    except RuntimeError as error:
        print(error, flush=True)
    sys.exit()
print(os.waitpid(child, 0)[1], turning.wait(one()), flush=True)
"""


def test_a_forked_process_is_told_to_make_its_own_and_leaves_its_parents_alone() -> None:
    command = [sys.executable, "-c", _FORKED]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
    assert (ran.stdout, ran.stderr) == ("this client was made before a fork: make one in each process\n0 1\n", "")


_FORGETFUL = """
import asyncio
from holdfast_client.sync import Turning

async def endless():
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)

turning = Turning()
events = turning.iterate(endless())
next(events)
print("held", flush=True)
"""


def test_a_program_that_forgets_to_close_still_ends() -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", _FORGETFUL]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "held\n", "")
    assert time.monotonic() - started < 15
