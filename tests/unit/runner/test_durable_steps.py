"""What a step, a wait and a gather do in one attempt and the next, over a log and a record in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from holdfast.errors import AgentFailed
from holdfast_agent import NeedsPersonError, OnUnknown, PermanentError, Retry, RetryableError, Run
from holdfast_runner.execution import Stop
from tests.support.wait import wait_until
from tests.unit.runner.test_execution import World, turns

AgentFunction = Callable[[Run], Awaitable[Any]]
NOW_RETRY = Retry(tries=3, first_delay_s=0.0, delay_s_max=0.0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Fakes in place of stream and store."""
    made = World()
    made.log.install(monkeypatch)
    made.record.install(monkeypatch)
    monkeypatch.setattr("holdfast_runner.execution._UNWIND_TIMEOUT_S", 0.05)
    monkeypatch.setattr("holdfast_runner.waiting._SETTLE_S", 0.0)
    return made


async def play(world: World, agent: AgentFunction) -> None:
    """One attempt, to its end."""
    _, running = world.begin(agent)
    async with asyncio.timeout(5):
        await running


async def die_in_step(world: World, agent: AgentFunction, position: str = "0") -> None:
    """An attempt whose process dies while a step is worked on."""
    _, running = world.begin(agent)
    await wait_until(
        lambda: position in world.record.steps and world.record.steps[position].status == "started",
        description="the step was begun",
    )
    await turns()
    running.cancel()
    await asyncio.wait({running})
    world.record.reclaim()


def never_ends(calls: list[str]) -> Callable[[], Awaitable[str]]:
    """Work that hangs the first time, and is done the second."""

    async def work() -> str:
        calls.append("called")
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "done"

    return work


async def test_f51_a_tool_of_unknown_outcome_is_asked_about_and_not_called_again(world: World) -> None:
    calls: list[str] = []
    work = never_ends(calls)

    async def agent(run: Run) -> str:
        return await run.step("charge", work)

    await die_in_step(world, agent)
    await play(world, agent)
    assert calls == ["called"]
    assert world.record.run.status == "waiting"
    [wait] = world.record.waits.values()
    assert (wait.kind, wait.position, wait.question["step"]["name"]) == ("unknown", "0", "charge")
    assert world.types()[-2:] == ["step.started", "run.waiting"]


@pytest.mark.parametrize(
    ("answer", "status", "called"), [("completed", "completed", 1), ("retry", "completed", 2), ("failed", "failed", 1)]
)
async def test_f51_the_answer_decides_what_becomes_of_an_unknown_step(
    world: World, answer: str, status: str, called: int
) -> None:
    calls: list[str] = []
    work = never_ends(calls)

    async def agent(run: Run) -> str:
        return await run.step("charge", work)

    await die_in_step(world, agent)
    await play(world, agent)
    world.record.wake()
    error = {"code": "unknown_outcome", "message": "a person says no"} if answer == "failed" else None
    world.record.steps["0"] = replace(world.record.steps["0"], status=answer, output="by hand", error=error)
    await play(world, agent)
    assert (world.record.run.status, len(calls)) == (status, called)


@dataclass
class Receipt:
    """What a tool of the next test returns."""

    number: int


async def test_f51_a_result_by_hand_is_what_the_step_s_function_says_that_it_returns(world: World) -> None:
    async def charge() -> Receipt:
        await asyncio.Event().wait()
        return Receipt(1)

    async def agent(run: Run) -> int:
        return (await run.step("charge", charge)).number

    await die_in_step(world, agent)
    await play(world, agent)
    [wait] = world.record.waits.values()
    problems = [
        Draft202012Validator(wait.schema).is_valid({"outcome": "done", "result": each}) for each in ({"number": 7}, "x")
    ]
    assert problems == [True, False]
    world.record.wake()
    world.record.steps["0"] = replace(world.record.steps["0"], output={"number": 7})
    await play(world, agent)
    assert world.record.run.output == 7


