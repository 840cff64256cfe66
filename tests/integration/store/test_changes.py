"""Changes of runs as rows: one for each, in order, none lost, whoever made it and in whatever order transactions commit."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import pytest

from holdfast.runs import OnBusy, Outcome
from holdfast.store import Database, caller, feed
from holdfast.store.feed import Change, ChangeId, Changes, Reading
from tests.integration.store.interleaved import uncommitted
from tests.integration.store.record import TENANT, Record, boot, request
from tests.support.wait import wait_until

_START = ChangeId(0, 0)


async def _read(db: Database, places: Mapping[str, ChangeId], limit: int = 1000) -> Reading:
    """The changes, once none has to wait: Postgres has short transactions of its own."""
    readings: list[Reading] = []

    async def nothing_waits() -> bool:
        readings.append(await feed.changes(db, places, limit=limit))
        return not readings[-1].held_back

    await wait_until(nothing_waits, description="the open transactions to end")
    return readings[-1]


async def _changes(record: Record, after: ChangeId = _START, limit: int = 1000) -> Changes:
    return (await _read(record.db, {TENANT: after}, limit)).of_tenant[TENANT]


async def _of(record: Record, run_id: UUID) -> list[str]:
    """What became of a run, in few words."""
    return [_said(each) for each in (await _changes(record)).changes if each.run_id == run_id]


def _said(change: Change) -> str:
    return f"{change.status} {change.attempt}" + (" cancelling" if change.cancelling else "")


async def test_every_change_of_a_run_is_one_row_and_nothing_else_is(record: Record) -> None:
    first = await record.waiting(boot("a"))
    await record.answer(first)
    second = await record.again(first, boot("b"))
    await record.step(second)
    await record.reclaim(second)
    third = await record.again(second, boot("c"))
    await record.release(third)
    fourth = await record.again(third)
    await record.intend(fourth, "1")
    await record.cancel(fourth.run_id)
    await record.cancel(fourth.run_id)
    await record.finish(fourth)
    queued = await record.submit()
    await caller.queue_first(record.db, TENANT, "t", queued)
    await record.cancel(queued)
    assert await caller.delete_thread(record.db, TENANT, "t")
    assert await _of(record, first.run_id) == [
        "queued 0", "running 1", "waiting 1", "queued 1", "running 2", "queued 2", "running 3", "queued 3", "running 4",
        "running 4 cancelling", "cancelled 4", "deleted 4",
    ]  # fmt: skip
    assert await _of(record, queued) == ["queued 0", "cancelled 1", "deleted 1"]
    [last] = [each for each in (await _changes(record)).changes if each.run_id == queued and each.status == "cancelled"]
    assert (last.thread_id, last.agent) == ("t", "echo")


@pytest.mark.parametrize("status", ["interrupted", "failed", "completed", "waiting"])
async def test_every_end_is_a_change(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    assert [said.split()[0] for said in (await _of(record, run_id))[-1:]] == [status]


async def test_what_did_not_happen_is_no_change(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.finish(lease)
    before = await _changes(record)
    await record.cancel(lease.run_id)
    await record.reclaim(lease)
    await record.finish(lease, Outcome.FAILED)
    assert (await _changes(record, before.upto)).changes == []


async def test_from_every_place_comes_the_exact_rest_whatever_the_size_of_a_page(record: Record) -> None:
    for n in range(4):
        await record.finish(await record.claimed(boot(), f"t{n}"))
    all_of_them = (await _changes(record)).changes
    assert len(all_of_them) == 12
    assert [each.place for each in all_of_them] == sorted({each.place for each in all_of_them})
    for n, each in enumerate(all_of_them):
        assert (await _changes(record, each.place)).changes == all_of_them[n + 1 :]
    for limit in (1, 5):
        paged: list[Change] = []
        page = await _changes(record, limit=limit)
        while page.changes:
            paged += page.changes
            page = await _changes(record, page.upto, limit)
        assert paged == all_of_them


async def test_a_change_that_commits_after_a_later_one_is_not_passed_over(record: Record, url: str) -> None:
    before = await _changes(record)
    async with uncommitted(url) as slow:
        early = await slow.submit("slow")
        late = await record.submit("quick")
        meanwhile = await feed.changes(record.db, {TENANT: before.upto}, limit=100)
        assert meanwhile.held_back
        assert meanwhile.of_tenant[TENANT].changes == [], "what a reader must not pass has not committed yet"
    after = await _changes(record, meanwhile.of_tenant[TENANT].upto)
    assert [each.run_id for each in after.changes] == [early, late]


async def test_a_change_that_is_undone_holds_nobody_up(record: Record, url: str) -> None:
    async with uncommitted(url, undone=True) as dying:
        await dying.submit("dying")
        run_id = await record.submit("alive")
    assert [each.run_id for each in (await _changes(record)).changes] == [run_id]


async def test_changes_of_a_run_come_in_their_own_order_whichever_transaction_began_first(
    record: Record, url: str
) -> None:
    """A submit with ``replace`` writes before it gets to the run whose place it takes; a runner claims that one meanwhile."""
    run_id = await record.submit("t")
    async with uncommitted(url) as replacing:
        await replacing.raw("SELECT pg_current_xact_id()")
        claimed = await record.claim(run_id, boot())
        assert claimed is not None
        await caller.submit(replacing.db, request("t", on_busy=OnBusy.REPLACE))
    assert await _of(record, run_id) == ["queued 0", "running 1", "running 1 cancelling"]
    running, cancelling = [each for each in (await _changes(record)).changes if each.run_id == run_id][1:]
    assert (running.place.xid, running.place.id < cancelling.place.id) == (cancelling.place.xid, True)


async def test_each_tenant_has_its_own_changes_and_place(record: Record) -> None:
    for tenant in ("one", "two"):
        await record.raw("INSERT INTO tenants (id) VALUES ($1)", tenant)
    runs = {
        tenant: (await caller.submit(record.db, request(tenant_id=tenant))).run.id
        for tenant in ("one", "two", "default")
    }
    reading = await _read(record.db, dict.fromkeys(("one", "two"), _START))
    assert {tenant: [each.run_id for each in read.changes] for tenant, read in reading.of_tenant.items()} == {
        "one": [runs["one"]], "two": [runs["two"]],
    }  # fmt: skip
    again = await _read(record.db, {"one": reading.of_tenant["one"].upto, "two": _START})
    assert (len(again.of_tenant["one"].changes), len(again.of_tenant["two"].changes)) == (0, 1)


async def test_a_snapshot_shows_the_active_runs_and_the_place_it_stands_for(record: Record) -> None:
    for status in ("completed", "failed", "cancelled"):
        await record.brought_to(status, status)
    active = {
        status: await record.brought_to(status, status) for status in ("queued", "running", "waiting", "interrupted")
    }
    await record.cancel(active["running"])
    await _changes(record)
    standing = await feed.standing(record.db, TENANT, limit=100)
    shown = {run.status: (run.id, run.cancelling) for run in standing.runs}
    assert shown == {status: (run_id, status == "running") for status, run_id in active.items()}
    assert [run.id for run in standing.runs] == sorted(active.values(), reverse=True)
    newest = await feed.standing(record.db, TENANT, limit=2)
    assert ([run.id for run in newest.runs], newest.more) == (sorted(active.values(), reverse=True)[:2], True)
    later = await record.submit("later")
    assert [each.run_id for each in (await _changes(record, standing.place)).changes] == [later]
    changed_at = {each.run_id: each.at for each in (await _changes(record)).changes}
    assert {run.id: run.at for run in standing.runs} == {run_id: changed_at[run_id] for run_id in active.values()}


async def test_nothing_is_missing_between_a_snapshot_and_what_comes_after_it(record: Record, url: str) -> None:
    async with uncommitted(url) as slow:
        hidden = await slow.submit("slow")
        seen = await record.submit("quick")
        standing = await feed.standing(record.db, TENANT, limit=100)
    assert [run.id for run in standing.runs] == [seen]
    after = await _changes(record, standing.place)
    assert hidden in [each.run_id for each in after.changes]


async def _age(record: Record, *places: ChangeId) -> None:
    await record.raw("UPDATE changes SET at = at - interval '2 h' WHERE id = ANY ($1)", [place.id for place in places])


async def test_old_changes_are_forgotten_and_who_stood_before_them_is_told(record: Record) -> None:
    for n in range(4):
        await record.submit(f"t{n}")
    places = [each.place for each in (await _changes(record)).changes]
    await _age(record, *places[:3])
    assert await feed.forget(record.db, keep_s=3600, limit=2) == 2
    assert await feed.forget(record.db, keep_s=3600, limit=2) == 1
    assert await feed.forget(record.db, keep_s=3600, limit=2) == 0
    missing = [(await _changes(record, place)).missing for place in (_START, *places)]
    assert missing == [True, True, True, False, False]
    assert [each.place for each in (await _changes(record, places[2])).changes] == places[3:]


async def test_what_is_forgotten_before_anybody_may_read_it_is_missing_once_it_could_be_read(
    record: Record, url: str
) -> None:
    """A transaction stayed open for longer than changes are kept. A snapshot stands for what came before that one: if it were out
    of date at once, a follower would be shown one after the other, as fast as the record can make them."""
    async with uncommitted(url) as slow:
        await slow.submit("slow")
        await record.submit("quick")
        await record.raw("UPDATE changes SET at = at - interval '2 h'")
        assert await feed.forget(record.db, keep_s=3600, limit=10) == 1
        standing = await feed.standing(record.db, TENANT, limit=10)
        meanwhile = await feed.changes(record.db, {TENANT: standing.place}, limit=10)
        assert not meanwhile.of_tenant[TENANT].missing
    assert (await _changes(record, standing.place)).missing


async def test_who_stands_at_a_place_that_this_record_has_not_come_to_is_told(record: Record) -> None:
    await record.submit()
    assert (await _changes(record, ChangeId(2**60, 1))).missing
    assert not (await _changes(record, (await _changes(record)).upto)).missing


async def test_numbers_of_another_server_count_for_nothing(record: Record) -> None:
    """A dump that is restored brings them: they may be far above what this server has given out."""
    run_id = await record.submit("restored")
    await record.raw("UPDATE runs SET changed_xid = '1000000000000'")
    await record.raw("UPDATE changes SET xid = '1000000000000'")
    await record.raw("UPDATE changes_forgotten SET xid = '999999999999', id = 7")
    place = (await feed.changes(record.db, {TENANT: _START}, limit=10)).horizon
    await record.claim(run_id, boot())
    new = [each for each in (await _changes(record, place)).changes if each.run_id == run_id]
    assert [_said(each) for each in new] == ["running 1"]
    assert not (await _changes(record, place)).missing
    assert await feed.forget(record.db, keep_s=3600, limit=10) == 1, "the restored one, however young"
    assert not (await _changes(record, place)).missing
    await _age(record, new[0].place)
    assert await feed.forget(record.db, keep_s=3600, limit=10) == 1
    assert (await _changes(record, place)).missing, "the mark is this server's own again"


async def test_two_who_forget_at_once_do_it_once(record: Record, url: str) -> None:
    await record.submit()
    [change] = (await _changes(record)).changes
    await _age(record, change.place)
    async with uncommitted(url) as other:
        assert await feed.forget(other.db, keep_s=3600, limit=10) == 1
        assert await feed.forget(record.db, keep_s=3600, limit=10) == 0
    assert (await _changes(record)).missing


@pytest.mark.parametrize("text", ["0-0", "12-3", "18446744073709551615-9223372036854775807"])
def test_a_place_reads_as_it_is_written(text: str) -> None:
    assert str(ChangeId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "01-2",
        "1-02",
        " 1-2",
        "1-2\n",
        "٣-1",
        "18446744073709551616-1",
        "1-9223372036854775808",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an id of the feed"):
        ChangeId.parse(text)


def test_places_are_ordered_by_transaction_then_by_change() -> None:
    assert ChangeId(9, 50) < ChangeId(10, 1) < ChangeId(10, 2)
