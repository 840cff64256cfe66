"""Submits: one run for each idempotency key, in order, on threads of their tenant. Row F58."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from holdfast.errors import NotFound, Refused, StoreUnavailable
from holdfast.runs import OnBusy
from holdfast.store import Database, caller
from holdfast.store.queries import sql
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot, request


async def test_f58_two_submits_at_once_with_one_key_make_one_run(record: Record) -> None:
    for n in range(10):
        answers = await asyncio.gather(
            *(
                caller.submit(record.db, request(f"t{n}", idempotency_key=f"k{n}", fingerprint=b"same"))
                for _ in range(4)
            )
        )
        assert len({answer.run.id for answer in answers}) == 1
        assert [answer.created for answer in answers].count(True) == 1
    assert len(await record.raw("SELECT FROM runs")) == 10


async def test_f58_the_loser_waits_and_reads_the_winners_run(record: Record, url: str) -> None:
    winner, loser = (request(idempotency_key="k", fingerprint=b"same") for _ in range(2))
    second = caller.submit(record.db, loser)
    async with colliding(url, lambda first: caller.submit(first.db, winner), second) as [task]:
        answer = await task
    assert (answer.run.id, answer.created) == (winner.run_id, False)


async def test_f58_when_the_winner_fails_the_loser_makes_the_run(record: Record, url: str) -> None:
    """A gateway that dies before its commit takes its key with it."""
    winner, loser = (request(idempotency_key="k", fingerprint=b"same") for _ in range(2))
    second = caller.submit(record.db, loser)
    async with colliding(url, lambda first: caller.submit(first.db, winner), second, undone=True) as [task]:
        answer = await task
    assert (answer.run.id, answer.created) == (loser.run_id, True)
    assert [row["id"] for row in await record.raw("SELECT id FROM runs")] == [loser.run_id]


async def test_f58_a_key_that_is_forgotten_while_it_is_looked_up_is_free(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record.submit(idempotency_key="k", fingerprint=b"x")
    fetchrow, forgotten = asyncpg.Connection.fetchrow, False

    async def forgetting(self: Any, query: str, *args: object, **kwargs: Any) -> Any:
        nonlocal forgotten
        row = await fetchrow(self, query, *args, **kwargs)
        if query == sql("idempotency_insert") and not forgotten:
            forgotten = True
            await record.raw("DELETE FROM idempotency_keys")
        return row

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", forgetting)
    assert (await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"x"))).created
    assert forgotten


async def test_f58_the_same_key_with_another_body_is_refused(record: Record) -> None:
    first = await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"one"))
    with pytest.raises(Refused) as refused:
        await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"another"))
    assert refused.value.code == "idempotency_mismatch"
    again = await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"one"))
    assert (again.run.id, again.created) == (first.run.id, False)


async def test_f58_a_key_is_its_tenants_own(record: Record) -> None:
    await record.raw("INSERT INTO tenants (id) VALUES ('another')")
    mine = await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"one"))
    theirs = await caller.submit(record.db, request(idempotency_key="k", fingerprint=b"another", tenant_id="another"))
    assert mine.created
    assert theirs.created
    assert mine.run.id != theirs.run.id


async def test_a_refused_submit_leaves_nothing_behind(record: Record) -> None:
    missing = request("nowhere", make_thread=False, idempotency_key="k", fingerprint=b"x")
    with pytest.raises(NotFound):
        await caller.submit(record.db, missing)
    assert await record.raw("SELECT FROM idempotency_keys") == []
    again = request("nowhere", idempotency_key="k", fingerprint=b"y")
    assert (await caller.submit(record.db, again)).created


async def test_submits_to_one_thread_at_once_stand_in_the_order_of_their_places(record: Record) -> None:
    answers = await asyncio.gather(*(caller.submit(record.db, request()) for _ in range(8)))
    by_place = sorted(answers, key=lambda answer: answer.position)
    assert [answer.position for answer in by_place] == list(range(1, 9))
    queue = await caller.active_runs(record.db, TENANT, "t")
    assert [run.id for run in queue] == [answer.run.id for answer in by_place]


async def test_a_submit_during_a_migration_works_or_is_refused_for_now(own_url: str) -> None:
    """A prepared statement whose columns have changed cannot be prepared anew within a transaction."""
    db = Database(own_url, pool_size=1, timeout_s=5.0)
    try:
        await caller.submit(db, request())
        await caller.submit(db, request(on_busy=OnBusy.REPLACE))
        await Record(db).raw("ALTER TABLE runs ADD COLUMN added_later text")
        assert (await caller.submit(db, request())).position == 3
        with pytest.raises(StoreUnavailable):
            await caller.submit(db, request(on_busy=OnBusy.REPLACE))
        assert (await caller.submit(db, request(on_busy=OnBusy.REPLACE))).position == 4
    finally:
        await db.close()


async def test_another_tenants_things_are_not_there(record: Record) -> None:
    run_id = await record.submit()
    await record.raw("INSERT INTO tenants (id) VALUES ('another')")
    with pytest.raises(NotFound):
        await caller.run(record.db, "another", run_id)
    with pytest.raises(NotFound):
        await caller.thread(record.db, "another", "t")
    with pytest.raises(NotFound):
        await caller.delete_thread(record.db, "another", "t")
    listed = await caller.runs(record.db, "another", before=None, statuses=None, thread_id=None, agent=None, limit=10)
    assert listed == []
    assert await caller.messages(record.db, "another", "t", after=0, limit=10) == []


async def test_runs_are_listed_newest_first_in_pages_and_by_what_they_are(record: Record) -> None:
    async def page(before: UUID | None = None, limit: int = 10, **by: str | list[str]) -> list[UUID]:
        filters = {"statuses": None, "thread_id": None, "agent": None} | by
        rows = await caller.runs(record.db, TENANT, before=before, limit=limit, **filters)  # type: ignore[arg-type] # by name
        return [row.id for row in rows]

    runs = sorted([await record.submit(thread) for thread in ("a", "b", "b")], reverse=True)
    assert await page() == runs
    assert await page(limit=2) == runs[:2]
    assert await page(before=runs[1]) == runs[2:]
    await record.cancel(runs[0])
    assert await page(statuses=["cancelled", "failed"]) == runs[:1]
    assert await page(statuses=["queued", "queued"]) == runs[1:], "each once, however often its status is named"
    assert len(await page(thread_id="b")) == 2
    assert await page(agent="unknown") == []


async def test_a_thread_is_deleted_with_all_of_it_once_its_runs_have_ended(record: Record) -> None:
    lease = await record.claimed(boot(), idempotency_key="k", fingerprint=b"x")
    await record.step(lease, said="hello")
    assert not await caller.delete_thread(record.db, TENANT, "t")
    await record.finish(lease, said="hello")
    await record.submit("other")
    assert await caller.delete_thread(record.db, TENANT, "t")
    for table in ("idempotency_keys", "steps", "attempts", "messages"):
        assert await record.raw(f"SELECT FROM {table}") == []
    assert [thread.id for thread in await caller.threads(record.db, TENANT, before=2**62, limit=10)] == ["other"]
    with pytest.raises(NotFound):
        await caller.delete_thread(record.db, TENANT, "t")
