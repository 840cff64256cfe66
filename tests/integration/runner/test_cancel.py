"""Cancel, and loss, of a running run: by the control message, without it, in every phase, against an agent that resists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from holdfast.bus import requests
from holdfast.errors import StoreUnavailable
from holdfast.runs import EventId, Owner
from holdfast.store import Claimed, Database, Ended, owner, stranger
from holdfast.wire.messages import Control
from holdfast_runner import execution
from holdfast_runner.event_writer import EventWriter
from tests.integration.runner.scene import TENANT, Scene, first, types
from tests.integration.runner.scripts import chat, fail_until, mark, marks, say, step, wait
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def cancel(scene: Scene, run_id: UUID, *, tell: bool) -> Ended:
    """Cancel a run as a gateway does, with its control message or without."""
    row = await scene.row(run_id)
    ended = await stranger.cancel(scene.db, TENANT, run_id)
    assert ended is not None
    if tell and row.run_owner_pod is not None:
        message = Control(action="cancel", run_id=run_id, attempt=row.attempt)
        await requests.control(scene.broker, row.run_owner_pod, message)
    return ended


@pytest.mark.parametrize("tell", [True, False], ids=["told", "f02 missed"])
async def test_f02_a_running_run_is_cancelled_by_its_owner(scene: Scene, tmp_path: Path, tell: bool) -> None:
    never = tmp_path / "never"
    interval_s = 60.0 if tell else 0.2
    async with scene.here(owned_check_interval_s=interval_s) as here:
        run_id = await scene.submit(say("a "), step(say("b ")), say("c "), step(say("d "), chat(never)))
        await scene.until_event(run_id, "text.delta", count=6)
        assert (await cancel(scene, run_id, tell=tell)).status == "running"
        row, log = await scene.whole(run_id, timeout_s=5)
        assert here.runner._load.running == 0, "the slot is free"
    assert (row.status, row.error, row.attempt) == ("cancelled", None, 1)
    assert (await scene.answer(run_id)).startswith("a b c d ..")
    assert first(log, "run.cancelled").data == {}
    [answer] = [message for message in await scene.messages(run_id) if message.role == "assistant"]
    assert answer.status == "incomplete"


async def test_f53_a_cancel_for_another_attempt_or_run_stops_nothing(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here():
        run_id = await scene.submit(step(wait(gate)))
        await scene.until_event(run_id, "step.started")
        for wrong in (
            Control(action="cancel", run_id=run_id, attempt=2),
            Control(action="cancel", run_id=UUID(int=1), attempt=1),
        ):
            await requests.control(scene.broker, scene.pod("here"), wrong)
        await scene.broker.publish(b"not a control message", f"pods.{scene.pod('here')}.control")
        gate.touch()
        row, _ = await scene.whole(run_id)
    assert row.status == "completed"


async def test_a_cancel_between_two_tries_needs_no_third(scene: Scene, tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    async with scene.here():
        run_id = await scene.submit(step(say("a"), mark(tried), fail_until(tmp_path / "never"), tries=100_000))
        await scene.until_event(run_id, "step.failed", count=2)
        await cancel(scene, run_id, tell=True)
        row, _ = await scene.whole(run_id)
        tries = marks(tried)
    assert row.status == "cancelled"
    assert marks(tried) == tries


async def test_a_cancel_before_the_agent_runs(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the phase in which the log's end is looked up; of the second attempt, whose viewers keep what they have."""
    gate, cancelled = tmp_path / "gate", False
    async with scene.here("a") as leaving:
        run_id = await scene.submit(say("a "), step(say("b ")), wait(gate), say("c"))
        await scene.until_event(run_id, "step.completed")
        await leaving.drain()
    made = EventWriter.open

    async def opened(self: EventWriter, queued_seq: int | None = None) -> EventId | None:
        nonlocal cancelled
        await cancel(scene, run_id, tell=True)
        [running] = here.runner._executions.values()
        await wait_until(lambda: running._stop is not None, description="the cancel has arrived")
        cancelled = True
        return await made(self)

    monkeypatch.setattr(EventWriter, "open", opened)
    async with scene.here("b") as here:
        row, log = await scene.whole(run_id)
    assert cancelled
    assert (row.status, row.attempt) == ("cancelled", 2)
    assert types(log)[-2:] == ["run.resumed", "run.cancelled"]
    assert await scene.answer(run_id) == "a b "


