"""Readings that are shared: as few as can be, and never one that began before it was asked for."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_gateway.shared import SharedReading


async def test_who_comes_during_a_reading_shares_the_next_one() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    begun: list[str] = []

    async def read(key: str) -> int:
        begun.append(key)
        number = len(begun)
        await gates[number - 1].wait()
        return number

    shared = SharedReading(read)
    first = asyncio.create_task(shared("a"))
    await asyncio.sleep(0)
    others = [asyncio.create_task(shared("a")) for _ in range(5)]
    await asyncio.sleep(0)
    others[0].cancel()  # one that goes away does not take it from the others
    gates[0].set()
    assert await first == 1
    gates[1].set()
    assert await asyncio.gather(*others[1:]) == [2] * 4
    gates[2].set()
    assert await shared("a") == 3
    assert begun == ["a"] * 3


async def test_an_error_is_everybodys_and_is_not_kept() -> None:
    fails = True

    async def read(_: str) -> str:
        await asyncio.sleep(0)
        if fails:
            raise LookupError
        return "there"

    shared = SharedReading(read)
    answers = await asyncio.gather(*(shared("a") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LookupError] * 3
    with pytest.raises(LookupError):
        await shared("a")
    fails = False
    assert await shared("a") == "there"
