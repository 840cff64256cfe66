"""Cancel, for every status and against every race. Rows F02, F53, F54."""

from __future__ import annotations

import pytest

from holdfast.errors import LostOwnership, Refused
from holdfast.runs import ACTIVE, TERMINAL, OnBusy, OnOwnerLost, Outcome
from holdfast.store import caller, stranger
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import TENANT, Record, boot, request


@pytest.mark.parametrize("status", sorted(ACTIVE - {"running"}))
async def test_f54_a_run_that_nobody_owns_is_cancelled_at_once(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    before = await record.row(run_id)
    ended = await record.cancel(run_id)
    assert ended is not None
    assert (ended.status, ended.attempt) == ("cancelled", before["attempt"] + 1)
    assert ended.terminal_event_id == f"{ended.attempt}-1"
    row = await record.row(run_id)
    assert (row["status"], row["terminal_event_id"], row["error"]) == ("cancelled", ended.terminal_event_id, None)
    assert row["finished_at"] is not None
    assert await record.claim(run_id, boot()) is None


async def test_f54_a_running_run_is_marked_and_its_owner_ends_it(record: Record) -> None:
    lease = await record.claimed(boot())
    marked = await record.cancel(lease.run_id)
    assert marked is not None
    assert (marked.status, marked.attempt, marked.terminal_event_id) == ("running", 1, None)
    first = (await record.row(lease.run_id))["cancel_requested_at"]
    assert await record.cancel(lease.run_id) is not None
    assert (await record.row(lease.run_id))["cancel_requested_at"] == first
    finished = await record.finish(lease, Outcome.COMPLETED, said="too late")
    assert (finished.status, finished.output, finished.error) == ("cancelled", None, None)
    assert (await record.row(lease.run_id))["terminal_event_id"] == "1-90"


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_f54_an_ended_run_is_not_cancelled(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    before = await record.row(run_id)
    assert await record.cancel(run_id) is None
    assert await record.row(run_id) == before


async def test_f54_nor_is_another_tenants(record: Record) -> None:
    run_id = await record.submit()
    assert await stranger.cancel(record.db, "another", run_id) is None
    assert await record.status(run_id) == "queued"


async def test_f53_a_cancel_names_one_run_and_not_the_next_of_its_thread(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.cancel(lease.run_id)
    again = await record.submit()
    finished = await record.finish(lease)
    assert (finished.status, finished.next_id) == ("cancelled", again)
    row = await record.row(again)
    assert (row["status"], row["cancel_requested_at"]) == ("queued", None)
    claimed = await record.claim(again, boot())
    assert claimed is not None
    assert claimed.run.cancel_requested_at is None


async def test_f02_a_cancel_of_a_dead_owners_run_ends_with_its_reclaim(record: Record) -> None:
    lease = await record.claimed(boot())
    later = await record.submit()
    await record.step(lease, said="half")
    await record.cancel(lease.run_id)
    [ended] = await record.reclaim(lease)
    assert (ended.status, ended.attempt, ended.terminal_event_id) == ("cancelled", 2, "2-1")
    assert (ended.keep_through, ended.next_id) == ("1-9", later)


async def test_f02_a_cancel_that_is_not_heeded_is_forced_after_the_grace(record: Record) -> None:
    lease = await record.claimed(boot())
    assert await record.force_cancel(lease) is None, "nobody has asked for it"
    await record.cancel(lease.run_id)
    assert await stranger.cancels_due(record.db, grace_s=10, limit=10) == []
    assert await record.force_cancel(lease, grace_s=10) is None, "the grace is looked at again in the statement"
    [due] = await stranger.cancels_due(record.db, grace_s=0, limit=10)
    assert due == (lease.run_id, lease.attempt, lease.owner)
    ended = await record.force_cancel(lease)
    assert ended is not None
    assert (ended.status, ended.attempt, ended.terminal_event_id) == ("cancelled", 2, "2-1")
    with pytest.raises(LostOwnership):
        await record.finish(lease)
    assert await stranger.cancels_due(record.db, grace_s=0, limit=10) == []


async def test_a_release_of_a_cancelled_run_ends_it(record: Record) -> None:
    lease = await record.claimed(boot())
    later = await record.submit()
    await record.cancel(lease.run_id)
    released = await record.release(lease)
    assert (released.status, released.next_id) == ("cancelled", later)
    assert (await record.row(lease.run_id))["terminal_event_id"] == "1-80"


@pytest.mark.parametrize("policy", OnOwnerLost)
async def test_a_cancel_that_races_with_a_reclaim_ends_cancelled_if_the_cancel_is_first(
    record: Record, url: str, policy: OnOwnerLost
) -> None:
    lease = await record.claimed(boot(), policy=policy)
    async with colliding(url, lambda first: first.cancel(lease.run_id), record.reclaim(lease)) as [second]:
        [ended] = await second
    assert (ended.status, ended.attempt) == ("cancelled", 2)


@pytest.mark.parametrize("policy", [OnOwnerLost.RESUME, OnOwnerLost.INTERRUPT])
async def test_a_cancel_that_races_with_a_reclaim_ends_cancelled_if_the_reclaim_is_first(
    record: Record, url: str, policy: OnOwnerLost
) -> None:
    lease = await record.claimed(boot(), policy=policy)
    async with colliding(url, lambda first: first.reclaim(lease), record.cancel(lease.run_id)) as [second]:
        ended = await second
    assert ended is not None
    assert (ended.status, ended.terminal_event_id) == ("cancelled", f"{ended.attempt}-1")
    assert ended.attempt == (2 if policy is OnOwnerLost.RESUME else 3)


async def test_a_cancel_that_races_with_a_claim_marks_the_running_run(record: Record, url: str) -> None:
    run_id = await record.submit()
    async with colliding(url, lambda first: first.claim(run_id, boot()), record.cancel(run_id)) as [second]:
        marked = await second
    assert marked is not None
    assert (marked.status, marked.attempt) == ("running", 1)


async def test_a_claim_that_races_with_a_cancel_is_refused(record: Record, url: str) -> None:
    run_id = await record.submit()
    async with uncommitted(url) as first:
        await first.cancel(run_id)
        assert await record.claim(run_id, boot()) is None
    assert await record.status(run_id) == "cancelled"


async def test_a_step_that_is_finished_while_a_cancel_arrives_is_recorded(record: Record, url: str) -> None:
    """The checkpoint waits for the cancel's lock, and must then find the row as the cancel has left it."""
    lease = await record.claimed(boot())
    await record.intend(lease)
    async with colliding(url, lambda first: first.cancel(lease.run_id), record.checkpoint(lease)) as [second]:
        await second
    [step] = await caller.steps(record.db, lease.run_id)
    assert step.status == "completed"
    assert (await record.row(lease.run_id))["cancel_requested_at"] is not None


async def test_replace_cancels_what_runs_and_takes_its_place(record: Record) -> None:
    lease = await record.claimed(boot())
    queued = await record.submit()
    submitted = await caller.submit(record.db, request(on_busy=OnBusy.REPLACE))
    assert submitted.replaced is not None
    assert (submitted.replaced.id, submitted.replaced.status, submitted.position) == (lease.run_id, "running", 1)
    finished = await record.finish(lease)
    assert (finished.status, finished.next_id) == ("cancelled", submitted.run.id)
    assert await record.claim(queued, boot()) is None
    assert await record.claim(submitted.run.id, boot()) is not None


async def test_reject_refuses_while_a_run_is_active_and_not_for_an_interrupted_one(record: Record) -> None:
    await record.brought_to("interrupted")
    waiting = await caller.submit(record.db, request(on_busy=OnBusy.REJECT))
    with pytest.raises(Refused, match="has an active run") as refused:
        await caller.submit(record.db, request(on_busy=OnBusy.REJECT))
    assert refused.value.code == "thread_busy"
    assert [run.status for run in await caller.active_runs(record.db, TENANT, "t")] == ["interrupted", "queued"]
    await record.cancel(waiting.run.id)
    await caller.submit(record.db, request(on_busy=OnBusy.REJECT))
