"""One attempt, over a log and a record in memory: in which order it ends, and what a stop does in each phase."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from holdfast.errors import LostOwnership
from holdfast.runs import EventId, Lease, Owner
from holdfast.settings import RunnerSettings
from holdfast.store import Database
from holdfast_agent import Agent, OnUnknown, Run
from holdfast_runner.execution import Execution, Links, Stop
from holdfast_runner.work_threads import WorkThreads
from tests.support.wait import wait_until
from tests.unit.runner.fake_log import FakeLog
from tests.unit.runner.fake_record import FakeRecord


@dataclass
class World:
    """The fakes, and the attempts made over them."""

    log: FakeLog = field(default_factory=FakeLog)
    record: FakeRecord = field(default_factory=FakeRecord)
    version: str = "1"
    on_unknown: OnUnknown | None = None

    def begin(self, function: Callable[[Run], Awaitable[Any]]) -> tuple[Execution, asyncio.Task[Any]]:
        """An attempt, under way."""
        claimed = self.record.claim()
        settings = RunnerSettings(append_budget_s=0.5)
        links = Links(cast(Database, None), self.log.client, WorkThreads(threads_max=1), settings, no_child)
        lease = Lease(claimed.run.id, Owner("pod", uuid4()), claimed.run.attempt)
        execution = Execution(links, claimed, lease, Agent("agent", function, self.version, on_unknown=self.on_unknown))
        return execution, asyncio.create_task(execution.run())

    def types(self) -> list[str]:
        """The types in the log."""
        return [event.type for event in self.log.events]


async def no_child(run_id: UUID, pool: str) -> None:
    """No agent here has children."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Fakes in place of stream and store."""
    made = World()
    made.log.install(monkeypatch)
    made.record.install(monkeypatch)
    monkeypatch.setattr("holdfast_runner.execution._UNWIND_TIMEOUT_S", 0.05)
    return made


async def turns(count: int = 50) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_was_shown_is_in_the_log_before_the_record_says_that_it_is_the_end(world: World) -> None:
    async def agent(run: Run) -> None:
        world.log.gate.clear()
        run.emit_text("all")

    _, running = world.begin(agent)
    await turns()
    assert world.record.run.status == "running"
    world.log.gate.set()
    await running
    assert world.record.run.status == "completed"
    assert world.types() == ["run.started", "text.delta", "run.completed"]


async def test_what_a_step_has_shown_is_in_the_log_before_the_record_says_that_it_is_finished(world: World) -> None:
    async def agent(run: Run) -> None:
        async def call() -> None:
            world.log.gate.clear()
            run.emit_text("all")

        await run.model("step", 1, call)

    _, running = world.begin(agent)
    await turns()
    assert world.record.steps["0"].status == "started"
    world.log.gate.set()
    await running
    [finished] = [event for event in world.log.events if event.type == "step.completed"]
    assert world.record.steps["0"].last_event_id == str(finished.id)


async def test_an_agent_left_behind_cannot_take_the_terminal_event_s_id(world: World) -> None:
    """It will not be cancelled, and its step ends while the end of the run is being written."""
    gate = asyncio.Event()

    async def agent(run: Run) -> None:
        async def call() -> None:
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue

        await run.model("step", 1, call)

    execution, running = world.begin(agent)
    await turns()
    world.record.away = True
    execution.stop(Stop.CANCEL)
    await wait_until(lambda: execution._writer._sealed, description="the end is being written")
    gate.set()
    await turns()
    world.record.away = False
    await running
    assert world.types() == ["run.started", "step.started", "run.cancelled"]
    assert str(world.log.events[-1].id) == world.record.run.terminal_event_id


@pytest.mark.parametrize("again", [Stop.CANCEL, Stop.RELEASE])
async def test_a_stop_that_is_repeated_does_not_disturb_the_agent_s_cleanup(world: World, again: Stop) -> None:
    cleaning, cleaned, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def agent(run: Run) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await may_end.wait()
            cleaned.set()

    execution, running = world.begin(agent)
    await turns()
    execution.stop(Stop.CANCEL)
    await cleaning.wait()
    execution.stop(again)
    await turns()
    may_end.set()
    await running
    assert cleaned.is_set()
    assert world.record.run.status == "cancelled"


async def test_a_loss_overrides_a_cancel_and_nothing_more_is_written(world: World) -> None:
    async def agent(run: Run) -> None:
        await asyncio.Event().wait()

    execution, running = world.begin(agent)
    await wait_until(lambda: world.types() == ["run.started"], description="it has begun")
    execution.stop(Stop.CANCEL)
    execution.stop(Stop.LOST)
    assert await running is None
    assert world.record.run.status == "running"
    assert world.types() == ["run.started"]


@pytest.mark.parametrize(
    ("why", "status"), [(Stop.CANCEL, "cancelled"), (Stop.RELEASE, "queued"), (Stop.LOST, "running")]
)
async def test_a_stop_before_the_beginning_is_heeded(world: World, why: Stop, status: str) -> None:
    async def agent(run: Run) -> None:
        pytest.fail("it never runs")

    execution, running = world.begin(agent)
    execution.stop(why)
    await running
    assert world.record.run.status == status


async def test_f11_an_agent_that_swallows_the_loss_of_its_run_is_stopped(world: World) -> None:
    async def agent(run: Run) -> None:
        world.record.reclaim()
        world.record.claim()
        with pytest.raises(LostOwnership):
            await run.model("step", 1, asyncio.Event().wait)
        await asyncio.Event().wait()

    _, running = world.begin(agent)
    async with asyncio.timeout(2):
        assert await running is None
    assert "step.started" not in world.types()


async def test_a_later_attempt_in_the_log_stops_the_agent(world: World) -> None:
    async def agent(run: Run) -> None:
        world.log.write(EventId(2, 1), None)
        run.emit_text("too late")
        await asyncio.Event().wait()

    _, running = world.begin(agent)
    async with asyncio.timeout(2):
        assert await running is None
