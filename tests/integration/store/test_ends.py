"""How a run ends when it does not end well, and that an end is final. Rows F15, F55."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import LostOwnership, Refused
from holdfast.runs import TERMINAL, Lease, OnOwnerLost, Outcome
from holdfast.store import stranger
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot


async def test_f55_completed_is_not_overwritten_by_a_late_failure(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.finish(lease, said="done")
    before = await record.row(lease.run_id)
    with pytest.raises(LostOwnership):
        await record.finish(Lease(lease.run_id, boot("b"), 2), Outcome.FAILED)
    late = await record.finish(lease, Outcome.FAILED)
    assert (late.status, late.output, late.error) == ("completed", {"text": "done"}, None), "read back, not written"
    assert await record.row(lease.run_id) == before
    assert await record.reclaim(lease) == []
    assert await record.cancel(lease.run_id) is None
    assert await record.row(lease.run_id) == before


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize(
    "change",
    [
        "status = 'queued', finished_at = NULL, terminal_event_id = NULL",
        "status = 'failed', error = '{}'",
        "output = '1'",
        "attempt = attempt + 1",
    ],
)
async def test_f55_not_even_by_hand(record: Record, status: str, change: str) -> None:
    run_id = await record.brought_to(status)
    before = await record.row(run_id)
    with pytest.raises(Refused) as refused:
        await record.raw(f"UPDATE runs SET {change} WHERE id = $1", run_id)
    assert refused.value.code == "runs_terminal_is_final"
    assert await record.row(run_id) == before


_OWNERLESS = "run_owner_pod = NULL, run_owner_boot = NULL"


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ("attempt = attempt - 1", "runs_attempt_grows"),
        ("status = 'queued'", "runs_owner"),
        ("run_owner_boot = NULL", "runs_owner"),
        (f"status = 'completed', {_OWNERLESS}, terminal_event_id = '1-2'", "runs_ended"),
        (f"status = 'completed', {_OWNERLESS}, finished_at = now()", "runs_terminal_event"),
        (f"status = 'failed', {_OWNERLESS}, finished_at = now(), terminal_event_id = '1-2'", "runs_failed_why"),
        (f"status = 'dead', {_OWNERLESS}", "runs_status_check"),
    ],
)
async def test_a_state_that_cannot_be_is_refused_by_name(record: Record, wrong: str, constraint: str) -> None:
    lease = await record.claimed(boot())
    with pytest.raises(Refused) as refused:
        await record.raw(f"UPDATE runs SET {wrong} WHERE id = $1", lease.run_id)
    assert refused.value.code == constraint


async def test_a_thread_has_one_running_run_whatever_is_written(record: Record) -> None:
    await record.claimed(boot())
    await record.submit()
    with pytest.raises(Refused) as refused:
        await record.raw("UPDATE runs SET status = 'waiting' WHERE status = 'queued'")
    assert refused.value.code == "runs_thread_active"


async def test_f15_a_run_that_loses_its_pod_at_the_same_place_ends_as_a_crash_loop(record: Record) -> None:
    run_id = await record.submit(max_crashes=3)
    for crash in (1, 2, 3):
        who = boot(f"pod-{crash}")
        claimed = await record.claim(run_id, who)
        assert claimed is not None
        [taken] = await record.reclaim(Lease(run_id, who, claimed.run.attempt))
        assert taken.status == ("failed" if crash == 3 else "queued")
    assert (taken.attempt, taken.terminal_event_id) == (4, "4-1")
    assert taken.error is not None
    assert taken.error["code"] == "crash_loop"
    assert "3 times" in taken.error["message"]


async def test_f15_a_run_that_gets_on_lives_however_often_it_loses_its_pod(record: Record) -> None:
    run_id = await record.submit(max_crashes=2)
    for crash in range(1, 6):
        who = boot(f"pod-{crash}")
        assert await record.claim(run_id, who) is not None
        lease = Lease(run_id, who, crash)
        await record.step(lease, str(crash))
        assert (await record.row(run_id))["crashes"] == 0
        [taken] = await record.reclaim(lease)
        assert taken.status == "queued"
        assert (await record.row(run_id))["crashes"] == 1


async def test_a_refused_checkpoint_is_no_progress(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.reclaim(lease)
    who = boot("b")
    await record.claim(lease.run_id, who)
    before = await record.row(lease.run_id)
    with pytest.raises(LostOwnership):
        await record.checkpoint(Lease(lease.run_id, who, 2), "7")
    assert await record.row(lease.run_id) == before
    assert before["crashes"] == 1


async def test_on_owner_lost_fail_fails_at_the_first_loss(record: Record) -> None:
    lease = await record.claimed(boot("pod-1"), policy=OnOwnerLost.FAIL)
    [taken] = await record.reclaim(lease)
    assert (taken.status, taken.attempt, taken.terminal_event_id) == ("failed", 2, "2-1")
    assert taken.error is not None
    assert taken.error["code"] == "owner_lost"
    assert "pod-1" in taken.error["message"]


async def test_on_owner_lost_interrupt_interrupts_until_the_budget_is_spent(record: Record) -> None:
    lease = await record.claimed(boot(), policy=OnOwnerLost.INTERRUPT)
    await record.step(lease)
    [taken] = await record.reclaim(lease)
    assert (taken.status, taken.attempt, taken.terminal_event_id, taken.keep_through) == (
        "interrupted",
        2,
        "2-1",
        "1-9",
    )
    assert taken.error is not None
    assert taken.error["code"] == "owner_lost"
    spent = await record.claimed(boot(), "other", policy=OnOwnerLost.INTERRUPT, max_crashes=1)
    [taken] = await record.reclaim(spent)
    assert taken.status == "failed"


async def test_an_interrupted_run_is_abandoned_by_the_claim_of_a_later_one(record: Record) -> None:
    interrupted = await record.claimed(boot(), policy=OnOwnerLost.INTERRUPT)
    await record.step(interrupted, said="half")
    elsewhere = await record.brought_to("interrupted", "elsewhere")
    later = await record.submit()
    [taken] = await record.reclaim(interrupted)
    assert taken.next_id == later, "an interrupted run holds nobody up"
    claimed = await record.claim(later, boot("b"))
    assert claimed is not None
    [abandoned] = claimed.abandoned
    assert (abandoned.id, abandoned.terminal_event_id, abandoned.keep_through) == (interrupted.run_id, "3-1", "1-9")
    assert abandoned.error["code"] == "abandoned"
    row = await record.row(interrupted.run_id)
    assert (row["status"], row["attempt"], row["error"]) == ("failed", 3, abandoned.error)
    assert await record.status(elsewhere) == "interrupted"


async def test_a_claim_that_is_refused_abandons_nobody(record: Record) -> None:
    interrupted = await record.brought_to("interrupted")
    first, second = await record.submit(), await record.submit()
    assert await record.claim(second, boot()) is None
    assert await record.status(interrupted) == "interrupted"
    await record.cancel(first)
    assert await record.claim(second, boot()) is not None
    assert await record.status(interrupted) == "failed"


async def test_an_interrupted_run_cancelled_while_a_later_one_is_claimed_ends_once(record: Record, url: str) -> None:
    interrupted = await record.brought_to("interrupted")
    later = await record.submit()
    async with colliding(url, lambda first: first.cancel(interrupted), record.claim(later, boot())) as [second]:
        claimed = await second
    assert claimed is not None
    assert claimed.abandoned == ()
    assert await record.status(interrupted) == "cancelled"


_WRITES: dict[str, Any] = {
    "finish": lambda record, lease: record.finish(lease),
    "release": lambda record, lease: record.release(lease),
    "intend": lambda record, lease: record.intend(lease, "1"),
    "checkpoint": lambda record, lease: record.checkpoint(lease, "0"),
}


@pytest.mark.parametrize("write", _WRITES)
async def test_whatever_an_owner_writes_into_a_reclaim_is_lost(record: Record, url: str, write: str) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease, "0")
    async with colliding(url, lambda first: first.reclaim(lease), _WRITES[write](record, lease)) as [second]:
        with pytest.raises(LostOwnership):
            await second
    row = await record.row(lease.run_id)
    assert (row["status"], row["attempt"], row["crashes"]) == ("queued", 1, 1)


@pytest.mark.parametrize(("write", "status"), [("finish", "completed"), ("release", "queued")])
async def test_a_reclaim_that_meets_the_owners_last_write_takes_nothing(
    record: Record, url: str, write: str, status: str
) -> None:
    lease = await record.claimed(boot())
    async with colliding(url, lambda first: _WRITES[write](first, lease), record.reclaim(lease)) as [second]:
        assert await second == []
    row = await record.row(lease.run_id)
    assert (row["status"], row["crashes"]) == (status, 0)


async def test_what_may_be_claimed_is_what_a_sweep_finds(record: Record) -> None:
    first = await record.submit("one")
    await record.submit("one")
    await record.brought_to("running", "two")
    await record.submit("two")
    await record.brought_to("waiting", "three")
    await record.submit("three")
    await record.brought_to("interrupted", "four")
    behind_interrupted = await record.submit("four")
    await record.brought_to("completed", "five")

    async def look(
        after: stranger.Place = stranger.START, older_than_s: float = 0, limit: int = 10
    ) -> stranger.Claimable:
        return await stranger.claimable(record.db, after=after, older_than_s=older_than_s, limit=limit)

    found = await look()
    assert found == stranger.Claimable([("default", behind_interrupted), ("default", first)], None)
    assert await look(stranger.Place(TENANT, "four")) == stranger.Claimable(found.runs[1:], None)
    assert await look(limit=1) == stranger.Claimable(found.runs[:1], stranger.Place(TENANT, "four"))
    assert await look(stranger.Place(TENANT, "one"), limit=1) == stranger.Claimable([], stranger.Place(TENANT, "three"))
    assert await look(older_than_s=60) == stranger.Claimable([], None)
    for _, run_id in found.runs:
        assert await record.claim(run_id, boot()) is not None
    assert await stranger.cancel(record.db, TENANT, first) is not None
