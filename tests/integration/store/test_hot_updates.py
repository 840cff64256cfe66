"""What moves often moves in place: an update that changes no indexed column and finds room on its page writes to no index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.runs import Lease
from holdfast.store import owner
from tests.integration.store.interleaved import uncommitted
from tests.integration.store.record import Record, boot

_MOVES: dict[str, Callable[[Record, Lease], Awaitable[Any]]] = {
    "progress": lambda record, lease: owner.progress(record.db, lease),
    "intent": lambda record, lease: record.intend(lease, "1"),
    "another try": lambda record, lease: record.intend(lease, "0", tries=2),
    "checkpoint": lambda record, lease: record.checkpoint(lease, "0", said="hello"),
}


@pytest.mark.parametrize("move", _MOVES)
async def test_the_path_of_a_step_writes_to_no_index_of_a_run(record: Record, url: str, move: str) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease, "0")
    async with uncommitted(url) as working:
        await _MOVES[move](working, lease)
        rows = await working.raw(
            "SELECT relname, n_tup_upd - n_tup_hot_upd AS cold, n_tup_upd FROM pg_stat_xact_user_tables WHERE n_tup_upd > 0"
        )
    assert [(row["relname"], row["cold"]) for row in rows if row["cold"]] == []
    assert rows or move == "intent", "something was updated"


async def test_a_change_of_status_writes_only_to_what_it_changes(record: Record, url: str) -> None:
    """Of an attempt, nothing but the row; of a run, its indexes, as few as there are."""
    lease = await record.claimed(boot())
    async with uncommitted(url) as working:
        await working.finish(lease)
        [attempts] = await working.raw(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'attempts'"
        )
    assert attempts["n_tup_upd"] == attempts["n_tup_hot_upd"] == 1
    full = await record.raw(
        "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = 'runs'::regclass AND indpred IS NULL ORDER BY 1"
    )
    assert [row["name"] for row in full] == ["runs_by_status", "runs_pkey", "runs_thread_listed"], (
        "each costs every run three writes"
    )
