"""A write whose answer was lost, or which lands late: repeated, it comes to the same as once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from holdfast.errors import LostOwnership, StoreUnavailable
from holdfast.runs import Lease
from holdfast.store import Database, WaitRow, caller, owner
from tests.integration.store.record import TENANT, Record, boot, request
from tests.support.proxy import Direction, Proxy
from tests.support.wait import wait_until

Write = Callable[[Record, Lease], Awaitable[object]]


async def _position(opening: Awaitable[WaitRow]) -> str:
    return (await opening).position


# in each of these the position "0" is intended and the wait "7" opened beforehand
_WRITES: dict[str, Write] = {
    "intend": lambda record, lease: record.intend(lease, "1"),
    "intend_again": lambda record, lease: record.intend(lease, "0", tries=2),
    "checkpoint": lambda record, lease: record.checkpoint(lease, "0", said="hello"),
    "finish": lambda record, lease: record.finish(lease, said="hello"),
    "release": lambda record, lease: record.release(lease),
    "open_wait": lambda record, lease: _position(record.ask(lease, "8")),
    "suspend": lambda record, lease: record.suspend(lease, said="hello"),
}


def _is_done(answer: bytes) -> bool:
    """It ends with ReadyForQuery, outside any transaction: what was asked is carried out and committed."""
    return answer.endswith(b"Z\x00\x00\x00\x05I")


def _is_execute(asked: bytes) -> bool:
    """It ends with Sync, which a statement's execution does and its preparation does not."""
    return asked.endswith(b"S\x00\x00\x00\x04")


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(url) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy, url: str) -> AsyncIterator[Record]:
    """The record by way of the proxy, on one connection."""
    db = Database(proxy.url(url), pool_size=1, timeout_s=1.0)
    yield Record(db)
    await db.close()


async def _outcome(record: Record, run_id: UUID) -> list[Any]:
    """What the record holds of a run, without times and ids."""
    row = await record.row(run_id)
    steps = await caller.steps(record.db, run_id)
    messages = await caller.messages(record.db, TENANT, row["thread_id"], after=0, limit=100)
    return [
        [
            row[name]
            for name in ("status", "attempt", "crashes", "output", "error", "terminal_event_id", "run_owner_pod")
        ],
        [(step.position, step.status, step.tries, step.attempt, step.output, step.last_event_id) for step in steps],
        [(attempt.attempt, attempt.pod, attempt.ended_why) for attempt in await caller.attempts(record.db, run_id)],
        [(message.role, message.parts, message.status) for message in messages],
    ]


async def _ready(record: Record, thread: str) -> Lease:
    lease = await record.claimed(boot(), thread)
    await record.intend(lease, "0")
    await record.ask(lease)
    return lease


async def _warm(far: Record, name: str) -> None:
    """The statement is prepared on the connection, so that the next answer is that of its execution."""
    lease = await _ready(far, "warm")
    await _WRITES[name](far, lease)


@asynccontextmanager
async def _held_back(proxy: Proxy, url: str, name: str, lease: Lease) -> AsyncIterator[None]:
    """A write that its sender has given up on. It reaches the server at the end of the block."""
    db = Database(proxy.url(url), pool_size=1, timeout_s=0.3)
    await _warm(Record(db), name)
    proxy.stall(Direction.UP, new_links=False)
    with pytest.raises(StoreUnavailable):
        await _WRITES[name](Record(db), lease)
    # the driver asks the server, by another connection, to cancel the statement: that comes too early, and must not come too late
    await wait_until(lambda: proxy.links_ever >= 2 and proxy.links == 1, description="the cancel request to be over")
    yield
    proxy.resume()
    await db.close()  # the connection ends once the server has read all that was held back
    await wait_until(lambda: proxy.links == 0, description="the held connection to end")


@pytest.mark.parametrize("name", _WRITES)
async def test_a_write_whose_answer_was_lost_is_repeated_to_the_same_end(
    record: Record, far: Record, proxy: Proxy, name: str
) -> None:
    once, twice = await _ready(record, "once"), await _ready(record, "twice")
    await _warm(far, name)
    expected = await _WRITES[name](record, once)

    lost = proxy.cut_when(Direction.DOWN, _is_done)
    with pytest.raises(StoreUnavailable):
        await _WRITES[name](far, twice)
    assert lost.is_set()
    assert await _outcome(record, twice.run_id) == await _outcome(record, once.run_id), "it was carried out"
    for _ in range(2):
        answer = await _WRITES[name](far, twice)
        assert str(answer).replace(str(twice.run_id), "") == str(expected).replace(str(once.run_id), "")
        assert await _outcome(record, twice.run_id) == await _outcome(record, once.run_id)


