"""What `make bench` measures, as a sample: the same rounds, asked only for what must hold on any machine."""

from __future__ import annotations

import pytest

from bench import recovery
from bench.figures import Row

pytestmark = pytest.mark.chaos


def _nothing(rows: list[Row]) -> None:
    """Every count of what must not happen is nought. (Times are the bench's; a busy machine is no failure.)"""
    assert [row.line() for row in rows if row.wanted == "0" and not row.holds] == []


async def test_f23_links_of_one_pod_cut_reclaim_nothing(rounds: int, seed: int) -> None:
    _nothing(await recovery.link_cuts(2 * rounds, print, seed=seed))


async def test_f12_nats_restarts_reclaim_nothing(rounds: int) -> None:
    _nothing(await recovery.nats_restarts(rounds, print))


async def test_f11_frozen_owners_write_nothing_more(rounds: int) -> None:
    _nothing(await recovery.freeze_to_resumed(min(rounds, 3), print))


async def test_f01_killed_owners_are_replaced(rounds: int) -> None:
    await recovery.kill_to_resumed(rounds, print)