async def test_f55_a_cancel_while_the_end_is_written_wins_or_comes_too_late(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = EventWriter.flush

    async def flushed(self: EventWriter) -> EventId | None:
        last = await made(self)
        if (await scene.row(run_id)).cancel_requested_at is None:
            await cancel(scene, run_id, tell=True)
        return last

    monkeypatch.setattr(EventWriter, "flush", flushed)
    run_id = await scene.submit(say("all"))
    async with scene.here():
        row, _ = await scene.whole(run_id)
    assert (row.status, row.output, row.error) == ("cancelled", None, None)


async def test_an_agent_that_will_not_be_cancelled_cannot_write_any_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(execution, "_UNWIND_TIMEOUT_S", 0.3)
    gate, after, until = tmp_path / "gate", tmp_path / "after", tmp_path / "until"
    async with scene.here(slots=1):
        run_id = await scene.submit(
            say("a "), step(say("b "), wait(gate), say("never")), step(mark(after)), agent="stubborn", until=str(until)
        )
        await scene.until_event(run_id, "text.delta", count=2)
        await cancel(scene, run_id, tell=True)
        row, log = await scene.whole(run_id)
        gate.touch()
        await scene.whole(await scene.submit(say("the slot is free")))
        until.touch()
    assert row.status == "cancelled"
    assert await scene.answer(run_id) == "a b "
    assert types(log)[-1] == "run.cancelled"
    assert await scene.events(run_id) == log
    assert marks(after) == 0


async def test_an_orphan_that_is_to_be_cancelled_ends_with_what_its_viewers_keep(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with scene.here("a") as leaving:
        run_id = await scene.submit(say("a "), step(say("b ")), wait(tmp_path / "never"))
        await scene.until_event(run_id, "step.completed")
        await leaving.drain()
    made = owner.claim_all

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        await made(db, runs, me, agents)
        await cancel(scene, run_id, tell=False)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(owner, "claim_all", claim)
    async with scene.here("b", owned_check_interval_s=0.1):
        row = await scene.until(run_id, "cancelled")
    assert (row.attempt, row.terminal_event_id) == (3, "3-1")  # of nobody: what attempt 2 has shown is not known
    assert await scene.answer(run_id) == "a b "


async def test_an_owner_that_lost_its_run_stops_at_once(scene: Scene, tmp_path: Path) -> None:
    never = tmp_path / "never"
    async with scene.here(owned_check_interval_s=0.2) as here:
        run_id = await scene.submit(say("a "), step(say("b ")), step(chat(never)))
        await scene.until_event(run_id, "text.delta", count=5)
        row = await scene.row(run_id)
        assert row.run_owner_pod is not None
        assert row.run_owner_boot is not None
        await cancel(scene, run_id, tell=False)
        me = here.runner._me
        ended = await stranger.force_cancel(scene.db, run_id, row.attempt, me, grace_s=0.0)
        assert ended is not None
        await wait_until(lambda: here.runner._load.running == 0, description="it stops", timeout_s=2)
    assert (await scene.row(run_id)).terminal_event_id == "2-1"
    assert "run.cancelled" not in types(await scene.events(run_id)), "that is for who ended it to tell"


async def test_a_run_that_was_taken_and_comes_back_to_the_same_boot_is_worked_on_once(
    scene: Scene, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with scene.here(slots=2, owned_check_interval_s=60.0) as here:
        run_id = await scene.submit(say("a "), step(say("b "), wait(gate)))
        await scene.until_event(run_id, "step.started")
        [first_task] = here.runner._tasks
        [taken] = await stranger.reclaim(scene.db, here.runner._me, [(run_id, 1)])
        assert taken.status == "queued"
        await scene.request(run_id)
        await wait_until(first_task.done, description="the first attempt stops")
        gate.touch()
        row, _ = await scene.whole(run_id)
    assert (row.status, row.attempt) == ("completed", 2)


async def test_a_careless_agent_that_swallows_the_loss_of_its_run_is_stopped(scene: Scene, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with scene.here(owned_check_interval_s=60.0) as here:
        run_id = await scene.submit(wait(gate), step(say("never")), agent="deaf")
        row = await scene.until(run_id, "running")
        await scene.until_event(run_id, "run.started")
        await cancel(scene, run_id, tell=False)
        await stranger.force_cancel(scene.db, run_id, row.attempt, here.runner._me, grace_s=0.0)
        gate.touch()  # its intent finds that somebody else has ended the run
        await wait_until(lambda: not here.runner._tasks, description="it stops", timeout_s=2)
    assert types(await scene.events(run_id)) == ["run.started"]
    assert (await scene.row(run_id)).status == "cancelled"
