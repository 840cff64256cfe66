"""A database of an earlier release, with work in it, is brought up to date: nothing is lost and the work goes on. Row F60."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from alembic import command

import holdfast.store
from holdfast.errors import StoreUnavailable
from holdfast.runs import Lease
from holdfast.store import Database, caller, feed
from holdfast.store.migrate import head, migrate
from tests.integration.store.conftest import execute
from tests.integration.store.record import TENANT, Record, boot
from tests.support.wait import wait_until

_FIRST = Path(holdfast.store.__file__).parent / "migrations" / "versions" / "r0001_record.sql"
_DONE, _BEGUN, _QUEUED, _LATER = (UUID(int=n) for n in range(1, 5))

# What the release before has written: a thread whose first run has ended, whose second lost its pod in a step, and with two more
# in its queue.
_WORK = f"""
INSERT INTO threads (tenant_id, id) VALUES ('default', 't');
INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, status, attempt, claimed_at, finished_at,
                  terminal_event_id, output)
VALUES ('{_DONE}', 'default', 't', 'echo', 'default', '{{}}', 'completed', 1, now(), now(), '1-9', '1');
INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input, status, attempt, claimed_at, crashes)
VALUES ('{_BEGUN}', 'default', 't', 'echo', 'default', '{{}}', 'queued', 1, now(), 1);
INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input)
VALUES ('{_QUEUED}', 'default', 't', 'echo', 'default', '{{}}'), ('{_LATER}', 'default', 't', 'echo', 'default', '{{}}');
INSERT INTO attempts (run_id, attempt, pod, boot, code_version, ended_at, ended_why)
VALUES ('{_BEGUN}', 1, 'old', uuidv7(), 'v0', now(), 'owner_lost');
INSERT INTO steps (run_id, position, kind, name, input_hash, status, attempt, shown_text, last_event_id, finished_at)
VALUES ('{_BEGUN}', '0', 'model', 'chat', 'h', 'completed', 1, 'one ', '1-10', now()),
       ('{_BEGUN}', '1', 'model', 'chat', 'h', 'completed', 1, 'two ', '1-9', now()),
       ('{_BEGUN}', '2', 'model', 'chat', 'h', 'started', 1, '', NULL, NULL);
INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)
VALUES ('default', 't', '{_BEGUN}', 'user', '[]', 'complete');
"""


@pytest.fixture
async def old_url(empty_url: str) -> str:
    """A database as revision 0001 leaves it, with work in it."""
    first = _FIRST.read_text(encoding="utf-8")
    version = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('0001')"
    await execute(empty_url, first, version, _WORK)
    return empty_url


@pytest.fixture
async def at_0004(old_url: str) -> str:
    """That database, brought to revision 0004."""
    with pytest.MonkeyPatch.context() as patched:
        upgrade = command.upgrade
        patched.setattr(command, "upgrade", lambda config, _: upgrade(config, "0004"))
        await asyncio.to_thread(migrate, old_url)
    return old_url


@pytest.fixture
async def upgraded(old_url: str) -> AsyncIterator[Record]:
    assert await asyncio.to_thread(migrate, old_url) == ("0001", head())
    db = Database(old_url, pool_size=2, timeout_s=5.0)
    yield Record(db)
    await db.close()


async def test_f60_work_in_a_database_of_the_release_before_goes_on(upgraded: Record) -> None:
    claimed = await upgraded.claim(_BEGUN, who := boot())
    assert claimed is not None
    assert (claimed.run.attempt, claimed.from_pod, claimed.from_why) == (2, "old", "owner_lost")
    assert (claimed.run.idle_timeout_s, claimed.run.deadline_at, claimed.run.on_unknown) == (600, None, None)
    steps = await upgraded.journal(_BEGUN)
    assert [(step.finish_id, step.told, step.errors) for step in steps.values()] == [
        ("1-10", True, []), ("1-9", True, []), (None, True, []),
    ]  # fmt: skip
    filled = await upgraded.raw("SELECT finish_id FROM steps ORDER BY position")
    assert [row["finish_id"] for row in filled] == ["1-10", "1-9", None]
    tails = await caller.tails(upgraded.db, [_BEGUN])
    assert tails[_BEGUN].keep_through == "1-10"
    lease = Lease(_BEGUN, who, 2)
    await upgraded.step(lease, "2", said="three", last_event_id="2-4")
    ended = await upgraded.finish(lease)
    assert (ended.status, ended.next_id) == ("completed", _QUEUED)
    answer = (await caller.run_messages(upgraded.db, _BEGUN))[-1]
    assert answer.parts == [{"type": "text", "text": "two one three"}]


async def test_f60_runs_of_the_release_before_are_in_the_feed(upgraded: Record) -> None:
    standing = await feed.standing(upgraded.db, TENANT, limit=10)
    assert {run.id for run in standing.runs} == {_BEGUN, _QUEUED, _LATER}
    assert await upgraded.claim(_BEGUN, boot()) is not None

    async def told() -> bool:
        read = await feed.changes(upgraded.db, {TENANT: standing.place}, limit=10)
        return [(each.run_id, each.status) for each in read.of_tenant[TENANT].changes] == [(_BEGUN, "running")]

    await wait_until(told, description="the change, once Postgres's own transactions are over")


async def test_f60_a_queue_of_the_release_before_keeps_its_order_and_has_room(upgraded: Record) -> None:
    newest = await upgraded.submit()
    order = [_BEGUN, _QUEUED, _LATER, newest]
    assert [run.id for run in await caller.queue(upgraded.db, TENANT, "t")] == order
    claimed = await upgraded.claim(_BEGUN, who := boot())
    assert claimed is not None
    await caller.queue_first(upgraded.db, TENANT, "t", newest)
    await upgraded.release(Lease(_BEGUN, who, 2))
    ranks = [row["queue_rank"] for row in await upgraded.raw("SELECT queue_rank FROM runs WHERE status = 'queued'")]
    assert len(set(ranks)) == 4, "nobody shares a place"
    assert [run.id for run in await caller.queue(upgraded.db, TENANT, "t")] == [_BEGUN, newest, _QUEUED, _LATER]


_MAKES_RUN = (
    "INSERT INTO runs (tenant_id, thread_id, agent, pool, input) VALUES ('default', 'new', 'echo', 'default', '{}')"
)
_AT_WORK = {
    "submits": ("INSERT INTO threads (tenant_id, id) VALUES ('default', 'new')", _MAKES_RUN),
    "claims": ("SELECT FROM runs FOR NO KEY UPDATE", "UPDATE runs SET metadata = '{}' WHERE status = 'queued'"),
    "ends": (
        "UPDATE runs SET metadata = '{}' WHERE status = 'queued'",
        "INSERT INTO messages (tenant_id, thread_id, run_id, role, parts, status)"
        " SELECT tenant_id, thread_id, id, 'assistant', '[]', 'complete' FROM runs",
    ),
}


@pytest.mark.parametrize("who", _AT_WORK)
async def test_f60_who_writes_while_it_migrates_and_it_do_not_wait_for_each_other(at_0004: str, who: str) -> None:
    """Whoever writes holds one table when it comes to the next; the migration came to them in another order, and lost."""
    connection, watching = await asyncpg.connect(at_0004, timeout=10), await asyncpg.connect(at_0004, timeout=10)
    first, then = _AT_WORK[who]
    try:
        async with connection.transaction():
            await connection.execute(first)
            migrating = asyncio.create_task(asyncio.to_thread(migrate, at_0004))

            async def waits() -> bool:
                return bool(await watching.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))

            await wait_until(waits, description="the migration to come to a table that is in use")
            await connection.execute(then)
        assert await migrating == ("0004", head())
    finally:
        await connection.close()
        await watching.close()


async def test_f60_a_migration_that_is_broken_off_says_so_and_is_repeated(at_0004: str) -> None:
    connection = await asyncpg.connect(at_0004, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM runs")  # at its last part, which locks that table
            with pytest.raises(StoreUnavailable, match=r"broken off.*lock timeout"):
                await asyncio.to_thread(migrate, at_0004, lock_timeout_s=0.1)
        assert await asyncio.to_thread(migrate, at_0004) == ("0004", head())
    finally:
        await connection.close()


async def test_f60_an_index_that_was_broken_off_before_is_made(old_url: str) -> None:
    """The one that may be made before the migration, with CONCURRENTLY, stays behind unusable when that fails."""
    await execute(
        old_url,
        "CREATE INDEX runs_by_status ON runs (tenant_id, status, id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'runs_by_status'::regclass",
    )
    await asyncio.to_thread(migrate, old_url)
    db = Database(old_url, pool_size=1, timeout_s=5.0)
    assert await Record(db).raw("SELECT FROM pg_index WHERE NOT indisvalid") == []
    await db.close()


async def test_f60_what_had_ended_stays_as_it_was(old_url: str) -> None:
    db = Database(old_url, pool_size=1, timeout_s=5.0)
    before = await Record(db).row(_DONE)
    await db.close()
    await asyncio.to_thread(migrate, old_url)
    db = Database(old_url, pool_size=1, timeout_s=5.0)
    after = await Record(db).row(_DONE)
    await db.close()
    assert before.items() <= after.items()


async def test_f60_code_of_the_release_before_may_still_write(upgraded: Record) -> None:
    """A rolling upgrade: its checkpoint knows no ``finish_id``."""
    await upgraded.raw(
        "UPDATE steps SET status = 'completed', shown_text = 'three', last_event_id = '1-11', finished_at = now()"
        " WHERE position = '2'"
    )
    assert (await upgraded.journal(_BEGUN))["2"].finish_id == "1-11"
    await upgraded.cancel(_BEGUN)
    answer = (await caller.run_messages(upgraded.db, _BEGUN))[-1]
    assert answer.parts == [{"type": "text", "text": "two one three"}]
