"""Ownership: who may claim, whose writes count, who wins a race. Rows F04, F05, F06, F10, F11, F13."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import LostOwnership
from holdfast.runs import Lease, Outcome, Owner
from holdfast.store import owner, stranger
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import TENANT, Record, boot

_LONG_AGO = "now() - interval '10 days'"


async def test_f04_a_live_run_is_not_claimed_however_old_it_is(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.raw(
        "UPDATE runs SET "
        + ", ".join(f"{c} = {_LONG_AGO}" for c in ("created_at", "queued_at", "claimed_at", "last_progress_at"))
    )
    assert await record.claim(lease.run_id, boot("b")) is None
    assert await record.claim(lease.run_id, lease.owner) is None
    await record.step(lease)


async def test_f05_reclaim_names_owner_and_attempt(record: Record) -> None:
    lease = await record.claimed(boot("a"))
    same_pod_later_boot, other = boot("a"), boot("b")
    for who, attempt in ((other, 1), (same_pod_later_boot, 1), (lease.owner, 0), (lease.owner, 2)):
        assert await stranger.reclaim(record.db, who, [(lease.run_id, attempt)]) == []
    await record.step(lease)
    [taken] = await record.reclaim(lease)
    assert (taken.id, taken.status, taken.attempt) == (lease.run_id, "queued", 1)


async def test_f05_a_dead_owners_runs_come_back_and_nobody_elses(record: Record) -> None:
    dead, alive = boot("a"), boot("b")
    lost = [await record.claimed(dead, f"dead-{n}") for n in range(5)]
    kept = [await record.claimed(alive, f"alive-{n}") for n in range(5)]
    taken = await stranger.reclaim(record.db, dead, [(lease.run_id, lease.attempt) for lease in [*lost, *kept]])
    assert {ended.id for ended in taken} == {lease.run_id for lease in lost}
    assert await stranger.owners(record.db) == {(alive.pod, alive.boot)}
    assert {run for run, _, _ in await owner.owned(record.db, alive, limit=100)} == {lease.run_id for lease in kept}


async def test_f06_the_only_pod_recovers_its_own_run_under_its_own_name(record: Record) -> None:
    before = await record.claimed(boot("only"))
    after = boot("only")
    [taken] = await record.reclaim(before)
    claimed = await record.claim(taken.id, after)
    assert claimed is not None
    assert (claimed.run.attempt, claimed.from_pod, claimed.from_why) == (2, "only", "owner_lost")
    with pytest.raises(LostOwnership):
        await record.intend(before)
    await record.step(Lease(taken.id, after, 2))


async def test_f10_of_twenty_reclaims_at_once_one_wins(record: Record) -> None:
    dead = boot()
    leases = [await record.claimed(dead, f"t{n}") for n in range(4)]
    answers = await asyncio.gather(*(record.reclaim(*leases) for _ in range(20)))
    assert sorted(len(answer) for answer in answers) == [0] * 19 + [4]
    for lease in leases:
        row = await record.row(lease.run_id)
        assert (row["status"], row["attempt"], row["crashes"]) == ("queued", 1, 1)


async def test_f10_of_twenty_claims_at_once_one_wins(record: Record) -> None:
    run_id = await record.submit()
    answers = await asyncio.gather(*(record.claim(run_id, boot(f"pod-{n}")) for n in range(20)))
    [won] = [answer for answer in answers if answer is not None]
    row = await record.row(run_id)
    assert (row["attempt"], row["run_owner_pod"]) == (1, won.run.run_owner_pod)


async def test_of_two_runs_of_a_thread_claimed_at_once_one_wins_whatever_their_ranks(record: Record, url: str) -> None:
    """The second claim's snapshot does not see the first's, so only the unique index is left to refuse."""
    one, other = [await record.submit() for _ in range(2)]
    await record.raw("UPDATE runs SET queue_rank = 1")
    async with colliding(url, lambda first: first.claim(one, boot()), record.claim(other, boot("b"))) as [second]:
        assert await second is None
    assert (await record.status(one), await record.status(other)) == ("running", "queued")


async def test_a_claim_wants_the_agent_loaded_and_the_thread_free_and_takes_the_oldest(record: Record) -> None:
    runs = [await record.submit() for _ in range(3)]
    who = boot()
    assert await owner.claim(record.db, runs[0], who, {"another": "v1"}) is None
    assert await owner.claim(record.db, runs[0], who, {}) is None
    assert [await record.claim(run, who) is not None for run in reversed(runs)] == [False, False, True]
    assert await record.claim(runs[1], who) is None
    finished = await record.finish(Lease(runs[0], who, 1))
    assert (finished.next_id, finished.next_pool) == (runs[1], "default")
    assert [await record.claim(run, who) is not None for run in reversed(runs)] == [False, True, False]


async def test_a_released_run_keeps_its_place_in_the_queue(record: Record) -> None:
    lease = await record.claimed(boot())
    later = await record.submit()
    released = await record.release(lease)
    assert (released.status, released.next_id) == ("queued", lease.run_id)
    assert await record.claim(later, boot()) is None
    claimed = await record.claim(lease.run_id, boot("b"))
    assert claimed is not None
    assert (claimed.run.attempt, claimed.from_why, claimed.run.crashes) == (2, "released", 0)


async def test_f11_nothing_that_a_woken_zombie_writes_arrives(record: Record) -> None:
    zombie = await record.claimed(boot())
    await record.step(zombie, "0", said="kept")
    await record.intend(zombie, "1")
    await record.reclaim(zombie)
    for _ in range(2):  # while the run is queued, and while another has it
        before = await _everything(record)
        for write in (
            record.intend(zombie, "1", tries=2),
            record.intend(zombie, "2"),
            record.checkpoint(zombie, "1"),
            record.checkpoint(zombie, "0", said="kept"),
            owner.progress(record.db, zombie),
            record.finish(zombie),
            record.finish(zombie, Outcome.FAILED),
            record.release(zombie),
        ):
            with pytest.raises(LostOwnership):
                await write
        assert await record.reclaim(zombie) == []
        assert await record.force_cancel(zombie) is None
        assert await _everything(record) == before
        await record.claim(zombie.run_id, boot("b"))


async def test_f13_what_the_last_attempt_left_behind_is_reset_at_claim(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.raw(
        f"UPDATE runs SET claimed_at = {_LONG_AGO}, last_progress_at = {_LONG_AGO}, queued_at = {_LONG_AGO}"
    )
    await record.reclaim(lease)
    assert (await record.row(lease.run_id))["queued_at"] > (await record.row(lease.run_id))["claimed_at"]
    assert await record.claim(lease.run_id, boot("b")) is not None
    row = await record.row(lease.run_id)
    [now] = await record.raw("SELECT now()")
    assert (now["now"] - row["last_progress_at"]).total_seconds() < 60
    assert (now["now"] - row["claimed_at"]).total_seconds() < 60
    assert (row["error"], row["terminal_event_id"], row["cancel_requested_at"]) == (None, None, None)
    assert await stranger.cancels_due(record.db, grace_s=0, limit=10) == []


async def test_an_owner_sees_its_runs_and_the_cancels_that_it_missed(record: Record) -> None:
    who = boot()
    one, other = await record.claimed(who, "one"), await record.claimed(who, "other")
    await record.cancel(other.run_id)
    assert set(await owner.owned(record.db, who, limit=10)) == {(one.run_id, 1, False), (other.run_id, 1, True)}
    assert await owner.owned(record.db, Owner(who.pod, boot().boot), limit=10) == []


async def test_an_owners_write_does_not_wait_for_a_submit_to_its_thread(record: Record, url: str) -> None:
    """A submit with on_busy=replace locks the thread, then the run that it cancels; the owner's end has that run's row and
    then wants to see the thread. Were the first lock the stronger one, each would wait for the other."""
    lease = await record.claimed(boot())
    async with uncommitted(url) as submitting:
        await submitting.db.fetchrow("thread_lock", TENANT, "t")
        finished = await asyncio.wait_for(record.finish(lease), 2.0)
    assert finished.status == "completed"


async def _everything(record: Record) -> list[object]:
    return [
        await record.raw(f"SELECT t::text FROM {table} t ORDER BY 1")
        for table in ("runs", "steps", "attempts", "messages")
    ]
