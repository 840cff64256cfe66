"""Owners' writes that share a statement: each caller is told its own outcome, and a plan that was made early stays good."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest

from holdfast.errors import LostOwnership, Refused
from holdfast.runs import Lease, Outcome
from holdfast.store import Database, caller, owner
from holdfast.store.queries import sql
from tests.integration.store.record import Record, boot, request
from tests.support.wait import wait_until

_STATEMENTS = {"step_intent": 15, "step_checkpoint": 14, "run_finish": 9, "run_claim": 5}


async def _claimed(record: Record, count: int) -> list[Lease]:
    me = boot()
    runs = [await record.submit(uuid4().hex) for _ in range(count)]
    claimed = await owner.claim_all(record.db, runs, me, {"echo": "v1"})
    assert claimed.keys() == set(runs)
    return [Lease(run, me, 1) for run in runs]


async def test_of_many_who_write_at_once_only_the_loser_is_told_so(record: Record) -> None:
    leases = await _claimed(record, 6)
    lost, poisoned = leases[2], leases[4]
    await record.raw("UPDATE runs SET attempt = 2 WHERE id = $1", lost.run_id)

    async def each(lease: Lease) -> object:
        await owner.intend(record.db, lease, position="0", kind="step", name="s", input_hash=b"h", tries=1)
        output = "\x00" if lease is poisoned else str(lease.run_id)
        await owner.checkpoint(record.db, lease, position="0", output=output, shown_text="said", last_event_id="1-3")
        return await owner.finish(
            record.db, lease, outcome=Outcome.COMPLETED, output=1, terminal_event_id="1-4", shown_text=""
        )

    outcomes = await asyncio.gather(*(each(lease) for lease in leases), return_exceptions=True)
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [LostOwnership, Refused]
    assert isinstance(outcomes[2], LostOwnership)
    for lease in leases:
        steps = await caller.steps(record.db, lease.run_id)
        if lease is lost:
            assert steps == []
        elif lease is poisoned:
            assert [(step.status, step.output) for step in steps] == [("started", None)]
        else:
            assert [(step.status, step.output) for step in steps] == [("completed", str(lease.run_id))]
            assert await record.status(lease.run_id) == "completed"


async def test_steps_of_one_run_may_share_a_statement(record: Record) -> None:
    [lease] = await _claimed(record, 1)
    places = [f"0.{number}" for number in range(5)]
    await asyncio.gather(
        *(
            owner.intend(record.db, lease, position=place, kind="step", name=place, input_hash=b"h", tries=1)
            for place in places
        )
    )
    await asyncio.gather(
        *(
            owner.checkpoint(record.db, lease, position=place, output=place, shown_text="", last_event_id=f"1-{n + 3}")
            for n, place in enumerate(places)
        )
    )
    steps = await caller.steps(record.db, lease.run_id)
    assert [(step.position, step.output) for step in steps] == [(place, place) for place in places]


async def test_of_two_runs_of_a_thread_in_one_claim_the_first_is_taken(record: Record) -> None:
    first, second = [await record.submit("t") for _ in range(2)]
    other = await record.submit("other")
    claimed = await owner.claim_all(record.db, [second, other, first], boot(), {"echo": "v1"})
    assert claimed.keys() == {first, other}
    assert await record.status(second) == "queued"


async def test_a_claim_gives_up_what_was_interrupted_on_its_own_thread(record: Record) -> None:
    interrupted = {}
    for thread in ("a", "b"):
        lease = await record.claimed(boot(), thread)
        await record.finish(lease, Outcome.INTERRUPTED)
        interrupted[thread] = lease.run_id
    runs = {thread: await record.submit(thread) for thread in ("a", "b", "c")}
    claimed = await owner.claim_all(record.db, list(runs.values()), boot("b"), {"echo": "v1"})
    for thread, run in runs.items():
        assert [each.id for each in claimed[run].abandoned] == [
            interrupted[thread] for _ in range(thread in interrupted)
        ]


async def test_batches_that_are_repeated_while_the_first_still_lands_find_its_effect(record: Record, url: str) -> None:
    """What was given up on after its time may be in flight still, behind a row that somebody has locked, with others."""
    first, second = await _claimed(record, 2)
    again = Record(Database(url, pool_size=2, timeout_s=5.0))
    other = await asyncpg.connect(url, timeout=10)

    async def are_held_up() -> bool:
        return bool(await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 2)

    async def twice(
        write: Callable[[Record, Lease], Awaitable[object]], meanwhile: str = "SELECT $1::uuid"
    ) -> list[object]:
        async with other.transaction():
            await other.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", first.run_id)
            await other.execute(meanwhile, first.run_id)
            calls = [asyncio.ensure_future(write(each, lease)) for each in (record, again) for lease in (first, second)]
            await wait_until(are_held_up, description="both batches wait for the row")
        return await asyncio.gather(*calls)

    async def intend(into: Record, lease: Lease) -> None:
        failure = {"try": 0, "code": "c", "message": "m"}
        await owner.intend(
            into.db, lease, position="0", kind="s", name="s", input_hash=b"h", tries=1, recorded=["in"], failure=failure
        )

    async def checkpoint(into: Record, lease: Lease) -> None:
        await owner.checkpoint(
            into.db, lease, position="0", output=1, shown_text="said", last_event_id="1-3", recorded=["out"]
        )

    async def finish(into: Record, lease: Lease) -> str:
        return (await into.finish(lease)).status

    await twice(intend)
    await twice(checkpoint)
    ends = await twice(finish, "UPDATE runs SET cancel_requested_at = now() WHERE id = $1")
    assert ends == ["cancelled", "completed"] * 2, "a cancel that comes just before wins"
    steps = await record.raw("SELECT status, recorded, jsonb_array_length(errors) FROM steps")
    assert [tuple(step) for step in steps] == [("completed", ["in", "out"], 1)] * 2
    said = await record.raw("SELECT run_id FROM messages WHERE role = 'assistant'")
    assert len(said) == 2
    await other.close()
    await again.db.close()


@pytest.mark.parametrize("name", _STATEMENTS)
async def test_a_plan_made_on_empty_tables_looks_rows_up_by_their_keys(own_url: str, name: str) -> None:
    """asyncpg prepares; a plan is kept until the table is analysed, and by then it may hold thousands of rows."""
    connection = await asyncpg.connect(own_url, timeout=10)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE {name} AS {sql(name)}")
        plan = await connection.fetch(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * _STATEMENTS[name])})")
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan" not in text, text
    finally:
        await connection.close()


async def test_plans_are_kept(own_url: str) -> None:
    db = Database(own_url, pool_size=1, timeout_s=10.0)
    try:
        record = Record(db)
        for _ in range(8):
            [lease] = await _claimed(record, 1)
            await record.step(lease, "0")
            await record.finish(lease)
        for name in _STATEMENTS:
            [kept] = await record.raw(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", sql(name)
            )
            assert (kept["generic_plans"], kept["custom_plans"]) == (8, 0), name
    finally:
        await db.close()


async def test_who_submits_is_claimed_with_what_was_asked(record: Record) -> None:
    made = [await caller.submit(record.db, request(uuid4().hex, input={"n": n})) for n in range(3)]
    claimed = await owner.claim_all(record.db, [each.run.id for each in made], boot(), {"echo": "v1"})
    assert [claimed[each.run.id].run.input for each in made] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert all((each.from_pod, each.from_why, each.abandoned) == (None, None, ()) for each in claimed.values())
