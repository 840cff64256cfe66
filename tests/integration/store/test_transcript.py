"""The messages of a thread: what was asked and answered, in order, each with a status, whatever became of the run."""

from __future__ import annotations

from typing import Any

from holdfast.runs import Lease, OnOwnerLost, Outcome
from holdfast.store import caller, owner
from tests.integration.store.record import TENANT, Record, boot

Said = tuple[str, str, str]


async def _transcript(record: Record, thread: str = "t") -> list[Said]:
    """(role, text or error code, status) of each message."""
    rows = await caller.messages(record.db, TENANT, thread, after=0, limit=100)
    return [
        (row.role, "|".join(str(part.get("text", part.get("code", "?"))) for part in row.parts), row.status)
        for row in rows
    ]


async def test_each_end_leaves_its_answer(record: Record) -> None:
    for said, outcome in (("one", Outcome.COMPLETED), ("two", Outcome.FAILED), ("three", Outcome.CANCELLED)):
        lease = await record.claimed(boot(), said=f"{said}?")
        await record.finish(lease, outcome, said=f"{said}!")
    assert await _transcript(record) == [
        ("user", "one?", "complete"), ("assistant", "one!", "complete"),
        ("user", "two?", "complete"), ("assistant", "two!|agent_error", "failed"),
        ("user", "three?", "complete"), ("assistant", "three!", "incomplete"),
    ]  # fmt: skip


async def test_a_question_is_asked_once_however_often_the_run_is_claimed(record: Record) -> None:
    lease = await record.claimed(boot(), said="?")
    await record.reclaim(lease)
    again = Lease(lease.run_id, boot("b"), 2)
    await record.claim(lease.run_id, again.owner)
    await record.release(again)
    last = Lease(lease.run_id, boot("c"), 3)
    await record.claim(lease.run_id, last.owner)
    await record.finish(last, said="!")
    assert await _transcript(record) == [("user", "?", "complete"), ("assistant", "!", "complete")]


async def test_a_run_that_a_stranger_ends_keeps_the_text_of_its_finished_steps(record: Record) -> None:
    async def with_steps(thread: str, **fields: Any) -> Lease:
        lease = await record.claimed(boot(), thread, said="?", **fields)
        await record.step(lease, "2", said="one ", last_event_id="1-9")
        await record.step(lease, "10", said="two", last_event_id="1-10")
        await record.intend(lease, "11")
        return lease

    forced = await with_steps("forced")
    await record.cancel(forced.run_id)
    await record.force_cancel(forced)
    failed = await with_steps("failed", policy=OnOwnerLost.FAIL)
    await record.reclaim(failed)
    queued = await with_steps("queued")
    await record.reclaim(queued)
    await record.cancel(queued.run_id)
    interrupted = await with_steps("interrupted", policy=OnOwnerLost.INTERRUPT)
    await record.reclaim(interrupted)
    assert await _transcript(record, "interrupted") == [("user", "?", "complete")]
    await record.claimed(boot("b"), "interrupted", said="next?")

    question = ("user", "?", "complete")
    assert await _transcript(record, "forced") == [question, ("assistant", "one two", "incomplete")]
    assert await _transcript(record, "failed") == [question, ("assistant", "one two|owner_lost", "failed")]
    assert await _transcript(record, "queued") == [question, ("assistant", "one two", "incomplete")]
    assert sorted(await _transcript(record, "interrupted")) == sorted(
        [question, ("user", "next?", "complete"), ("assistant", "one two|abandoned", "failed")]
    )


async def test_the_answer_of_an_abandoned_run_comes_before_the_question_that_passed_it_over(record: Record) -> None:
    await record.brought_to("interrupted")
    await record.claimed(boot("b"), said="next?")
    assert [role for role, _, _ in await _transcript(record)] == ["user", "assistant", "user"]


async def test_a_run_that_was_never_claimed_says_nothing(record: Record) -> None:
    await record.cancel(await record.submit(said="?"))
    assert await _transcript(record) == []


async def test_the_shapes_of_an_input(record: Record) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "in parts"}]},
        {"role": "wizard", "content": "unknown role"},
        {"role": "user", "content": {"odd": 1}},
        "not even an object",
    ]
    await record.claimed(boot(), input={"messages": messages})
    await record.claimed(boot(), "plain", input={"city": "Oslo"})
    rows = await caller.messages(record.db, TENANT, "t", after=0, limit=10)
    assert [(row.role, row.parts) for row in rows] == [
        ("system", [{"type": "text", "text": "be brief"}]),
        ("user", [{"type": "text", "text": "in parts"}]),
        ("user", [{"type": "text", "text": "unknown role"}]),
        ("user", [{"type": "data", "data": {"role": "user", "content": {"odd": 1}}}]),
        ("user", [{"type": "data", "data": "not even an object"}]),
    ]
    [plain] = await caller.messages(record.db, TENANT, "plain", after=0, limit=10)
    assert plain.parts == [{"type": "data", "data": {"city": "Oslo"}}]


async def test_an_agent_is_told_what_was_said_before_its_run(record: Record) -> None:
    for n in range(3):
        lease = await record.claimed(boot(), said=f"{n}?")
        await record.finish(lease, said=f"{n}!")
    lease = await record.claimed(boot(), said="now?")
    row = await caller.run(record.db, TENANT, lease.run_id)
    before = await owner.said_before(record.db, row, limit=3)
    assert [(role, parts[0]["text"]) for role, parts, _ in before] == [
        ("assistant", "1!"),
        ("user", "2?"),
        ("assistant", "2!"),
    ]


async def test_pages_of_a_transcript_join_up(record: Record) -> None:
    for n in range(3):
        await record.finish(await record.claimed(boot(), said=f"{n}?"), said=f"{n}!")
    whole = await caller.messages(record.db, TENANT, "t", after=0, limit=100)
    first = await caller.messages(record.db, TENANT, "t", after=0, limit=4)
    rest = await caller.messages(record.db, TENANT, "t", after=first[-1].seq, limit=4)
    assert [*first, *rest] == whole
