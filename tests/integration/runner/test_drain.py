"""Draining: claim nothing, start no new step, hand each run over where it stands, say goodbye last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from holdfast.bus import heartbeats
from holdfast.runs import Owner
from holdfast.store import Claimed, Database, owner
from tests.integration.runner.scene import Scene, first, types
from tests.integration.runner.scripts import chat, fail_until, mark, marks, say, step, thread_wait, wait
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_f03_sigterm_hands_a_run_over_at_its_step_boundary(scene: Scene, tmp_path: Path) -> None:
    gate, later = tmp_path / "gate", tmp_path / "later"
    leaving = await scene.process("leaving")
    run_id = await scene.submit(say("a "), step(say("b "), chat(gate)), say("c "), step(say("d "), mark(later)))
    await scene.until_event(run_id, "text.delta", count=5)
    async with scene.here("staying"):
        stopping = asyncio.create_task(leaving.stop())
        await wait_until(lambda: "runner.draining" in scene.stack.logs(leaving.name), description="it drains")
        assert (await scene.row(run_id)).run_owner_pod == scene.pod("leaving"), "it is in a step"
        gate.touch()
        row, log = await scene.whole(run_id)
        assert await stopping, "in good order"
        assert await scene.exit_code(leaving) == 0
    assert (row.status, row.attempt, row.crashes, marks(later)) == ("completed", 2, 0, 1)
    assert [(each.pod, each.ended_why) for each in await scene.attempts(run_id)] == [
        (scene.pod("leaving"), "released"),
        (scene.pod("staying"), "completed"),
    ]
    resumed = first(log, "run.resumed").data
    assert (resumed["reason"], resumed["from_pod"]) == ("released", scene.pod("leaving"))
    assert types(log).count("step.completed") == 2, "the finished step was not done again"


async def test_f03_goodbye_comes_last(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "gate"
    said: list[tuple[bool, str]] = []
    write = heartbeats.write

    async with scene.here() as here:
        run_id = await scene.submit(step(wait(gate)))
        await scene.until_event(run_id, "step.started")

        async def written(client: object, name: str, heartbeat: object, **more: object) -> int:
            said.append((heartbeat.goodbye, f"{len(here.runner._tasks)} runs, draining {heartbeat.draining}"))  # type: ignore[attr-defined]
            return await write(client, name, heartbeat, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(heartbeats, "write", written)
        here.stop.set()
        await wait_until(lambda: (False, "1 runs, draining True") in said, description="it says that it drains")
        gate.touch()
        await here.drain()
    assert said[-1] == (True, "0 runs, draining True")
    assert [goodbye for goodbye, _ in said].count(True) == 1
    await scene.until(run_id, "completed")


async def test_between_steps_a_run_is_handed_over_at_once(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here("a") as leaving:
        run_id = await scene.submit(step(say("a ")), wait(gate), say("b"))
        await scene.until_event(run_id, "step.completed")
        await leaving.drain()
        assert (await scene.row(run_id)).status == "queued"
        gate.touch()
        async with scene.here("b"):
            row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt, await scene.answer(run_id)) == ("completed", 2, "a b")


async def test_after_its_step_a_run_ends_here_or_is_handed_over(scene: Scene, tmp_path: Path) -> None:
    gate, never = tmp_path / "gate", tmp_path / "never"
    async with scene.here("a") as leaving:
        ends = await scene.submit(step(wait(gate)), say("the end"))
        goes_on = await scene.submit(step(wait(gate)), wait(never))
        for run_id in (ends, goes_on):
            await scene.until_event(run_id, "step.started")
        leaving.stop.set()
        await wait_until(lambda: leaving.runner._load.draining, description="it drains")
        gate.touch()
        async with asyncio.timeout(5):
            await leaving.drain()
        row, _ = await scene.whole(ends)
        assert (row.status, row.attempt) == ("completed", 1)
        assert (await scene.row(goes_on)).status == "queued"


async def test_between_two_tries_of_a_step_a_run_is_handed_over(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here("a") as leaving:
        run_id = await scene.submit(step(say("a"), fail_until(gate), tries=1000))
        await scene.until_event(run_id, "step.failed", count=2)
        await leaving.drain()
        assert (await scene.row(run_id)).status == "queued"
        gate.touch()
        async with scene.here("b"):
            row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt, await scene.answer(run_id)) == ("completed", 2, "a")


async def test_what_is_in_a_step_when_the_grace_ends_is_cancelled_and_released(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here("a", drain_grace_s=0.2) as leaving:
        run_id = await scene.submit(say("a "), step(say("b "), chat(gate)))
        await scene.until_event(run_id, "text.delta", count=5)
        await leaving.drain()
    assert (await scene.row(run_id)).status == "queued"
    assert await scene.requests_left() == 1, "it is asked for anew"
    gate.touch()
    async with scene.here("b"):
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt, row.crashes, await scene.answer(run_id)) == ("completed", 2, 0, "a b ")


async def test_a_claim_in_flight_when_the_drain_begins_is_carried_through_and_released(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, draining, begun = owner.claim_all, asyncio.Event(), asyncio.Event()

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        begun.set()
        await draining.wait()
        return await made(db, runs, me, agents)

    monkeypatch.setattr(owner, "claim_all", claim)
    async with scene.here() as here:
        run_id = await scene.submit(say("not here"))
        await begun.wait()
        here.stop.set()
        await wait_until(lambda: here.runner._load.draining, description="it drains")
        draining.set()
        await here.drain()
    row = await scene.row(run_id)
    assert (row.status, row.attempt, row.crashes) == ("queued", 1, 0)
    assert [each.ended_why for each in await scene.attempts(run_id)] == ["released"]
    monkeypatch.undo()
    async with scene.here("b"):
        await scene.whole(run_id)


async def test_a_runner_that_waits_for_requests_drains_at_once_and_leaves_none_behind(scene: Scene) -> None:
    async with scene.here("a") as here:
        async with asyncio.timeout(1.5):
            await here.drain()
    async with scene.here("b"):
        await scene.until(await scene.submit(say("at once")), "completed", timeout_s=1.5)


async def test_a_thread_that_ends_in_time_lets_its_run_be_released(scene: Scene, tmp_path: Path) -> None:
    gate, tried = tmp_path / "gate", tmp_path / "tried"
    async with scene.here("a", drain_grace_s=0.2) as leaving:
        run_id = await scene.submit(step(mark(tried), thread_wait(gate)))
        await wait_until(lambda: marks(tried) == 1, description="the thread works")
        leaving.stop.set()
        await wait_until(lambda: leaving.runner._load.draining, description="it drains")
        [execution] = leaving.runner._executions.values()
        await wait_until(lambda: execution._interrupted, description="the grace is over")
        assert (await scene.row(run_id)).status == "running", "its work has not really ended"
        gate.touch()
        await leaving.drain()
    assert (await scene.row(run_id)).status == "queued"


async def test_an_agent_that_swallows_its_interruption_is_released_all_the_same(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here("a", drain_grace_s=0.2) as leaving:
        run_id = await scene.submit(say("a "), step(wait(gate)), agent="deaf")
        await scene.until_event(run_id, "step.started")
        await leaving.drain()
    assert (await scene.row(run_id)).status == "queued"
    gate.touch()
    async with scene.here("b"):
        row, _ = await scene.whole(run_id)
    assert (row.output, row.attempt) == ("played", 2)
