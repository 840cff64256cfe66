"""The journal: an intent before each try, a result once, and what a late or repeated write does to them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import LostOwnership, Refused
from holdfast.runs import Lease
from holdfast.store import JournalStep, caller, owner
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import Record, boot


async def _steps(record: Record, lease: Lease) -> dict[str, JournalStep]:
    return {step.position: step for step in (await owner.journal(record.db, lease.run_id)).steps}


async def test_a_step_is_intended_for_each_try_and_then_has_its_result(record: Record) -> None:
    lease = await record.claimed(boot())
    for tries in (1, 2, 3):
        await record.intend(lease, tries=tries)
        step = (await _steps(record, lease))["0"]
        assert (step.status, step.tries, step.attempt, step.finished_at) == ("started", tries, 1, None)
    await record.checkpoint(lease, said="hello", last_event_id="1-7")
    step = (await _steps(record, lease))["0"]
    assert (step.status, step.output, step.shown_text, step.last_event_id) == (
        "completed",
        {"text": "hello"},
        "hello",
        "1-7",
    )
    assert step.finished_at is not None


async def test_a_step_may_fail_for_good(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, error={"code": "tool_error", "message": "no"}, output=None)
    step = (await _steps(record, lease))["0"]
    assert (step.status, step.error) == ("failed", {"code": "tool_error", "message": "no"})


async def test_positions_are_in_the_order_of_their_numbers(record: Record) -> None:
    lease = await record.claimed(boot())
    for position in ("10", "2.10", "2", "2.9", "0", "2.9.1"):
        await record.intend(lease, position)
    assert list(await _steps(record, lease)) == ["0", "2", "2.9", "2.9.1", "2.10", "10"]


@pytest.mark.parametrize("result", [{}, {"error": {"code": "x", "message": "y"}}], ids=["completed", "failed"])
async def test_a_late_intent_never_overwrites_a_finished_step(record: Record, result: dict[str, Any]) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, said="done", **result)
    before = await _steps(record, lease)
    for tries in (1, 2):
        with pytest.raises(LostOwnership):
            await record.intend(lease, tries=tries)
    await record.reclaim(lease)
    later = boot("b")
    await record.claim(lease.run_id, later)
    with pytest.raises(LostOwnership):
        await record.intend(Lease(lease.run_id, later, 2))
    assert await _steps(record, lease) == before


async def test_an_intent_that_lands_late_does_not_take_a_try_back(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease, tries=2)
    with pytest.raises(LostOwnership):
        await record.intend(lease, tries=1)
    assert (await _steps(record, lease))["0"].tries == 2


async def test_an_intent_may_be_repeated(record: Record) -> None:
    lease = await record.claimed(boot())
    for _ in range(3):
        await record.intend(lease)
    assert (await _steps(record, lease))["0"].tries == 1


async def test_an_intent_of_another_step_at_the_same_position_is_refused(record: Record) -> None:
    """The agent has diverged from its journal; the caller has compared before, and this is the last guard."""
    lease = await record.claimed(boot())
    await record.intend(lease)
    same: dict[str, Any] = {"position": "0", "kind": "model", "name": "chat", "input_hash": b"h", "tries": 1}
    for other in ({"kind": "tool"}, {"name": "search"}, {"input_hash": b"other"}):
        with pytest.raises(LostOwnership):
            await owner.intend(record.db, lease, **(same | other))


async def test_a_step_that_was_never_finished_is_taken_up_by_the_next_attempt(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease, tries=2)
    await record.reclaim(lease)
    later = Lease(lease.run_id, boot("b"), 2)
    await record.claim(lease.run_id, later.owner)
    with pytest.raises(LostOwnership):
        await record.checkpoint(later)
    await record.intend(later)
    step = (await _steps(record, later))["0"]
    assert (step.status, step.attempt, step.tries) == ("started", 2, 1)
    await record.checkpoint(later, said="anew")
    assert (await _steps(record, later))["0"].last_event_id == "2-9"


@pytest.mark.parametrize("last_event_id", ["1-9", None], ids=["logged", "while the log was away"])
async def test_a_checkpoint_repeated_after_a_lost_answer_is_accepted(record: Record, last_event_id: str | None) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    for _ in range(3):
        await record.checkpoint(lease, said="once", last_event_id=last_event_id)
    step = (await _steps(record, lease))["0"]
    assert (step.output, step.last_event_id) == ({"text": "once"}, last_event_id)


async def test_another_result_for_a_finished_step_is_refused(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, said="first")
    before = await _steps(record, lease)
    for other in ({"last_event_id": "1-10"}, {"last_event_id": None}, {"error": {"code": "x", "message": "y"}}):
        with pytest.raises(LostOwnership):
            await record.checkpoint(lease, said="second", **other)
    assert await _steps(record, lease) == before


async def test_a_checkpoint_without_an_intent_is_refused(record: Record) -> None:
    lease = await record.claimed(boot())
    with pytest.raises(LostOwnership):
        await record.checkpoint(lease)
    assert await _steps(record, lease) == {}


async def test_checkpoints_of_parallel_steps_do_not_undo_each_other(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    for position in ("0.0", "0.1"):
        await record.intend(lease, position)
    second_result = record.checkpoint(lease, "0.1", last_event_id="1-10")
    async with colliding(url, lambda first: first.checkpoint(lease, "0.0"), second_result) as [second]:
        await second
    steps = await _steps(record, lease)
    assert [(steps[at].status, steps[at].last_event_id) for at in ("0.0", "0.1")] == [
        ("completed", "1-9"),
        ("completed", "1-10"),
    ]


async def test_a_repeated_intent_that_meets_the_result_does_not_undo_it(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    async with colliding(url, lambda first: first.checkpoint(lease), record.intend(lease)) as [late]:
        with pytest.raises(LostOwnership):
            await late
    assert (await _steps(record, lease))["0"].status == "completed"


async def test_keep_through_is_the_newest_event_of_a_finished_step_by_number(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, "0", last_event_id="1-9")
    await record.step(lease, "1", last_event_id="1-10")
    await record.step(lease, "2", last_event_id=None)
    await record.intend(lease, "3")
    tails = await caller.tails(record.db, [lease.run_id])
    assert tails[lease.run_id].keep_through == "1-10"


async def test_progress_moves_the_clock_and_keeps_the_crash_count(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.raw("UPDATE runs SET last_progress_at = now() - interval '1 hour', crashes = 2")
    await owner.progress(record.db, lease)
    row = await record.row(lease.run_id)
    assert row["crashes"] == 2
    assert (row["last_progress_at"] - row["claimed_at"]).total_seconds() > -1


async def test_a_result_that_is_no_json_is_refused_and_not_taken_for_an_outage(record: Record) -> None:
    """Taken for an outage, it would be repeated for ever."""
    lease = await record.claimed(boot())
    await record.intend(lease)
    for output in (object(), "\ud800", "\x00"):
        with pytest.raises(Refused) as refused:
            await record.checkpoint(lease, output=output)
        assert refused.value.code == "invalid_value"
    await record.checkpoint(lease, output={"loss": float("nan")})
    assert (await _steps(record, lease))["0"].output == {"loss": None}


async def test_what_was_recorded_and_what_failed_is_added_once_for_each_try(record: Record) -> None:
    lease = await record.claimed(boot())
    body: dict[str, Any] = {
        "position": "0", "kind": "tool", "name": "look", "input_hash": b"h", "call_id": "c", "input": {"x": 1},
        "code_version": "v1", "timeout_s": 2.5,
    }  # fmt: skip
    failures = [{"try": n, "code": "tool_error", "message": f"no {n}"} for n in (1, 2, 3)]
    for _ in range(2):
        await owner.intend(record.db, lease, tries=1, recorded=[1], **body)
    for _ in range(2):
        await owner.intend(record.db, lease, tries=2, recorded=[{"now": 2}], failure=failures[0], **body)
    await record.reclaim(lease)
    lease = await record.again(lease)
    for _ in range(2):
        await owner.intend(
            record.db, lease, tries=2, recorded=[3], failure=failures[1], **body | {"code_version": "v2"}
        )
    for _ in range(2):
        await record.checkpoint(
            lease, error={"code": "tool_error", "message": "no 3"}, output=None, recorded=[4], failure=failures[2],
            last_event_id=None, finish_id="2-5", emits={"": 1},
        )  # fmt: skip
    step = (await _steps(record, lease))["0"]
    assert step.recorded == [1, {"now": 2}, 3, 4]
    assert [{key: each[key] for key in ("try", "code", "message")} for each in step.errors] == failures
    assert all("at" in each for each in step.errors)
    assert (step.call_id, step.input, step.code_version, step.timeout_s, step.tries) == ("c", {"x": 1}, "v2", 2.5, 2)
    assert (step.finish_id, step.last_event_id, step.emits, step.told) == ("2-5", None, {"": 1}, True)


async def test_a_checkpoint_does_not_undo_what_a_person_said(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    await record.ask(lease, "0", kind="unknown")
    await record.ask(lease, "8")
    await record.suspend(lease, "0", "8")
    await record.answer(lease, "8")
    lease = await record.again(lease)
    await record.answer(lease, "0", answer="it was done")
    with pytest.raises(LostOwnership):
        await record.checkpoint(lease, finish_id="1-60", last_event_id="1-60")
    assert (await _steps(record, lease))["0"].output == "it was done"
