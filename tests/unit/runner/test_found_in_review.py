"""What a review of the durable steps has found: each of these says what should be, over a log and a record in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast.errors import AgentFailed
from holdfast.runs import Fold
from holdfast.store import owner
from holdfast_agent import NeedsPersonError, Run
from holdfast_runner.execution import Stop
from tests.support.wait import wait_until
from tests.unit.runner.test_durable_steps import die_in_step, play
from tests.unit.runner.test_execution import World, turns


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Fakes in place of stream and store."""
    made = World()
    made.log.install(monkeypatch)
    made.record.install(monkeypatch)
    monkeypatch.setattr("holdfast_runner.execution._UNWIND_TIMEOUT_S", 0.05)
    monkeypatch.setattr("holdfast_runner.execution._AFTER_STEP_S", 0.0)
    monkeypatch.setattr("holdfast_runner.waiting._SETTLE_S", 0.0)
    return made


def shown(world: World) -> str:
    """The text of a viewer who has read the log to its end."""
    fold = Fold()
    for event in world.log.events:
        fold.apply(event.id, event.type, event.data)
    return fold.text


async def nothing() -> str:
    """Work that is done at once."""
    return "done"


# -- what is shown and what is recorded ----------------------------------------------------------------------------------


async def test_a_cancel_between_a_step_s_end_and_its_checkpoint_keeps_the_text_that_viewers_have(world: World) -> None:
    async def agent(run: Run) -> None:
        run.emit_text("before ")

        async def call() -> None:
            run.emit_text("answer")
            world.record.away = True

        await run.model("step", 1, call)

    execution, running = world.begin(agent)
    await wait_until(lambda: "step.completed" in world.types(), description="the step's end is in the log")
    execution.stop(Stop.CANCEL)
    await turns()
    world.record.away = False
    await running
    assert world.record.run.status == "cancelled"
    assert world.record.answer == shown(world) == "before answer"


async def test_a_tool_that_its_library_cancels_as_it_ends_is_committed_and_not_unknown(world: World) -> None:
    calls: list[str] = []

    async def agent(run: Run) -> str:
        async def charge() -> None:
            calls.append("charged")
            run.emit_text("charged ")
            world.record.away = run.attempt == 1

        async def refused() -> None:
            await wait_until(lambda: "step.completed" in world.types(), description="the other one's end is in the log")
            raise ValueError("no")

        run.emit_text("before ")
        tasks = [asyncio.create_task(run.step("charge", charge, call_id="a"))]
        tasks.append(asyncio.create_task(refused()))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        tasks[0].cancel()
        asyncio.get_running_loop().call_later(0.01, setattr, world.record, "away", False)
        await asyncio.wait(tasks)
        await run.step("after", nothing)
        return "done"

    await play(world, agent)
    assert calls == ["charged"]
    assert world.record.answer == shown(world) == "before charged "
    assert world.record.steps["0.0"].status == "completed"


async def test_what_an_agent_shows_while_it_is_suspended_does_not_silence_what_it_shows_later(world: World) -> None:
    async def agent(run: Run) -> None:
        run.emit_text("a ")
        try:
            await run.ask("which?")
            run.emit_text("b ")
        finally:
            run.emit_text("end")

    await play(world, agent)
    world.record.wake()
    await play(world, agent)
    assert world.record.answer == shown(world) == "a b end"


async def test_a_value_shown_before_a_suspension_is_the_same_after_it(world: World) -> None:
    async def agent(run: Run) -> float:
        async def other() -> float:
            await run.step("one", nothing)
            value = run.random()
            run.emit_text(f"{value!r}")
            return value

        _, value = await run.gather(run.ask("which?"), other())
        return float(value)

    await play(world, agent)
    world.record.wake()
    await play(world, agent)
    assert world.record.answer == f"{world.record.run.output!r}"


async def test_a_value_that_the_opening_of_an_unknown_wait_has_carried_is_recorded(world: World) -> None:
    """It is taken before, and the step that depends on it begins after."""
    hang = asyncio.Event()

    async def agent(run: Run) -> None:
        async def line() -> None:
            if run.attempt == 1:
                await hang.wait()
            value = run.random()
            await turns()  # a look at the history, say
            await run.step("note", noted, value)

        async def noted(value: float) -> None: ...

        await run.gather(line(), run.step("charge", hang.wait))

    await die_in_step(world, agent, "0.1")
    await play(world, agent)
    assert {position: step.status for position, step in world.record.steps.items()} == {
        "0.0": "completed",
        "0.1": "started",
    }
    assert world.record.run.status == "waiting"
    world.record.wake()
    await play(world, agent)
    assert (world.record.run.status, world.record.run.error) == ("completed", None)