@pytest.mark.parametrize("how", ["step", "run", "agent"])
async def test_f51_on_unknown_fail_fails_the_step_without_calling_it(world: World, how: str) -> None:
    calls: list[str] = []
    work = never_ends(calls)

    async def agent(run: Run) -> str:
        return await run.step("charge", work, on_unknown="fail" if how == "step" else None)

    if how == "run":
        world.record.run = replace(world.record.run, on_unknown="fail")
    if how == "agent":
        world.on_unknown = OnUnknown.FAIL
    await die_in_step(world, agent)
    await play(world, agent)
    assert (world.record.run.status, len(calls)) == ("failed", 1)
    assert world.record.run.error is not None
    assert world.record.run.error["code"] == "unknown_outcome"
    assert world.types()[-3:] == ["step.started", "step.failed", "run.failed"]


async def test_f51_an_idempotent_step_is_tried_again_with_the_same_key(world: World) -> None:
    keys: list[tuple[str, int]] = []

    async def agent(run: Run) -> str:
        async def work() -> str:
            keys.append((run.idempotency_key, run.tries))
            if len(keys) == 1:
                await asyncio.Event().wait()
            return "done"

        return await run.step("ship", work, idempotent=True)

    await die_in_step(world, agent)
    await play(world, agent)
    key = f"{world.record.run.id}/0"
    assert keys == [(key, 1), (key, 2)]


async def test_f56_each_try_is_shown_and_journalled_and_only_the_last_one_s_text_stays(world: World) -> None:
    async def agent(run: Run) -> str:
        async def work() -> str:
            run.emit_text(f"try {run.tries} ")
            if run.tries < 3:
                raise ConnectionError("busy")
            return "done"

        return await run.step("fetch", work, retry=NOW_RETRY)

    await play(world, agent)
    told = [(event.type, event.data.get("try"), event.data.get("will_retry")) for event in world.log.events]
    assert [each for each in told if each[0].startswith("step.")] == [
        ("step.started", 1, None),
        ("step.failed", 1, True),
        ("step.started", 2, None),
        ("step.failed", 2, True),
        ("step.started", 3, None),
        ("step.completed", None, None),
    ]
    assert [each["try"] for each in world.record.steps["0"].errors] == [1, 2]
    assert world.record.answer == "try 3 "


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (RetryableError("busy"), 3),
        (PermanentError("refused"), 1),
        (ConnectionError("busy"), 3),
        (AgentFailed("code", "no"), 1),
    ],
)
async def test_errors_are_classed_and_the_class_decides(world: World, error: Exception, tries: int) -> None:
    calls: list[int] = []

    async def agent(run: Run) -> None:
        async def work() -> None:
            calls.append(run.tries)
            raise error

        await run.step("fetch", work, retry=NOW_RETRY)

    await play(world, agent)
    assert calls == list(range(1, tries + 1))
    assert world.record.steps["0"].status == "failed"


async def test_an_error_that_needs_a_person_has_the_run_wait_for_one(world: World) -> None:
    async def agent(run: Run) -> None:
        async def work() -> None:
            raise NeedsPersonError("the card was declined twice")

        await run.step("charge", work, retry=NOW_RETRY)

    await play(world, agent)
    [wait] = world.record.waits.values()
    assert "The card was declined twice" in wait.question["text"]
    assert (world.record.run.status, world.record.steps["0"].status) == ("waiting", "started")


@pytest.mark.parametrize(("on_unknown", "status"), [("ask", "waiting"), ("fail", "failed"), ("retry", "completed")])
async def test_a_try_that_takes_too_long_has_an_unknown_outcome(world: World, on_unknown: str, status: str) -> None:
    calls: list[str] = []
    work = never_ends(calls)

    async def agent(run: Run) -> str:
        return await run.step("slow", work, on_unknown=on_unknown, retry=NOW_RETRY, timeout_s=0.01)

    await play(world, agent)
    assert world.record.run.status == status
    assert len(calls) == (2 if on_unknown == "retry" else 1)


async def test_a_gather_waits_for_all_and_what_waits_in_it_does_not_stop_the_others(world: World) -> None:
    gate = asyncio.Event()

    async def agent(run: Run) -> list[Any]:
        async def work() -> str:
            await gate.wait()
            return "worked"

        async def both() -> list[Any]:
            return [await run.step("one", work), await run.step("two", work)]

        return await run.gather(run.ask("which?"), both())

    _, running = world.begin(agent)
    await turns(200)
    assert world.record.run.status == "running", "a step is being worked on"
    gate.set()
    await running
    assert world.record.run.status == "waiting"
    assert {position: step.status for position, step in world.record.steps.items()} == {
        "0.0": "started",
        "0.1": "completed",
        "0.1.1": "completed",
    }
    world.record.wake()
    await play(world, agent)
    assert world.record.run.output == ["0.0", ["worked", "worked"]]


