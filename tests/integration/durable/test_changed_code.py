"""An agent that is changed while its run is in flight either replays cleanly or is diverged, and nobody's tools run twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.durable.conftest import Waits
from tests.support.kills.counter import CounterServer
from tests.support.kills.twelve_steps import COUNTER_ENV
from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

CODE = '''"""An agent, generation {generation}."""

import asyncio
import os

import httpx2

from holdfast_agent import Run, agent


@agent("changing")
async def changing(run: Run) -> list[str]:
    """Does a few things to the world outside."""

    async def count(name: str, hang: bool = False) -> str:
        async with httpx2.AsyncClient(timeout=10) as client:
            await client.post(f"{{os.environ['HOLDFAST_TEST_COUNTER']}}/{{run.id}}/{{name}}", json=None)
        if hang:
            await asyncio.Event().wait()
        return name

    done = []
    {body}
    return done
'''
DOES = 'done.append(await run.step("{0}", count, "{0}"))'
HANGS = 'done.append(await run.step("{0}", count, "{0}", True, on_unknown="{1}"))'


class Changing(Waits):
    """A stack whose runner has an agent that tests rewrite."""

    def write(self, *lines: str) -> None:
        """Another state of the code."""
        text = CODE.format(generation=" ".join(lines), body="\n    ".join(lines))
        (self.stack.folder / "changing.py").write_text(text)

    async def restart(self) -> None:
        """The runner dies, and comes back with the code as it is now."""
        runner = self.stack.services["runner-1"]
        runner.kill()
        await runner.start()

    async def in_step(self, name: str, **body: str) -> str:
        """A run that has just called a tool, which hangs."""
        run_id = await self.submit("changing", {}, **body)
        await wait_until(lambda: self.counter.calls(run_id).get(name) == 1, description=f"{name} was called")
        return run_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[Changing]:
    """See :class:`Changing`."""
    async with Stack() as stack:
        with CounterServer() as counter:
            made = Changing(stack, counter)
            made.write(DOES.format("one"))
            path: Path = stack.folder / "changing.py"
            await stack.start(runners=0)
            await stack.add("runner", "runner-1", {"HOLDFAST_AGENTS": str(path), COUNTER_ENV: counter.url})
            yield made


async def test_f20_changed_code_that_asks_for_the_same_steps_replays(world: Changing) -> None:
    two = HANGS.format("two", "retry")
    world.write(DOES.format("one"), two)
    await world.restart()
    run_id = await world.in_step("two")
    world.write("# another line of code", DOES.format("one"), two, DOES.format("three"))
    await world.restart()
    await wait_until(lambda: world.counter.calls(run_id).get("two") == 2, description="two is tried again")
    attempts = (await world.call("GET", f"/runs/{run_id}/attempts"))[1]["items"]
    assert len({attempt["code_version"] for attempt in attempts}) == 2
    assert world.counter.calls(run_id) == {"one": 1, "two": 2}
    await world.call("POST", f"/runs/{run_id}/cancel")
    await world.stack.until_status(run_id, "cancelled")


async def test_f20_f52_a_run_whose_code_has_changed_is_interrupted_and_the_old_code_goes_on(world: Changing) -> None:
    old = (DOES.format("one"), DOES.format("two"), HANGS.format("three", "ask"))
    world.write(*old)
    await world.restart()
    run_id = await world.in_step("three")
    viewer = Viewer(world.stack.url, run_id)
    world.write(DOES.format("one"), DOES.format("other"), DOES.format("three"))
    await world.restart()
    run = await world.stack.until_status(run_id, "interrupted")
    assert run["error"]["code"] == "diverged"
    assert "step 1: the journal has tool 'two'" in run["error"]["message"]
    assert "the agent now asks for tool 'other'" in run["error"]["message"]
    assert world.counter.calls(run_id) == {"one": 1, "two": 1, "three": 1}, "nothing was run"
    await viewer.follow()
    assert viewer.types()[-1] == "run.interrupted"
    [_, _, unknown] = await world.steps(run_id)
    assert (unknown["name"], unknown["unknown"]) == ("three", True)

    world.write(*old)
    await world.restart()
    status, _ = await world.call("POST", f"/runs/{run_id}/resume")
    assert status == 202
    await world.answer(run_id, {"outcome": "done", "result": "three"})
    run = await world.stack.until_status(run_id, "completed")
    assert run["output"] == ["one", "two", "three"]
    assert world.counter.calls(run_id) == {"one": 1, "two": 1, "three": 1}


async def test_f52_the_code_that_wrote_the_journal_fails_when_it_leaves_it(world: Changing) -> None:
    world.write(
        DOES.format("one"),
        "name = 'two' if run.attempt == 1 else 'other'",
        HANGS.replace('"{0}"', "name").format("", "ask"),
    )
    await world.restart()
    run_id = await world.in_step("two")
    await world.restart()
    run = await world.stack.until_status(run_id, "failed")
    assert run["error"]["code"] == "diverged"
    assert "step 1: the journal has tool 'two'" in run["error"]["message"]
    assert world.counter.calls(run_id) == {"one": 1, "two": 1}


async def test_a_run_that_is_to_be_asked_about_its_lost_owner_is_interrupted_and_resumed(world: Changing) -> None:
    world.write(DOES.format("one"), HANGS.format("two", "ask"))
    await world.restart()
    run_id = await world.in_step("two", on_owner_lost="interrupt")
    await world.restart()
    await world.stack.until_status(run_id, "interrupted")
    [one, two] = await world.steps(run_id)
    assert [(step["status"], step["unknown"]) for step in (one, two)] == [("completed", False), ("started", True)]
    status, _ = await world.call("POST", f"/runs/{run_id}/resume")
    assert status == 202
    await world.answer(run_id, {"outcome": "fail", "message": "it was not"})
    run = await world.stack.until_status(run_id, "failed")
    assert "it was not" in run["error"]["message"]
    assert world.counter.calls(run_id) == {"one": 1, "two": 1}
