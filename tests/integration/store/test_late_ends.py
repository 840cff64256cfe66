"""Ends by others than the owner: they hold what the owner's last commit held, and take an id that no event of the owner has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holdfast.runs import Lease, OnBusy
from holdfast.store import Ended, caller, owner, stranger
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot


async def _end(record: Record, lease: Lease, how: str) -> Sequence[Ended]:
    if how == "reclaim":
        return await record.reclaim(lease)
    ended = await stranger.force_cancel(record.db, lease.run_id, lease.attempt, lease.owner, grace_s=0)
    return [] if ended is None else [ended]


async def _answer(record: Record) -> str:
    messages = await caller.messages(record.db, TENANT, "t", after=0, limit=10)
    [answer] = [message for message in messages if message.role == "assistant"]
    return "".join(str(part["text"]) for part in answer.parts)


@pytest.mark.parametrize("how", ["reclaim", "force_cancel"])
async def test_an_end_that_waited_for_a_checkpoint_holds_what_that_committed(
    record: Record, url: str, how: str
) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    await record.cancel(lease.run_id)
    ends = _end(record, lease, how)
    async with colliding(url, lambda first: first.checkpoint(lease, said="the text"), ends) as [task]:
        [ended] = await task
    assert (ended.status, ended.keep_through) == ("cancelled", "1-9")
    assert await _answer(record) == "the text"


async def test_an_orphan_that_was_to_be_cancelled_ends_with_an_attempt_of_its_own(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, said="kept")
    await record.cancel(lease.run_id)
    for _ in range(2):  # the second: the first one's answer was lost
        ended = await owner.release(record.db, lease, next_event_id=None, shown_text=None)
        assert ended.status == "cancelled"
    row = await record.row(lease.run_id)
    assert (row["attempt"], row["terminal_event_id"]) == (2, "2-1")
    assert await _answer(record) == "kept"


async def test_an_orphan_goes_back_to_the_queue(record: Record) -> None:
    lease = await record.claimed(boot())
    ended = await owner.release(record.db, lease, next_event_id=None, shown_text=None)
    assert (ended.status, ended.next_id) == ("queued", lease.run_id)
    row = await record.row(lease.run_id)
    assert (row["attempt"], row["crashes"], row["terminal_event_id"]) == (1, 0, None)


async def test_replace_takes_the_place_of_the_run_once_and_no_other_place(record: Record) -> None:
    running = await record.claimed(boot())
    behind = await record.submit()
    first = await record.submit(on_busy=OnBusy.REPLACE)
    second = await record.submit(on_busy=OnBusy.REPLACE)
    order = [run.id for run in await caller.active_runs(record.db, TENANT, "t")]
    assert order == [running.run_id, first, behind, second]


async def test_replace_with_nothing_to_replace_queues_at_the_end(record: Record) -> None:
    before = await record.submit()
    late = await record.submit(on_busy=OnBusy.REPLACE)
    assert [run.id for run in await caller.active_runs(record.db, TENANT, "t")] == [before, late]
