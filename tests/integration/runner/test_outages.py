"""Links that are cut, and servers that restart, are away too long, or lose what they had, while runs are under way."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import HoldfastError, StoreUnavailable
from holdfast.store import owner
from tests.integration.runner.scene import Scene, first, types
from tests.integration.runner.scripts import chat, say, step, wait
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")
BEYOND_TTL_S = 2.5
WITHIN_TTL_S = 0.8
BEYOND_PROBE_WINDOW_S = 1.3


@asynccontextmanager
async def without_nats(scene: Scene, *, for_s: float = 0.0, lose_data: bool = False) -> AsyncIterator[None]:
    """NATS is away while the block runs, and at least so long."""
    nats = scene.stack.nats
    nats.kill()
    try:
        if lose_data:
            shutil.rmtree(nats.data_dir / "jetstream")
        yield
        await asyncio.sleep(for_s)  # the length of the outage
    finally:
        await nats.start()


@pytest.mark.slow
async def test_f23_one_link_cut_for_less_than_the_ttl_costs_nothing(scene: Scene, reaper: None, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pod = await scene.process("cut", proxied=True)
    run_id = await scene.submit(say("a "), step(say("b ")), step(chat(gate)))
    links = scene.stack.links[pod.name]

    async def told() -> int:
        return len(await scene.events(run_id))

    for proxy, seconds in ((links.nats, WITHIN_TTL_S), (links.postgres, BEYOND_PROBE_WINDOW_S)):
        for take, give in ((proxy.cut, proxy.restore), (proxy.stall, proxy.resume)):
            take()
            await asyncio.sleep(seconds)  # the length of the cut
            give()
            before = await told()

            async def goes_on(before: int = before) -> bool:
                return await told() > before

            await wait_until(goes_on, description="the log goes on")
    gate.touch()
    row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt, row.crashes) == ("completed", 1, 0)
    reaped = [line for line in scene.stack.logs("reaper").splitlines() if pod.name in line and "pod.dead" in line]
    assert reaped == []


@pytest.mark.slow
async def test_f24_f34_an_outage_of_nats_beyond_the_ttl_stops_no_runner_and_tears_no_log(
    scene: Scene, reaper: None, tmp_path: Path
) -> None:
    gate, finished = tmp_path / "gate", tmp_path / "finished"
    pod = await scene.process("pod")
    run_id = await scene.submit(say("a "), step(say("b "), chat(finished)), step(chat(gate)))
    await scene.until_event(run_id, "text.delta", count=10)
    async with scene.here(slots=1) as here:
        other = await scene.submit(step(chat(gate)))
        await scene.until_event(other, "text.delta", count=10)
        async with without_nats(scene, for_s=BEYOND_TTL_S):
            finished.touch()
        await scene.until_event(run_id, "step.started", count=2)
        gate.touch()
        for each in (run_id, other):
            row, log = await scene.whole(each)
            assert (row.status, row.attempt, row.crashes) == ("completed", 1, 0)
            assert "snapshot" not in types(log)
        assert pod.pid is not None
        assert not here.task.done()
        row, _ = await scene.whole(await scene.submit(say("served after it")))


async def test_a_nats_that_loses_its_data_mid_run_is_given_a_snapshot(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here():
        run_id = await scene.submit(say("a "), step(say("b ")), say("c "), step(say("d "), chat(gate)))
        await scene.until_event(run_id, "text.delta", count=10)
        async with without_nats(scene, lose_data=True):
            pass
        log = await scene.until_event(run_id, "snapshot")
        snapshot = first(log, "snapshot").data
        assert snapshot["partial_text"].startswith("c d ..")
        [kept] = snapshot["steps"]
        assert (kept["position"], kept["text"], kept["status"]) == ("0", "a b ", "completed")
        gate.touch()
        row, log = await scene.whole(run_id, gaps=True)
    assert (row.status, row.attempt) == ("completed", 1)
    assert types(log)[0] == "snapshot"


async def test_a_log_that_is_lost_between_two_owners_is_given_a_snapshot(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here("a") as leaving:
        run_id = await scene.submit(say("a "), step(say("b ")), wait(gate), say("c"))
        await scene.until_event(run_id, "step.completed")
        await leaving.drain()
    async with without_nats(scene, lose_data=True):
        gate.touch()
    async with scene.here("b"):
        await scene.request(run_id)
        row, log = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 2)
    assert types(log) == ["run.resumed", "snapshot", "text.delta", "run.completed"]
    resumed = first(log, "run.resumed").data
    assert (resumed["reason"], resumed["keep_through"]) == ("log_lost", None)


async def test_an_outage_beyond_the_budget_holds_no_step_up(scene: Scene, tmp_path: Path) -> None:
    """Steps finish without the log; their events' ids are null, so each later owner mends the log anew."""
    gates = [tmp_path / str(n) for n in range(3)]
    async with scene.here("a", append_budget_s=0.3) as leaving:
        run_id = await scene.submit(*[step(say(f"{n} "), wait(gate)) for n, gate in enumerate(gates)])
        await scene.until_event(run_id, "step.started")
        async with without_nats(scene):
            gates[0].touch()

            async def second_begun() -> bool:
                return len(await scene.steps(run_id)) == 2

            await wait_until(second_begun, description="the second step begins without the log")
            [done, begun] = await scene.steps(run_id)
            assert (done.status, done.last_event_id, begun.status) == ("completed", None, "started")
        log = await scene.until_event(run_id, "snapshot")
        assert [each["text"] for each in first(log, "snapshot").data["steps"]] == ["0 "]
        gates[1].touch()
        await scene.until_event(run_id, "step.started", count=2)
        leaving.stop.set()
        await wait_until(lambda: leaving.runner._load.draining, description="it drains")
        gates[2].touch()
        await scene.until_event(run_id, "step.completed")
        await leaving.drain()
    async with scene.here("b"):
        row, log = await scene.whole(run_id, gaps=True)
    assert row.status == "completed"