@pytest.mark.parametrize("name", _WRITES)
async def test_a_write_that_never_arrived_is_repeated_to_the_same_end(
    record: Record, far: Record, proxy: Proxy, name: str
) -> None:
    once, never = await _ready(record, "once"), await _ready(record, "never")
    await _warm(far, name)
    expected = await _WRITES[name](record, once)
    before = await _outcome(record, never.run_id)

    lost = proxy.cut_when(Direction.UP, _is_execute)
    with pytest.raises(StoreUnavailable):
        await _WRITES[name](far, never)
    assert lost.is_set()
    assert await _outcome(record, never.run_id) == before
    answer = await _WRITES[name](far, never)
    assert str(answer).replace(str(never.run_id), "") == str(expected).replace(str(once.run_id), "")
    assert await _outcome(record, never.run_id) == await _outcome(record, once.run_id)


async def test_a_lost_answer_whose_run_was_taken_meanwhile_is_a_loss(record: Record, far: Record, proxy: Proxy) -> None:
    lease = await _ready(record, "t")
    await _warm(far, "checkpoint")
    proxy.cut_when(Direction.DOWN, _is_done)
    with pytest.raises(StoreUnavailable):
        await far.checkpoint(lease, "0", said="hello")
    await record.reclaim(lease)
    before = await _outcome(record, lease.run_id)
    with pytest.raises(LostOwnership):
        await far.checkpoint(lease, "0", said="hello")
    with pytest.raises(LostOwnership):
        await far.finish(lease)
    assert await _outcome(record, lease.run_id) == before


async def test_what_is_held_back_does_land_late(record: Record, proxy: Proxy, url: str) -> None:
    """Without this the next test would prove nothing."""
    lease = await _ready(record, "t")
    async with _held_back(proxy, url, "intend", lease):
        assert [step.position for step in await caller.steps(record.db, lease.run_id)] == ["0", "7"]
    assert [step.position for step in await caller.steps(record.db, lease.run_id)] == ["0", "1", "7"]


@pytest.mark.parametrize("late", ["intend", "intend_again", "checkpoint", "finish"])
async def test_a_write_that_lands_after_its_repeat_changes_nothing_more(
    record: Record, proxy: Proxy, url: str, late: str
) -> None:
    """It is held back until its sender has given up, done it again and gone on to the end of the step."""
    lease = await _ready(record, "t")
    async with _held_back(proxy, url, late, lease):
        await _WRITES[late](record, lease)
        if late == "intend":
            await record.checkpoint(lease, "1", said="done")
        elif late == "intend_again":
            await record.checkpoint(lease, "0", said="done")
        before = await _outcome(record, lease.run_id)
    assert await _outcome(record, lease.run_id) == before


async def test_a_submit_whose_answer_was_lost_makes_one_run(record: Record, far: Record, proxy: Proxy) -> None:
    await caller.submit(far.db, request("warm", idempotency_key="warm", fingerprint=b"x"))
    lost = proxy.cut_when(Direction.DOWN, lambda answer: b"SELECT 1\x00" in answer)  # its one statement is done
    with pytest.raises(StoreUnavailable):
        await caller.submit(far.db, request(idempotency_key="k", fingerprint=b"x"))
    assert lost.is_set()
    again = await caller.submit(far.db, request(idempotency_key="k", fingerprint=b"x"))
    assert not again.created
    assert [row["id"] for row in await record.raw("SELECT id FROM runs WHERE thread_id = 't'")] == [again.run.id]


async def test_a_claim_whose_answer_was_lost_is_found_among_the_owners_runs(
    record: Record, far: Record, proxy: Proxy
) -> None:
    await far.claimed(boot(), "warm")
    run_id, who = await record.submit(), boot()
    proxy.cut_when(Direction.DOWN, _is_done)
    with pytest.raises(StoreUnavailable):
        await far.claim(run_id, who)
    assert await far.claim(run_id, who) is None
    assert await owner.owned(far.db, who, limit=10) == [(run_id, 1, False)]
    released = await far.release(Lease(run_id, who, 1))
    assert (released.status, released.next_id) == ("queued", run_id)


@pytest.mark.parametrize("down", ["cut", "stalled"])
async def test_a_database_works_again_when_its_link_does(far: Record, proxy: Proxy, down: str) -> None:
    await caller.ping(far.db)
    proxy.cut() if down == "cut" else proxy.stall()
    for _ in range(2):
        async with asyncio.timeout(1.5):
            with pytest.raises(StoreUnavailable):
                await caller.ping(far.db)
    proxy.restore()
    proxy.resume()

    async def answers() -> bool:
        try:
            await caller.ping(far.db)
        except StoreUnavailable:
            return False
        return True

    await wait_until(answers, description="the record to answer again", timeout_s=5.0)
