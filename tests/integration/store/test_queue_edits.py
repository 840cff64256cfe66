"""A queue that people edit while runners claim from it. Row F59."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from holdfast.errors import NotFound
from holdfast.store import caller, owner
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import TENANT, Record, boot


async def _queue(record: Record) -> list[object]:
    return [run.id for run in await caller.queue(record.db, TENANT, "t")]


async def test_f59_the_queue_is_in_order_and_without_the_run_that_is_at_work(record: Record) -> None:
    lease = await record.claimed(boot())
    queued = [await record.submit() for _ in range(3)]
    await record.submit("other")
    assert await _queue(record) == queued
    moved = await caller.queue_first(record.db, TENANT, "t", queued[2])
    assert moved is not None
    assert await _queue(record) == [queued[2], queued[0], queued[1]]
    await record.finish(lease)
    assert await record.claim(queued[0], boot()) is None
    assert await record.claim(queued[2], boot()) is not None


async def test_f59_what_is_put_first_comes_behind_the_run_that_waits(record: Record) -> None:
    lease = await record.waiting(boot())
    queued = [await record.submit() for _ in range(2)]
    await caller.queue_first(record.db, TENANT, "t", queued[1])
    await record.answer(lease)
    assert await _queue(record) == [lease.run_id, queued[1], queued[0]]
    assert await record.claim(queued[1], boot()) is None


async def test_f59_of_many_that_are_put_first_at_once_each_has_a_place(record: Record) -> None:
    await record.claimed(boot())
    queued = [await record.submit() for _ in range(6)]
    await asyncio.gather(*(caller.queue_first(record.db, TENANT, "t", each) for each in queued))
    ranks = [row["queue_rank"] for row in await record.raw("SELECT queue_rank FROM runs WHERE status = 'queued'")]
    assert len(set(ranks)) == len(queued)
    assert sorted(await _queue(record), key=str) == sorted(queued, key=str)


async def test_f59_an_edit_is_what_the_runner_gets(record: Record) -> None:
    run_id = await record.submit()
    edited = await caller.queue_edit(
        record.db, TENANT, "t", run_id, {"messages": [{"role": "user", "content": "better"}]}
    )
    assert edited is not None
    claimed = await record.claim(run_id, boot())
    assert claimed is not None
    assert claimed.run.input == edited.input == {"messages": [{"role": "user", "content": "better"}]}
    [asked] = await caller.run_messages(record.db, run_id)
    assert asked.parts == [{"type": "text", "text": "better"}]


async def _edit(record: Record, how: str, run_id: UUID) -> object:
    if how == "edit":
        return await caller.queue_edit(record.db, TENANT, "t", run_id, {"late": True})
    if how == "remove":
        return await caller.queue_remove(record.db, TENANT, "t", run_id)
    return await caller.queue_first(record.db, TENANT, "t", run_id)


@pytest.mark.parametrize("how", ["edit", "remove", "first"])
async def test_f59_no_edit_reaches_a_run_that_was_claimed_meanwhile(record: Record, url: str, how: str) -> None:
    run_id = await record.submit()
    before = await record.row(run_id)
    async with colliding(url, lambda first: first.claim(run_id, boot()), _edit(record, how, run_id)) as [task]:
        assert await task is None
    row = await record.row(run_id)
    assert (row["status"], row["cancel_requested_at"]) == ("running", None)
    assert (row["input"], row["queue_rank"]) == (before["input"], before["queue_rank"])


async def test_f59_a_claim_has_no_run_that_is_being_edited_and_then_has_the_edit(record: Record, url: str) -> None:
    run_id = await record.submit()
    async with uncommitted(url) as first:
        await caller.queue_edit(first.db, TENANT, "t", run_id, {"new": 1})
        assert await record.claim(run_id, boot()) is None
    claimed = await record.claim(run_id, boot())
    assert claimed is not None
    assert claimed.run.input == {"new": 1}
    run_id = await record.submit("other")
    async with uncommitted(url) as first:
        await caller.queue_remove(first.db, TENANT, "other", run_id)
        assert await record.claim(run_id, boot()) is None
    assert await record.status(run_id) == "cancelled"


@pytest.mark.parametrize("status", ["running", "waiting", "interrupted", "completed", "failed", "cancelled"])
async def test_f59_only_what_is_queued_is_edited(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    before = await record.row(run_id)
    assert await caller.queue_edit(record.db, TENANT, "t", run_id, {}) is None
    assert await caller.queue_remove(record.db, TENANT, "t", run_id) is None
    assert await caller.queue_first(record.db, TENANT, "t", run_id) is None
    assert await record.row(run_id) == before


async def test_f59_a_run_is_edited_on_its_own_thread_by_its_own_tenant(record: Record) -> None:
    run_id = await record.submit()
    await record.submit("other")
    before = await record.row(run_id)
    for tenant, thread in (("another", "t"), (TENANT, "other")):
        assert await caller.queue_edit(record.db, tenant, thread, run_id, {}) is None
        assert await caller.queue_remove(record.db, tenant, thread, run_id) is None
    assert await caller.queue_first(record.db, TENANT, "other", run_id) is None
    with pytest.raises(NotFound):
        await caller.queue_first(record.db, "another", "t", run_id)
    assert await caller.queue(record.db, "another", "t") == []
    assert await record.row(run_id) == before


async def test_f59_a_removal_is_a_cancel(record: Record) -> None:
    run_id = await record.submit()
    ended = await caller.queue_remove(record.db, TENANT, "t", run_id)
    assert ended is not None
    assert (ended.status, ended.attempt, ended.terminal_event_id) == ("cancelled", 1, "1-1")
    assert await caller.queue_remove(record.db, TENANT, "t", run_id) is None


async def test_the_input_of_a_run_that_has_begun_stays(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.release(lease)
    assert await _queue(record) == [lease.run_id]
    assert await caller.queue_edit(record.db, TENANT, "t", lease.run_id, {}) is None


async def test_the_input_of_a_fork_stays(record: Record) -> None:
    """Its journal was made from it."""
    original = await record.brought_to("completed")
    fork = await caller.fork(record.db, TENANT, original, new_id=uuid4(), from_position=None, thread_id=None)
    assert await caller.queue_edit(record.db, TENANT, "t", fork.id, {}) is None


async def test_f59_a_run_that_was_removed_before_it_began_is_not_edited(record: Record) -> None:
    run_id = await record.submit()
    await caller.queue_remove(record.db, TENANT, "t", run_id)
    assert await caller.queue_edit(record.db, TENANT, "t", run_id, {}) is None
    assert await caller.queue_first(record.db, TENANT, "t", run_id) is None


@pytest.mark.parametrize("how", ["answer", "release", "reclaim"])
async def test_f59_nothing_overtakes_a_run_that_has_begun(record: Record, how: str) -> None:
    begun = await record.claimed(boot())
    later, last = await record.submit(), await record.submit()
    if how == "answer":
        await record.ask(begun)
        await record.suspend(begun)
        await record.answer(begun)
    else:
        await (record.release(begun) if how == "release" else record.reclaim(begun))
    assert await caller.queue_first(record.db, TENANT, "t", last) is not None
    assert await _queue(record) == [begun.run_id, last, later]


async def test_a_replay_is_told_what_the_first_attempt_was_told(record: Record) -> None:
    """Whatever came to stand behind the run's own first message."""
    await record.finish(await record.claimed(boot(), said="before?"), said="before!")
    begun = await record.claimed(boot(), said="now?")
    row = await caller.run(record.db, TENANT, begun.run_id)
    before = await owner.said_before(record.db, row, limit=100)
    other = await record.submit("elsewhere")
    await record.db.run(
        lambda connection: connection.execute(
            "INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)"
            " VALUES ($1, 't', $2, 'user', '[]', 'complete')",
            TENANT,
            other,
        )
    )
    assert await owner.said_before(record.db, row, limit=100) == before
    assert len(before) == 2
