"""Deadlines and stalls: a run ends when its time is over or nothing moves, and never for its age. Row F14."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.runs import Lease, Outcome
from holdfast.store import caller, owner, stranger
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot


async def _age(record: Record, lease: Lease, seconds: float) -> None:
    """Nothing has moved for so long."""
    await record.raw(
        "UPDATE runs SET last_progress_at = now() - make_interval(secs => $2) WHERE id = $1",
        lease.run_id,
        float(seconds),
    )


async def _expiring(record: Record) -> list[tuple[Any, str]]:
    return [(each.run_id, each.why) for each in await stranger.expiring(record.db, limit=10)]


async def _stall(record: Record, lease: Lease) -> Any:
    return await stranger.expire(record.db, lease.run_id, lease.attempt, lease.owner, "stalled")


async def test_a_run_that_does_not_move_is_ended_by_its_idle_timeout(record: Record) -> None:
    lease = await record.claimed(boot(), idle_timeout_s=30)
    behind = await record.submit()
    await record.step(lease, said="so far", last_event_id="1-3")
    await _age(record, lease, 29)
    assert await _expiring(record) == []
    assert await _stall(record, lease) is None
    await _age(record, lease, 31)
    assert await _expiring(record) == [(lease.run_id, "stalled")]
    ended = await _stall(record, lease)
    assert ended is not None
    assert (ended.status, ended.attempt, ended.terminal_event_id, ended.keep_through) == ("failed", 2, "2-1", "1-3")
    assert (ended.error["code"], ended.next_id) == ("stalled", behind)
    [attempt] = await caller.attempts(record.db, lease.run_id)
    assert attempt.ended_why == "failed"
    answer = (await caller.run_messages(record.db, lease.run_id))[-1]
    assert ([part["type"] for part in answer.parts], answer.status) == (["text", "error"], "failed")
    assert await _stall(record, lease) is None


async def test_f14_a_long_run_that_moves_is_let_live(record: Record) -> None:
    lease = await record.claimed(boot(), idle_timeout_s=30)
    await record.raw("UPDATE runs SET claimed_at = now() - interval '30 days', created_at = now() - interval '30 days'")
    await record.intend(lease)
    for move in (owner.progress(record.db, lease), record.checkpoint(lease)):
        await _age(record, lease, 31)
        assert await _expiring(record) == [(lease.run_id, "stalled")]
        await move
        assert await _expiring(record) == []
        assert await _stall(record, lease) is None
    assert await record.status(lease.run_id) == "running"


async def test_f14_waiting_is_never_a_stall(record: Record) -> None:
    lease = await record.waiting(boot(), idle_timeout_s=30)
    await _age(record, lease, 10_000_000)
    assert await _expiring(record) == []
    assert await stranger.expire(record.db, lease.run_id, 1, None, "stalled") is None
    await record.answer(lease)
    assert await _expiring(record) == [], "nor is the queue"
    assert await stranger.expire(record.db, lease.run_id, 1, None, "stalled") is None


async def test_f14_a_step_may_take_as_long_as_it_said(record: Record) -> None:
    lease = await record.claimed(boot(), idle_timeout_s=30)
    body: dict[str, Any] = {"kind": "tool", "name": "build", "input_hash": b"b", "tries": 1}
    await owner.intend(record.db, lease, position="0", timeout_s=600.0, **body)
    await _age(record, lease, 599)
    assert await _expiring(record) == []
    assert await _stall(record, lease) is None
    await _age(record, lease, 601)
    assert await _expiring(record) == [(lease.run_id, "stalled")]
    await record.checkpoint(lease)
    await _age(record, lease, 31)
    assert await _expiring(record) == [(lease.run_id, "stalled")], "a finished step allows nothing"
    await owner.intend(record.db, lease, position="1", timeout_s=600.0, **body)
    await record.reclaim(lease)
    lease = await record.again(lease)
    await _age(record, lease, 31)
    assert await _expiring(record) == [(lease.run_id, "stalled")], "nor does another attempt's"


async def test_f14_an_expiry_that_waited_for_progress_lets_the_run_live(record: Record, url: str) -> None:
    lease = await record.claimed(boot(), idle_timeout_s=30)
    await record.intend(lease)
    await _age(record, lease, 31)
    async with colliding(url, lambda first: first.checkpoint(lease), _stall(record, lease)) as [task]:
        assert await task is None


async def test_f14_an_expiry_that_waited_for_a_longer_steps_intent_sees_it(record: Record, url: str) -> None:
    """An intent changes nothing of the run's row: a snapshot from before the wait would not show it."""
    lease = await record.claimed(boot(), idle_timeout_s=30)
    await _age(record, lease, 31)

    async def intend(first: Record) -> None:
        await owner.intend(
            first.db, lease, position="0", kind="tool", name="build", input_hash=b"b", tries=1, timeout_s=600.0
        )

    async with colliding(url, intend, _stall(record, lease)) as [task]:
        assert await task is None


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
async def test_a_deadline_ends_a_run_wherever_it_is(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    row = await record.row(run_id)
    seen = await stranger.expiring(record.db, limit=10)
    assert seen == []
    await record.raw("UPDATE runs SET deadline_at = now() + interval '1 hour'")
    assert await stranger.expiring(record.db, limit=10) == []
    await record.raw("UPDATE runs SET deadline_at = now()")
    [due] = await stranger.expiring(record.db, limit=10)
    assert (due.run_id, due.attempt, due.why, due.owner is not None) == (
        run_id,
        row["attempt"],
        "deadline",
        status == "running",
    )
    ended = await stranger.expire(record.db, due.run_id, due.attempt, due.owner, due.why)
    assert ended is not None
    assert (ended.status, ended.terminal_event_id) == ("failed", f"{row['attempt'] + 1}-1")
    assert ended.error is not None
    assert ended.error["code"] == "deadline"
    said = [message.role for message in await caller.run_messages(record.db, run_id)]
    assert said == ([] if status == "queued" else ["user", "assistant"])


async def test_a_deadline_counts_from_the_submit(record: Record) -> None:
    row = await caller.run(record.db, TENANT, await record.submit(deadline_s=90))
    assert row.deadline_at is not None
    assert (row.deadline_at - row.created_at).total_seconds() == 90
    plain = await caller.run(record.db, TENANT, await record.submit())
    assert (plain.deadline_at, plain.idle_timeout_s, plain.on_unknown) == (None, 600, None)


async def test_an_interrupted_run_has_no_deadline(record: Record) -> None:
    run_id = await record.brought_to("interrupted")
    await record.raw("UPDATE runs SET deadline_at = now() - interval '1 hour'")
    assert await stranger.expiring(record.db, limit=10) == []
    row = await record.row(run_id)
    assert await stranger.expire(record.db, run_id, row["attempt"], None, "deadline") is None


async def test_an_expiry_names_what_it_saw(record: Record) -> None:
    lease = await record.claimed(boot(), deadline_s=3600)
    early = await stranger.expire(record.db, lease.run_id, 1, lease.owner, "deadline")
    assert early is None
    await record.raw("UPDATE runs SET deadline_at = now()")
    for attempt, who in ((2, lease.owner), (0, lease.owner), (1, boot()), (1, None)):
        assert await stranger.expire(record.db, lease.run_id, attempt, who, "deadline") is None
    assert await record.status(lease.run_id) == "running"


async def test_an_expiry_of_a_run_that_has_gone_on_meanwhile_matches_nothing(record: Record, url: str) -> None:
    lease = await record.claimed(boot(), deadline_s=3600)
    await record.raw("UPDATE runs SET deadline_at = now()")
    late = stranger.expire(record.db, lease.run_id, 1, lease.owner, "deadline")
    async with colliding(url, lambda first: first.finish(lease, Outcome.COMPLETED), late) as [task]:
        assert await task is None
    assert await record.status(lease.run_id) == "completed"


async def test_a_cancel_that_was_asked_for_wins_over_an_expiry(record: Record) -> None:
    lease = await record.claimed(boot(), idle_timeout_s=30)
    await record.cancel(lease.run_id)
    await _age(record, lease, 31)
    ended = await _stall(record, lease)
    assert (ended.status, ended.error) == ("cancelled", None)