async def test_an_emit_that_was_refused_is_not_counted_as_shown(world: World) -> None:
    async def agent(run: Run) -> None:
        try:
            run.emit("chart", object())
        except AgentFailed:
            run.emit_text("no chart ")
        await run.ask("which?")
        run.emit_text("after")

    await play(world, agent)
    world.record.wake()
    await play(world, agent)
    assert world.record.answer == "no chart after"


# -- waits ---------------------------------------------------------------------------------------------------------------


async def test_two_keyed_steps_that_wait_within_a_branch_suspend_the_run(world: World) -> None:
    async def agent(run: Run) -> None:
        async def work() -> None:
            raise NeedsPersonError("look")

        async def branch() -> None:
            await asyncio.gather(*(run.step("tool", work, call_id=name) for name in "ab"))

        await run.gather(branch())

    _, running = world.begin(agent)
    await asyncio.wait({running}, timeout=1.0)
    ended = running.done()
    running.cancel()
    await asyncio.wait({running})
    assert ended, "it holds its slot for ever"
    assert world.record.run.status == "waiting"


async def test_two_keyed_steps_that_wait_within_a_branch_do_not_cut_off_a_third(world: World) -> None:
    gate, cut = asyncio.Event(), []

    async def agent(run: Run) -> None:
        async def work() -> None:
            raise NeedsPersonError("look")

        async def long() -> None:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                cut.append("cut off")
                raise

        async def branch() -> None:
            two = [run.step("tool", work, call_id=name) for name in "ab"]
            await asyncio.gather(*two, run.step("long", long, call_id="c"))

        await run.gather(branch())

    _, running = world.begin(agent)
    await turns(200)
    try:
        assert not cut, "a tool is at work"
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_f51_work_that_needs_a_person_is_not_done_again_because_something_else_was_answered(world: World) -> None:
    calls: list[str] = []

    async def agent(run: Run) -> None:
        async def work() -> None:
            calls.append("called")
            raise NeedsPersonError("the account is locked")

        await run.gather(run.ask("which?"), run.step("charge", work, idempotent=True))

    await play(world, agent)
    assert sorted(wait.kind for wait in world.record.waits.values()) == ["ask", "unknown"]
    world.record.wake()  # the ask is answered; nobody has said anything of the other
    await play(world, agent)
    assert calls == ["called"]


async def test_a_child_that_runs_is_waited_for_even_when_its_agent_is_not_loaded_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [True]

    async def agent_of(db: Any, name: str) -> Any:
        return SimpleNamespace(pool="default", input_schema={}) if loaded[0] else None

    monkeypatch.setattr(owner, "agent_of", agent_of)

    async def fresh_id(db: Any) -> UUID:
        return uuid4()

    monkeypatch.setattr(owner, "fresh_id", fresh_id)

    async def agent(run: Run) -> None:
        await run.gather(run.ask("which?"), run.call("other", {}))

    await play(world, agent)
    assert world.record.run.status == "waiting"
    assert sorted(wait.kind for wait in world.record.waits.values()) == ["ask", "child"]
    [ask] = [wait.id for wait in world.record.waits.values() if wait.kind == "ask"]
    world.record.waits = {ask: world.record.waits[ask], **world.record.waits}
    world.record.wake()
    loaded[0] = False
    await play(world, agent)
    assert world.record.steps["0.1"].status == "started", "the child is at work, and has not failed"


async def test_what_a_person_is_shown_of_a_failure_is_what_the_record_can_hold(world: World) -> None:
    async def agent(run: Run) -> None:
        async def work() -> None:
            raise NeedsPersonError("\x00" + "x" * 3_000_000)

        await run.step("charge", work)

    await play(world, agent)
    assert world.record.run.status == "waiting"
    [wait] = world.record.waits.values()
    assert "\x00" not in wait.question["text"]


