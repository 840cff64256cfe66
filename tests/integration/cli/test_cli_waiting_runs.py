"""``answer``, ``resume``, ``fork`` and ``queue`` on a whole Holdfast, by what a person at a terminal sees and types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import environment_of
from tests.integration.cli.shell import Shell
from tests.support.stack import Stack
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow  # whole processes in every test

AGENTS = Path(__file__).with_name("waiting_agents.py")


@pytest.fixture
async def waiting_stack() -> AsyncIterator[Stack]:
    """A gateway, one runner that has the agents of these tests, and a reaper."""
    async with Stack(env={"HOLDFAST_AGENTS": str(AGENTS)}) as stack:
        await stack.start(runners=1)
        yield stack


@pytest.fixture
async def waiting_shell(waiting_stack: Stack, tmp_path: Path) -> AsyncIterator[Shell]:
    shell = Shell(tmp_path, environment_of(waiting_stack))
    yield shell
    await shell.close()


async def test_a_run_that_asks_is_answered_from_another_terminal(waiting_stack: Stack, waiting_shell: Shell) -> None:
    followed = await waiting_shell.start_on_a_terminal("run", "paint", "--agent", "painter")
    run_id = await followed.run_id()
    await followed.says(f"waits for an answer: Which colour?; answer with `holdfast answer {run_id} ANSWER`")
    await waiting_stack.until_status(run_id, "waiting")
    assert "waiting (ask)" in (await waiting_shell("ps")).out
    [question] = json.loads((await waiting_shell("answer", run_id, "--json")).out)
    refused = await waiting_shell("answer", run_id, "green")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "'green' is not one of ['red', 'blue']" in refused.err

    answered = await waiting_shell("answer", run_id, "red")
    assert (answered.code, answered.err) == (0, "")
    again = await waiting_shell("answer", run_id, "blue", "--question", question["question_id"])
    assert again.code == 1
    assert "has been answered already" in again.err

    await followed.says('May paint be called? paint {"colour": "red"}; answer with')
    await waiting_stack.until_status(run_id, "waiting")
    assert f"holdfast answer {run_id} --deny REASON" in (await waiting_shell("show", run_id)).out
    assert (await waiting_shell("answer", run_id, "--arguments", '{"colour": "blue"}')).code == 0
    ran = await followed.end()
    assert ran.code == 0
    assert ran.out.endswith("painted it blue\n")
    over = await waiting_shell("answer", run_id)
    assert (over.code, over.err) == (1, f"Error: run {run_id} has ended: it is completed\n")


@pytest.mark.slow
async def test_an_interrupted_run_is_resumed_and_forked_and_keeps_what_was_done(
    waiting_stack: Stack, waiting_shell: Shell, tmp_path: Path
) -> None:
    counted, awaited = tmp_path / "counted", tmp_path / "awaited"
    followed = await waiting_shell.start(
        "run", f"{counted} {awaited}", "--agent", "digger", "--on-owner-lost", "interrupt"
    )
    run_id = await followed.run_id()

    async def in_second_step() -> bool:
        steps = json.loads((await waiting_shell("show", run_id, "--json")).out)["steps"]
        return [step["status"] for step in steps] == ["completed", "started"]

    await wait_until(in_second_step, description="its second step")
    waiting_stack.services["runner-1"].kill()
    ended = await followed.end()
    assert ended.code == 4
    assert "\ninterrupted: owner_lost: the pod " in ended.err
    assert ended.err.endswith(f"\n— `holdfast resume {run_id}` lets it go on from its last finished step —\n")
    shown = (await waiting_shell("show", run_id)).out
    assert f"`holdfast resume {run_id}` lets it go on" in shown
    assert [step["unknown"] for step in json.loads((await waiting_shell("show", run_id, "--json")).out)["steps"]] == [
        False,
        True,
    ]

    awaited.touch()
    await waiting_stack.add("runner", "runner-2")
    resumed = await waiting_shell("resume", run_id)
    assert (resumed.code, resumed.out) == (0, "dug 1, done\n")
    refused = await waiting_shell("resume", run_id)
    assert refused.code == 1
    assert "is not interrupted: it is completed" in refused.err

    kept = await waiting_shell("fork", run_id)
    assert (kept.code, kept.out) == (0, "dug 1, done\n")
    anew = await waiting_shell("fork", run_id, "--from-position", "0", "--thread", f"t-{uuid4()}")
    assert (anew.code, anew.out) == (0, "dug 2, done\n")
    nowhere = await waiting_shell("fork", run_id, "--from-position", "77")
    assert nowhere.code == 1
    assert "lists the positions of its journal" in nowhere.err
    assert counted.read_text() == "xx"


@pytest.mark.slow
async def test_f59_a_queue_is_listed_and_edited(waiting_stack: Stack, waiting_shell: Shell) -> None:
    thread = f"t-{uuid4()}"
    first = (await waiting_shell("run", "paint", "--agent", "painter", "--thread", thread, "--detach")).out.strip()
    await waiting_stack.until_status(first, "waiting")
    second, third, fourth = [
        (await waiting_shell("run", text, "--agent", "echo", "--thread", thread, "--detach")).out.strip()
        for text in ("two", "three", "four")
    ]
    assert (await waiting_shell("queue", "remove", thread, second)).out == "removed\n"
    assert (await waiting_shell("queue", "now", thread, fourth)).out == "it is the next\n"
    assert (await waiting_shell("queue", "edit", thread, third, "drei")).out == "changed\n"
    lines = (await waiting_shell("queue", thread)).out.splitlines()[1:]
    assert [(line.split()[1], line.split()[-1]) for line in lines] == [(fourth, "four"), (third, "drei")]
    begun = await waiting_shell("queue", "edit", thread, first, "other")
    assert begun.code == 1
    assert "`holdfast queue THREAD` lists what is queued" in begun.err

    assert (await waiting_shell("cancel", first)).out == "cancelled\n"
    assert [(await waiting_shell("tail", run)).out for run in (third, fourth)] == ["drei\n", "four\n"]
    done = [await waiting_stack.run(run) for run in (second, third, fourth)]
    assert [run["status"] for run in done] == ["cancelled", "completed", "completed"]
    assert done[2]["claimed_at"] < done[1]["claimed_at"]
