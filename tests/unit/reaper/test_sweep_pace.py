"""When a sweep goes on at once, and when it waits for its next turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import pytest

from holdfast.settings import ReaperSettings
from holdfast.store import retention, stranger
from holdfast_reaper.sweeps import Sweeps

_FURTHER = stranger.Place("default", "t")


class _Announcer:
    def __init__(self, missing: int) -> None:
        self._missing = missing

    async def request(self, wanted: Sequence[tuple[str, UUID]]) -> list[UUID]:
        """So many had no request."""
        return [run_id for _, run_id in wanted[: self._missing]]


def _sweeps(*, missing: int = 0, **settings: Any) -> Sweeps:
    nobody = cast(Any, None)
    return Sweeps(nobody, nobody, nobody, cast(Any, _Announcer(missing)), ReaperSettings(**settings))


@pytest.mark.parametrize(
    ("missing", "go_on", "pause"), [(3, _FURTHER, 0.0), (2, _FURTHER, None), (0, _FURTHER, None), (4, None, None)]
)
async def test_requests_that_nats_has_lost_are_restored_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, missing: int, go_on: stranger.Place | None, pause: float | None
) -> None:
    places = []

    async def claimable(_: Any, *, after: stranger.Place, older_than_s: float, limit: int) -> stranger.Claimable:
        places.append(after)
        return stranger.Claimable([("default", UUID(int=n)) for n in range(4)], go_on)

    monkeypatch.setattr(stranger, "claimable", claimable)
    sweeps = _sweeps(missing=missing, sweep_batch_size=4)
    assert [await sweeps.requests(), await sweeps.requests()] == [pause, pause]
    assert places == [stranger.START, go_on or stranger.START]


async def test_a_batch_of_threads_that_are_held_up_holds_up_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many threads that wait for a person, each with a message behind, none keeps a lost request from being found."""
    limits = []

    async def claimable(_: Any, *, after: stranger.Place, older_than_s: float, limit: int) -> stranger.Claimable:
        limits.append(limit)
        done = len(limits) == 7
        return stranger.Claimable([("default", UUID(int=1))] if done else [], None if done else _FURTHER)

    monkeypatch.setattr(stranger, "claimable", claimable)
    assert await _sweeps(missing=1).requests() is None
    assert len(limits) == 7


async def test_threads_are_kept_for_ever_unless_told_otherwise() -> None:
    assert ReaperSettings().retention_s is None
    assert await _sweeps().retention() is None, "it has not looked, or it would have failed without a record"


async def test_a_thread_with_many_runs_is_looked_at_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    further = retention.Place("default", 7)
    gone = iter([retention.Forgotten(0, 7, True), retention.Forgotten(1, 3, False), retention.Forgotten(0, 0, False)])
    places = []

    async def over(_: Any, *, after: retention.Place, keep_s: float, limit: int) -> retention.Over:
        places.append(after)
        return retention.Over([("default", "t")], further if after == retention.START else None)

    async def forget_threads(*_: Any, **__: Any) -> retention.Forgotten:
        return next(gone)

    monkeypatch.setattr(retention, "over", over)
    monkeypatch.setattr(retention, "forget_threads", forget_threads)
    sweeps = _sweeps(retention_s=86400)
    assert [await sweeps.retention() for _ in range(3)] == [0.0, 0.0, None]
    assert places == [retention.START, retention.START, further]
