"""Patience: it ends when nothing moves, and not because a stream is old."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_client import Unreachable, patience
from holdfast_client.patience import Patience

AWAY = Unreachable("away", url="http://gateway.test", reached=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set; pauses take none."""
    now = [0.0]
    sleep = asyncio.sleep

    async def at_once(_: float) -> None:
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    monkeypatch.setattr(patience, "_now", lambda: now[0])
    return now


async def test_it_ends_when_nothing_has_moved_for_its_limit(clock: list[float]) -> None:
    tried = Patience(300)
    for clock[0] in (0, 100, 299):
        await tried.pause(AWAY)
    clock[0] = 301
    with pytest.raises(Unreachable, match="away; gave up after 300 s"):
        await tried.pause(AWAY)


async def test_a_stream_of_a_waiting_run_may_be_cut_every_hour_for_days(clock: list[float]) -> None:
    """No event comes: only keepalives, and each hour something on the way cuts what is old."""
    waiting = Patience(300)
    for hour in range(72):
        clock[0] = hour * 3600.0
        await waiting.pause(AWAY)
        waiting.connected()


async def test_connections_that_are_taken_and_broken_at_once_are_no_progress(clock: list[float]) -> None:
    broken = Patience(300)
    for clock[0] in range(300):
        broken.connected()
        await broken.pause(AWAY)
    clock[0] = 301
    broken.connected()
    with pytest.raises(Unreachable):
        await broken.pause(AWAY)
