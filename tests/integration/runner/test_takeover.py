"""A run outlives its runner: killed, restarted under the same name, frozen and woken. Real processes, a real reaper."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast_local.service import Service
from holdfast_runner.heartbeat import EXIT_STALLED
from holdfast_runner.service import EXIT_WORK_LEFT
from tests.integration.runner.scene import Scene, first
from tests.integration.runner.scripts import ask, block, block_once, chat, mark, marks, say, step, thread_wait, wait
from tests.support.wait import wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("reaper")]
EXIT_CONFIG = 78


async def test_f01_f50_a_restart_under_the_same_name_goes_on_at_once_and_repeats_no_finished_call(scene: Scene) -> None:
    runner = await scene.process("only")
    once, twice = f"once {scene.pool}", f"slow:10x80 {scene.pool}"
    run_id = await scene.submit(say("a "), ask(once), say("b "), ask(twice), say("c"))
    await scene.until_event(run_id, "step.started", count=2)
    await wait_until(lambda: _calls(scene, twice, at_least=1), description="the second call is in flight")
    runner.kill()
    await runner.start()
    row = await scene.until(run_id, "running", attempt=2, timeout_s=5)
    assert row.run_owner_pod == scene.pod("only")
    row, log = await scene.whole(run_id)
    assert (row.status, row.attempt, row.crashes) == ("completed", 2, 0)
    assert await scene.answer(run_id) == "a b c"
    resumed = first(log, "run.resumed")
    [finished] = [event for event in log if event.type == "step.completed" and event.id < resumed.id]
    assert resumed.data["from_pod"] == scene.pod("only")
    assert (resumed.data["reason"], resumed.data["keep_through"]) == ("owner_lost", str(finished.id))
    assert not await _calls(scene, once, at_least=2)
    assert await _calls(scene, twice, at_least=2)
    assert [(each.tries, each.attempt) for each in await scene.steps(run_id)] == [(1, 1), (2, 2)]


async def _calls(scene: Scene, text: str, *, at_least: int) -> bool:
    answer = await scene.stack.http.get(f"http://{scene.stack.mock.where}/calls")
    return int(answer.json()["by_text"].get(text, 0)) >= at_least


async def test_f11_a_frozen_pod_wakes_and_writes_nothing(scene: Scene, tmp_path: Path) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    frozen = await scene.process("frozen")
    run_id = await scene.submit(say("a "), step(say("b ")), say("c "), step(chat(gate), mark(done)), say("d"))
    await scene.until_event(run_id, "text.delta", count=10)
    frozen.pause()
    async with scene.here("other"):
        await scene.until(run_id, "running", attempt=2)
        frozen.resume()
        await wait_until(lambda: "run.lost" in scene.stack.logs(frozen.name), description="the zombie stops its run")
        gate.touch()
        row, log = await scene.whole(run_id)  # where ids grow: no event of attempt 1 after the first of attempt 2
    assert (row.status, row.attempt, marks(done)) == ("completed", 2, 1)
    assert [(each.pod, each.ended_why) for each in await scene.attempts(run_id)] == [
        (scene.pod("frozen"), "owner_lost"),
        (scene.pod("other"), "completed"),
    ]
    assert [each.attempt for each in await scene.steps(run_id)] == [1, 2]
    assert first(log, "run.resumed").data["reason"] == "owner_lost"
    assert scene.stack.logs(frozen.name).count('"run.lost"') == 1

    await scene.whole(await scene.submit(say("e")))  # what was frozen goes on serving: it is the only one now
    assert frozen.pid is not None


@pytest.mark.slow
async def test_f22_a_name_is_held_by_one_process(scene: Scene, tmp_path: Path) -> None:
    gate, name = tmp_path / "gate", scene.pod("holder")
    holder = await scene.process("holder")
    run_id = await scene.submit(step(wait(gate)))
    await scene.until(run_id, "running")

    second = await scene.process("second", ready=False, POD_NAME=name)
    assert await scene.exit_code(second) == EXIT_CONFIG
    assert f"pod name {name} is held by a live process: boot " in scene.stack.logs(second.name)
    assert f"pid {holder.pid} on host " in scene.stack.logs(second.name)

    holder.pause()
    third = await scene.process("third", POD_NAME=name)
    await scene.until(run_id, "running", attempt=2)
    holder.resume()
    assert await scene.exit_code(holder) == EXIT_CONFIG
    assert f"pod name {name} has been taken over by boot " in scene.stack.logs(holder.name)
    gate.touch()
    row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 2)
    assert third.pid is not None


async def test_f40_ids_stay_in_order_through_kills_and_a_drain(scene: Scene, tmp_path: Path) -> None:
    gates = [tmp_path / str(n) for n in range(3)]
    services = {each.name: each for each in await asyncio.gather(scene.process("a"), scene.process("b"))}
    run_id = await scene.submit(*[word for n, gate in enumerate(gates) for word in (say(f"{n}"), step(chat(gate)))])

    async def owner_in_step(attempt: int, started: int) -> Service:
        row = await scene.until(run_id, "running", attempt=attempt)
        await scene.until_event(run_id, "step.started", count=started)
        return services[str(row.run_owner_pod)]

    await owner_in_step(1, started=1)
    gates[0].touch()
    owner = await owner_in_step(1, started=2)
    owner.kill()
    await owner.start()
    owner = await owner_in_step(2, started=3)
    stopping = asyncio.create_task(owner.stop())
    await wait_until(lambda: "runner.draining" in scene.stack.logs(owner.name), description="it drains")
    gates[1].touch()
    assert await stopping, "in good order"
    gates[2].touch()
    row, log = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 3)
    resumed = [event.data["reason"] for event in log if event.type == "run.resumed"]
    assert resumed == ["owner_lost", "released"]
    assert [each.attempt for each in await scene.steps(run_id)] == [1, 2, 3]


@pytest.mark.slow
async def test_f21_an_agent_that_blocks_the_event_loop_is_not_robbed(scene: Scene) -> None:
    """Blocked for longer than the TTL: the heartbeat has a thread of its own."""
    async with scene.here("blocked"):
        run_id = await scene.submit(say("a "), step(say("b "), block(3.5), say("c")))
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt, row.crashes) == ("completed", 1, 0)
    dead = [line for line in scene.stack.logs("reaper").splitlines() if '"pod.dead"' in line and "goodbye" not in line]
    assert not [line for line in dead if scene.pod("blocked") in line]


@pytest.mark.slow
async def test_f21_an_event_loop_that_stands_still_beyond_the_limit_ends_the_process(
    scene: Scene, tmp_path: Path
) -> None:
    once = tmp_path / "once"
    stalled = await scene.process("stalled", HOLDFAST_STALL_LIMIT_S="1.5")
    run_id = await scene.submit(say("a "), step(say("b "), block_once(once, 60.0), say("c")))
    assert await scene.exit_code(stalled) == EXIT_STALLED
    log_text = scene.stack.logs(stalled.name)
    assert "runner.stalled" in log_text
    assert "scripted_agents.py" in log_text, "the stacks say where it stands"
    async with scene.here("other"):
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 2)
    assert await scene.answer(run_id) == "a b c"


@pytest.mark.slow
async def test_work_that_will_not_stop_is_left_unreleased_and_the_process_ends(scene: Scene, tmp_path: Path) -> None:
    gate, tried = tmp_path / "gate", tmp_path / "tried"
    leaving = await scene.process("leaving", HOLDFAST_DRAIN_GRACE_S="0.2")
    in_thread = await scene.submit(say("a "), step(say("b "), mark(tried), thread_wait(gate)))
    stubborn = await scene.submit(
        say("a "), step(say("b "), mark(tried), wait(gate)), agent="stubborn", until=str(gate)
    )
    await wait_until(lambda: marks(tried) == 2, description="both work")
    leaving.stop_timeout_s = 15.0
    assert await leaving.stop(), "they do not keep the process"
    assert await scene.exit_code(leaving) == EXIT_WORK_LEFT
    assert '"runner.left_work"' in scene.stack.logs(leaving.name)
    gate.touch()
    async with scene.here("b"):
        for run_id in (in_thread, stubborn):
            row, _ = await scene.whole(run_id)
            assert (row.status, row.attempt, await scene.answer(run_id)) == ("completed", 2, "a b ")
            assert [each.ended_why for each in await scene.attempts(run_id)] == ["owner_lost", "completed"]
    assert marks(tried) == 4