async def test_a_failure_that_needs_a_person_is_in_the_step_s_errors(world: World) -> None:
    calls: list[str] = []

    async def agent(run: Run) -> None:
        async def work() -> None:
            calls.append("called")
            if len(calls) == 1:
                raise NeedsPersonError("look")

        await run.step("charge", work)

    await play(world, agent)
    world.record.wake()
    world.record.steps["0"] = replace(world.record.steps["0"], status="retry", finished_at=None)
    await play(world, agent)
    assert world.record.run.status == "completed"
    assert [each["try"] for each in world.record.steps["0"].errors] == [1]


# -- divergence ----------------------------------------------------------------------------------------------------------


async def test_f20_a_divergence_is_told_though_another_branch_waits(world: World) -> None:
    async def agent(run: Run) -> None:
        async def line() -> None:
            await run.step("old" if run.attempt == 1 else "new", nothing)

        await run.gather(run.ask("which?"), run.ask("and what?"), line())

    await play(world, agent)
    world.record.wake()
    world.version = "2"
    await play(world, agent)
    assert world.record.run.status == "interrupted"


async def test_f20_work_that_swallows_a_divergence_is_not_finished(world: World) -> None:
    gate = asyncio.Event()

    async def agent(run: Run) -> str:
        async def work() -> str:
            try:
                await run.step("old" if run.attempt == 1 else "new", nothing, call_id="a")
            except AgentFailed:
                return "the tool did not work"
            await gate.wait()
            return "done"

        return await run.step("outer", work, idempotent=True)

    _, running = world.begin(agent)
    await wait_until(
        lambda: "0.0.0" in world.record.steps and world.record.steps["0.0.0"].finished, description="the inner one"
    )
    running.cancel()
    await asyncio.wait({running})
    world.record.reclaim()
    world.version = "2"
    await play(world, agent)
    assert world.record.run.status == "interrupted"
    assert world.record.steps["0"].status == "started"


async def test_steps_within_the_work_of_one_that_failed_as_unknown_are_no_divergence(world: World) -> None:
    gate = asyncio.Event()

    async def agent(run: Run) -> str:
        async def work() -> str:
            await run.step("inner", nothing, call_id="a")
            await gate.wait()
            return "done"

        try:
            return await run.step("outer", work, on_unknown="fail")
        except AgentFailed as failed:
            return failed.code

    _, running = world.begin(agent)
    await wait_until(
        lambda: "0.0.0" in world.record.steps and world.record.steps["0.0.0"].finished, description="the inner one"
    )
    running.cancel()
    await asyncio.wait({running})
    world.record.reclaim()
    await play(world, agent)
    assert (world.record.run.status, world.record.run.output) == ("completed", "unknown_outcome")


# -- stops ---------------------------------------------------------------------------------------------------------------


async def test_work_that_a_drain_cut_off_has_not_failed_whatever_it_makes_of_that(world: World) -> None:
    started = asyncio.Event()

    async def agent(run: Run) -> None:
        async def work() -> None:
            async def cleanup_fails() -> None:
                try:
                    started.set()
                    await asyncio.Event().wait()
                finally:
                    raise ConnectionError("closed")

            async with asyncio.TaskGroup() as group:  # raises its tasks' errors, and not that it was cancelled
                group.create_task(cleanup_fails())

        await run.step("charge", work)

    execution, running = world.begin(agent)
    await started.wait()
    execution.stop(Stop.RELEASE)
    execution.interrupt()  # the grace is over
    await running
    assert world.record.run.status == "queued"
    assert world.record.steps["0"].status == "started", "nobody knows what it did"


async def test_the_same_call_id_twice_at_once_within_a_step_does_not_do_its_work_twice_under_one_intent(
    world: World,
) -> None:
    calls: list[str] = []

    async def agent(run: Run) -> None:
        async def tool() -> None:
            calls.append("called")
            await asyncio.sleep(0)

        async def work() -> None:
            await asyncio.gather(*(run.step("tool", tool, call_id="a") for _ in range(2)), return_exceptions=True)

        await run.step("outer", work)

    await play(world, agent)
    assert len(calls) == 1


def test_sys_exit_in_a_branch_ends_the_run_and_not_the_pod() -> None:
    async def attempt() -> str:
        world = World()
        with pytest.MonkeyPatch.context() as patched:
            world.log.install(patched)
            world.record.install(patched)

            async def agent(run: Run) -> None:
                async def line() -> None:
                    raise SystemExit(1)

                await run.gather(line())

            await play(world, agent)
        return world.record.run.status

    try:
        status = asyncio.run(attempt())
    except SystemExit:
        status = "the process has ended"
    assert status == "failed"
