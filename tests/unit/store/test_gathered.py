"""Natural batching: who shares a batch with whom, and that each is told its own outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from holdfast.errors import Refused, StoreUnavailable
from holdfast.store import Database
from holdfast.store import gathered as module
from holdfast.store.gathered import Gathered


class Batches:
    """Takes batches, and answers each when it is told to."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.arrived = asyncio.Event()

    async def do(self, items: Sequence[int]) -> list[int | Exception]:
        self.seen.append(list(items))
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        self.arrived.set()
        await gate
        return [Refused("odd", str(item)) if item % 2 else item * 10 for item in items]

    async def until(self, count: int) -> None:
        while len(self.seen) < count:
            self.arrived.clear()
            await self.arrived.wait()

    def open(self) -> None:
        for gate in self.gates:
            if not gate.done():
                gate.set_result(None)


async def test_what_comes_while_a_batch_is_in_flight_shares_the_next_one() -> None:
    batches = Batches()
    call = Gathered(batches.do, items_max=3)
    calls = [asyncio.ensure_future(call(2))]
    await batches.until(1)
    calls += [asyncio.ensure_future(call(item)) for item in (4, 5, 6, 8)]
    await asyncio.sleep(0)
    batches.open()
    await batches.until(2)
    batches.open()
    await batches.until(3)
    batches.open()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert batches.seen == [[2], [4, 5, 6], [8]], "alone at once, then together, and never more than it may"
    assert [each if isinstance(each, int) else str(each) for each in outcomes] == [20, 40, "5", 60, 80]


async def test_each_call_that_follows_a_batch_s_end_is_done() -> None:
    """One that comes between the end of a batch and the end of its task must not wait for a task that has looked already."""

    async def do(items: Sequence[int]) -> list[int | Exception]:
        await asyncio.sleep(0)
        return list(items)

    call = Gathered(do, items_max=8)

    async def one_after_the_other(start: int) -> int:
        for number in range(start, start + 200):
            assert await call(number) == number
            for _ in range(number % 4):
                await asyncio.sleep(0)
        return start

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(one_after_the_other(start) for start in range(0, 1000, 200))) is not None


async def test_what_one_cannot_have_does_not_cost_the_others() -> None:
    seen: list[list[int]] = []

    async def do(items: Sequence[int]) -> list[int | Exception]:
        seen.append(list(items))
        await asyncio.sleep(0)
        if 3 in items:
            raise Refused("three", "not three")
        return list(items)

    call = Gathered(do, items_max=8)
    outcomes = await asyncio.gather(*(call(item) for item in (1, 2, 3, 4)), return_exceptions=True)
    assert [each if isinstance(each, int) else str(each) for each in outcomes] == [1, 2, "not three", 4]
    assert seen[0] == [1, 2, 3, 4]


async def test_an_outage_is_everybodys() -> None:
    asked = 0

    async def do(_: Sequence[int]) -> list[int | Exception]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    call = Gathered(do, items_max=8)
    outcomes = await asyncio.gather(*(call(item) for item in range(4)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailable] * 4
    assert asked == 1, "nobody asks one by one what does not answer"


async def test_who_is_cancelled_is_left_out_before_and_carried_through_in_flight() -> None:
    batches = Batches()
    call = Gathered(batches.do, items_max=8)
    first = asyncio.ensure_future(call(2))
    await batches.until(1)
    gone, stays = asyncio.ensure_future(call(4)), asyncio.ensure_future(call(6))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    batches.open()
    await batches.until(2)
    batches.open()
    assert await stays == 60
    assert batches.seen == [[2], [6]]


async def test_large_ones_go_in_batches_of_their_own() -> None:
    batches = Batches()
    call = Gathered(batches.do, items_max=8, weigh=lambda item: item, weight_max=10)
    calls = [asyncio.ensure_future(call(item)) for item in (2, 4, 6, 100, 2)]
    for count in range(1, 5):
        await batches.until(count)
        batches.open()
    assert await asyncio.gather(*calls) == [20, 40, 60, 1000, 20]
    assert batches.seen == [[2, 4], [6], [100], [2]]


async def test_one_that_is_held_up_does_not_hold_up_who_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_UP_S", -1.0)
    batches = Batches()
    call = Gathered(batches.do, items_max=8, in_flight_max=2)
    calls = [asyncio.ensure_future(call(2))]
    await batches.until(1)
    calls.append(asyncio.ensure_future(call(4)))
    await batches.until(2)
    calls.append(asyncio.ensure_future(call(6)))
    await asyncio.sleep(0)
    assert batches.seen == [[2], [4]], "and not without bound"
    batches.open()
    await batches.until(3)
    batches.open()
    assert await asyncio.gather(*calls) == [20, 40, 60]


async def test_one_who_came_just_before_a_batch_was_held_up_passes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_UP_S", 0.01)
    batches = Batches()
    call = Gathered(batches.do, items_max=8)
    calls = [asyncio.ensure_future(call(2))]
    await batches.until(1)
    calls.append(asyncio.ensure_future(call(4)))
    async with asyncio.timeout(5):
        await batches.until(2)  # though nobody comes after it
    batches.open()
    assert await asyncio.gather(*calls) == [20, 40]


async def test_nobody_waits_for_a_batch_that_was_cancelled() -> None:
    async def do(_: Sequence[int]) -> list[int | Exception]:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    call = Gathered(do, items_max=1)
    calls = [asyncio.ensure_future(call(item)) for item in range(3)]
    done, _ = await asyncio.wait(calls, timeout=5)
    assert [each.cancelled() for each in done] == [True] * 3


async def test_an_answer_that_is_too_short_is_an_error() -> None:
    async def do(_: Sequence[int]) -> list[int | Exception]:
        await asyncio.sleep(0)
        return []

    call = Gathered(do, items_max=8)
    with pytest.raises(ValueError, match="shorter"):
        async with asyncio.timeout(5):
            await call(1)


async def test_no_call_outlasts_the_time_limit_not_even_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_UP_S", 60.0)
    db, begun = Database("postgresql://nowhere", pool_size=1, timeout_s=0.1), asyncio.Event()

    async def frozen(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(db, "_work", frozen)

    async def call() -> float:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await db.together("any", 1)
        return time.monotonic() - started

    first = asyncio.ensure_future(call())
    await begun.wait()
    await asyncio.sleep(0.05)
    assert await call() < 0.14
    await first
