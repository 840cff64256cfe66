"""What is deleted for its age: what is over goes with everything of it, in bounded batches, and nothing else goes."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from holdfast.errors import NotFound
from holdfast.runs import Lease, OnOwnerLost
from holdfast.store import caller, owner, retention
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import TENANT, Record, boot, request

_KEEP_S = 86400.0
_OLD = "now() - interval '25 hours'"
_TABLES = ("idempotency_keys", "waits", "steps", "attempts", "messages", "runs", "threads")


async def _age(record: Record, *threads: str) -> None:
    """As if these threads, and what has ended on them, were older than what is kept."""
    await record.raw(f"UPDATE threads SET created_at = {_OLD} WHERE id = ANY ($1)", list(threads))
    await record.raw("ALTER TABLE runs DISABLE TRIGGER runs_terminal_is_final")
    await record.raw(
        f"UPDATE runs SET finished_at = {_OLD} WHERE thread_id = ANY ($1) AND finished_at IS NOT NULL", list(threads)
    )
    await record.raw("ALTER TABLE runs ENABLE TRIGGER runs_terminal_is_final")


async def _look(record: Record, after: retention.Place = retention.START, limit: int = 100) -> retention.Over:
    return await retention.over(record.db, after=after, keep_s=_KEEP_S, limit=limit)


async def _forget(record: Record, *threads: str, runs_max: int = 100, steps_max: int = 1000) -> tuple[int, int]:
    gone = await retention.forget_threads(
        record.db, [(TENANT, thread) for thread in threads], keep_s=_KEEP_S, runs_max=runs_max, steps_max=steps_max
    )
    return gone.threads, gone.runs


async def _left(record: Record) -> dict[str, int]:
    return {table: (await record.raw(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in _TABLES}


async def _whole(record: Record, thread: str) -> None:
    """A thread with something in every table."""
    lease = await record.claimed(boot(), thread, idempotency_key=thread, fingerprint=b"f")
    await record.ask(lease)
    await record.suspend(lease)
    await record.answer(lease)
    lease = await record.again(lease)
    await record.step(lease)
    await record.finish(lease)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "queued", "running", "waiting", "interrupted"])
async def test_a_thread_is_over_when_none_of_its_runs_is_active_and_the_last_ended_long_ago(
    record: Record, status: str
) -> None:
    await record.brought_to("completed", "t")
    await record.brought_to(status, "t")
    assert await _look(record) == retention.Over([], None)
    await _age(record, "t")
    over = status in ("completed", "failed", "cancelled")
    assert await _look(record) == retention.Over([(TENANT, "t")] if over else [], None)
    assert await _forget(record, "t") == ((1, 2) if over else (0, 0))


async def test_everything_of_it_goes_and_nothing_else(record: Record) -> None:
    await _whole(record, "young")
    before = await _left(record)
    await _whole(record, "old")
    await caller.make_thread(record.db, TENANT, "old-and-empty", {})
    await _age(record, "old", "old-and-empty")
    assert await _look(record) == retention.Over([(TENANT, "old"), (TENANT, "old-and-empty")], None)
    assert await _forget(record, "old", "old-and-empty", "young") == (2, 1)
    assert await _left(record) == before
    assert all(before.values())
    gone = await record.raw("SELECT thread_id FROM changes WHERE status = 'deleted'")
    assert [row["thread_id"] for row in gone] == ["old"]


async def test_a_thread_with_many_runs_goes_from_its_oldest_on(record: Record) -> None:
    for _ in range(5):
        await record.brought_to("completed", "t")
    await _age(record, "t")
    assert [await _forget(record, "t", runs_max=2) for _ in range(3)] == [(0, 2), (0, 2), (1, 1)]
    assert not any((await _left(record)).values())


async def test_runs_with_many_steps_go_a_few_at_a_time(record: Record) -> None:
    """By runs alone, a hundred of 2,000 steps took 4 s in one statement, and a little more would never end."""
    for thread in ("t1", "t1", "t2"):
        lease = await record.claimed(boot(), thread)
        for position in ("0", "1", "2"):
            await record.step(lease, position)
        await record.finish(lease)
    await _age(record, "t1", "t2")
    gone = []
    for steps_max in (1, 4, 4):
        each = await retention.forget_threads(
            record.db, [(TENANT, "t1"), (TENANT, "t2")], keep_s=_KEEP_S, runs_max=100, steps_max=steps_max
        )
        gone.append((each.threads, each.runs, each.more))
    assert gone == [(0, 1, True), (2, 2, False), (0, 0, False)]
    assert not any((await _left(record)).values())


async def test_a_child_stays_while_its_parent_is_active(record: Record) -> None:
    """An attempt of the parent that finds no child would start it once more."""
    parent = await record.claimed(boot(), "parent", policy=OnOwnerLost.INTERRUPT)
    child = owner.Child(uuid4(), "echo", "default", {}, {})
    await record.ask(parent, kind="child", name="child", question=None, schema=None, child=child)
    claimed = await record.claim(child.run_id, who := boot())
    assert claimed is not None
    await record.finish(Lease(child.run_id, who, claimed.run.attempt))
    await record.reclaim(parent)
    assert await record.status(parent.run_id) == "interrupted"
    thread = f"child-{child.run_id}"
    await _age(record, thread)
    assert await _forget(record, thread) == (0, 0)
    await record.cancel(parent.run_id)
    assert await _forget(record, thread) == (1, 1)


async def test_the_look_goes_on_behind_its_bound_tenant_by_tenant(record: Record) -> None:
    await record.raw("INSERT INTO tenants (id) VALUES ('later')")
    for thread in ("old-1", "old-2", "young-1", "young-2"):
        await caller.make_thread(record.db, TENANT, thread, {})
    await caller.make_thread(record.db, "later", "old-3", {})
    await _age(record, "old-1", "old-2", "old-3")
    first = await _look(record, limit=1)
    assert first.threads == [(TENANT, "old-1")]
    assert first.go_on is not None
    second = await _look(record, first.go_on, limit=2)
    assert second.threads == [(TENANT, "old-2")]
    assert second.go_on is not None, "there are other tenants behind its young threads"
    assert await _look(record, second.go_on, limit=2) == retention.Over([("later", "old-3")], None)


async def test_a_submit_before_it_keeps_the_thread(record: Record, url: str) -> None:
    await record.brought_to("completed", "t")
    await _age(record, "t")
    async with uncommitted(url) as submitting:
        await submitting.raw("SELECT FROM threads WHERE id = 't' FOR NO KEY UPDATE")
        assert await _forget(record, "t") == (0, 0), "somebody has it at hand"
    run_id = await record.submit("t")
    assert await _forget(record, "t") == (0, 0), "judged anew, whatever was seen before"
    assert await record.status(run_id) == "queued"


async def test_a_submit_after_it_finds_no_thread(record: Record, url: str) -> None:
    await record.brought_to("completed", "t")
    await _age(record, "t")

    async def forget(first: Record) -> None:
        await _forget(first, "t")

    late = caller.submit(record.db, request("t", make_thread=False, on_busy="reject"))
    async with colliding(url, forget, late) as [task]:
        with pytest.raises(NotFound):
            await task


async def test_two_at_once_share_the_work(record: Record) -> None:
    threads = [f"t{n}" for n in range(6)]
    await asyncio.gather(*(record.brought_to("completed", thread) for thread in threads))
    await _age(record, *threads)
    gone = await asyncio.gather(*(_forget(record, *threads) for _ in range(3)))
    assert sum(threads for threads, _ in gone) == sum(runs for _, runs in gone) == 6


async def test_old_idempotency_keys_are_forgotten_the_oldest_first(record: Record) -> None:
    for n in range(4):
        lately = "now() - interval '1 hour'" if n == 3 else f"now() - interval '{9 - n} days'"
        [row] = await record.raw(f"SELECT uuidv7({lately} - now()) AS id")
        await record.submit(f"t{n}", run_id=UUID(str(row["id"])), idempotency_key=f"k{n}", fingerprint=b"f")
        await record.raw(f"UPDATE idempotency_keys SET created_at = {lately} WHERE key = $1", f"k{n}")

    async def forget(limit: int) -> tuple[int, list[str]]:
        count = await retention.forget_keys(record.db, keep_s=6 * _KEEP_S, limit=limit)
        return count, [row["key"] for row in await record.raw("SELECT key FROM idempotency_keys ORDER BY key")]

    assert await forget(2) == (2, ["k2", "k3"])
    assert await forget(2) == (1, ["k3"])
    assert await forget(2) == (0, ["k3"])
    again = await caller.submit(record.db, request("t0", idempotency_key="k0", fingerprint=b"f"))
    assert again.created