async def test_f35_a_run_that_ends_while_nats_is_away_has_its_end_in_the_record(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here(append_budget_s=0.3):
        run_id = await scene.submit(say("a "), step(say("b "), wait(gate)))
        await scene.until_event(run_id, "step.started")
        async with without_nats(scene):
            gate.touch()
            row = await scene.until(run_id, "completed")
        _, log = await scene.whole(run_id, gaps=True)  # NATS was back in time for the owner to tell it
    assert row.error is None
    assert types(log)[-2:] == ["snapshot", "run.completed"]


async def test_f38_a_runner_that_starts_without_nats_serves_when_it_comes(scene: Scene) -> None:
    async with without_nats(scene), scene.here("impatient", ready=False) as impatient:
        async with asyncio.timeout(5):
            await impatient.drain()
        async with scene.here("patient", ready=False) as patient:

            async def says_so() -> bool:
                return "no link to NATS (runner)" in await patient.runner.not_ready()

            await wait_until(says_so, description="readiness says so")
            await scene.stack.nats.start()
            await scene.whole(await scene.submit(say("in the end")))
            assert await patient.runner.not_ready() == []


async def test_a_postgres_that_restarts_mid_run_is_waited_for(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here() as here:
        run_id = await scene.submit(say("a "), step(say("b "), wait(gate)), step(say("c")))
        await scene.until_event(run_id, "step.started")
        scene.stack.postgres.kill()
        try:
            gate.touch()

            async def shown() -> bool:
                return any("record: " in reason for reason in await here.runner.not_ready())

            await scene.until_event(run_id, "step.completed")
            await wait_until(shown, description="readiness shows it")
        finally:
            await scene.stack.postgres.start()
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 1)
    assert [(step.status, step.tries) for step in await scene.steps(run_id)] == [("completed", 1)] * 2


@pytest.mark.parametrize("write", ["journal", "intend", "checkpoint", "finish", "release"])
async def test_a_write_whose_answer_was_lost_is_not_made_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: str
) -> None:
    made: Callable[..., Awaitable[Any]] = getattr(owner, write)
    answers_lost = 0

    async def lose_one_answer(*args: object, **kwargs: object) -> object:
        nonlocal answers_lost
        answer = await made(*args, **kwargs)
        answers_lost += 1
        if answers_lost == 1:
            raise StoreUnavailable("the answer was lost")
        return answer

    gate = tmp_path / "gate"
    second = write in ("journal", "release")  # a first attempt has no journal to read
    if write != "journal":
        monkeypatch.setattr(owner, write, lose_one_answer)
    async with scene.here("a") as here:
        run_id = await scene.submit(say("a "), step(say("b ")), wait(gate), say("c"))
        await scene.until_event(run_id, "step.completed")
        if second:
            await here.drain()
        gate.touch()
        if not second:
            await scene.whole(run_id)
    monkeypatch.setattr(owner, write, lose_one_answer)
    async with scene.here("b"):
        row, _ = await scene.whole(run_id)
    assert answers_lost >= 1
    assert (row.status, row.attempt) == ("completed", 2 if second else 1)
    assert [each.tries for each in await scene.steps(run_id)] == [1]


@pytest.mark.parametrize("link", ["_link", "_append_link"])
async def test_a_connection_that_its_library_closed_for_good_ends_the_runner(scene: Scene, link: str) -> None:
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(scene.here())
        getattr(here.runner, link).closed.set()
        await asyncio.wait({here.task}, timeout=10)
        with pytest.raises(ExceptionGroup) as ended:
            await running.aclose()
        assert "closed for good" in str(ended.value.exceptions[0])


async def test_a_heartbeat_that_fails_hands_its_runs_over_and_ends_the_runner(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with AsyncExitStack() as running:
        here = await running.enter_async_context(scene.here("a"))
        run_id = await scene.submit(say("a "), step(say("b"), wait(gate)))
        await scene.until_event(run_id, "step.started")
        here.runner._on_heartbeat_end(HoldfastError("the heartbeat failed: a bug"))
        await asyncio.wait({here.task}, timeout=10)
        with pytest.raises(HoldfastError, match="a bug"):
            await running.aclose()
    gate.touch()
    async with scene.here("b"):
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 2)
    assert [each.ended_why for each in await scene.attempts(run_id)] == ["released", "completed"]