async def test_an_answer_is_told_once_by_the_owner_that_comes_next(world: World) -> None:
    async def agent(run: Run) -> str:
        run.emit_text("before ")
        answer: str = await run.ask("which?")
        run.emit_text("after")
        return answer

    await play(world, agent)
    world.record.wake()
    await play(world, agent)
    assert world.types() == [
        "run.started", "text.delta", "step.started", "run.waiting",
        "run.resumed", "step.started", "step.completed", "text.delta", "run.completed",
    ]  # fmt: skip
    assert world.record.answer == "before after"


async def test_a_cancel_wins_over_a_suspension(world: World) -> None:
    async def agent(run: Run) -> None:
        await run.ask("which?")

    execution, running = world.begin(agent)
    execution.stop(Stop.CANCEL)
    await running
    assert world.record.run.status == "cancelled"


async def test_waiting_within_a_step_s_work_is_refused(world: World) -> None:
    async def agent(run: Run) -> None:
        async def work() -> None:
            await run.ask("which?")

        await run.step("outer", work)

    await play(world, agent)
    assert world.record.run.error is not None
    assert "within the work of a step" in world.record.run.error["message"]


async def test_keyed_steps_run_side_by_side_and_are_found_again(world: World) -> None:
    calls: list[str] = []
    hang = asyncio.Event()

    async def agent(run: Run) -> list[str]:
        async def tool(name: str) -> str:
            calls.append(name)
            if name == "b" and calls.count("b") == 1:
                await hang.wait()
            return name

        # as a library does it: in tasks of its own, and in another order each time
        order = "abc" if run.attempt == 1 else "cba"
        tasks = [asyncio.create_task(run.step("tool", tool, name, call_id=name, idempotent=True)) for name in order]
        return sorted(await asyncio.gather(*tasks))

    await die_in_step(world, agent, "0.1")
    await play(world, agent)
    assert world.record.run.output == ["a", "b", "c"]
    assert sorted(calls) == ["a", "b", "b", "c"]
    assert sorted(world.record.steps) == ["0.0", "0.1", "0.2"]


async def test_f20_an_agent_whose_code_has_changed_is_interrupted_and_its_own_code_fails(world: World) -> None:
    async def agent(run: Run) -> None:
        async def work() -> str:
            return "done"

        await run.step("old" if run.attempt == 1 else "new", work)
        if run.attempt == 1:
            await asyncio.Event().wait()

    for version, status in (("2", "interrupted"), ("1", "failed")):
        world.record.steps.clear()
        world.record.run = replace(world.record.run, status="queued", attempt=0, terminal_event_id=None)
        world.log.vanish()
        world.version = "1"
        _, running = world.begin(agent)
        await wait_until(
            lambda: "0" in world.record.steps and world.record.steps["0"].finished, description="a finished step"
        )
        running.cancel()
        await asyncio.wait({running})
        world.record.reclaim()
        world.version = version
        await play(world, agent)
        assert world.record.run.status == status
        assert world.record.run.error is not None
        assert world.record.run.error["code"] == "diverged"
        assert "step 0: the journal has tool 'old'" in world.record.run.error["message"]
        assert world.types()[-1] == f"run.{status}"


async def test_a_drain_lets_steps_side_by_side_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast_runner.execution._AFTER_STEP_S", 0.0)
    short, long = asyncio.Event(), asyncio.Event()

    async def agent(run: Run) -> None:
        async def line(gate: asyncio.Event) -> None:
            await run.step("one", gate.wait)
            await run.step("two", gate.wait)

        await run.gather(line(short), line(long))

    execution, running = world.begin(agent)
    await turns()
    execution.stop(Stop.RELEASE)
    short.set()
    await turns()
    assert not running.done(), "the long one is still at work"
    long.set()
    await running
    assert {position: step.status for position, step in world.record.steps.items()} == {
        "0.0": "completed",
        "0.1": "completed",
    }
    assert world.record.run.status == "queued"
