"""No statement reads or sorts what grows: it has few rows to look at whether a run is one of a hundred or one of a million.

Plans are the generic ones, made while the planner knew of ended runs alone, as it is when a queue has just come. Those of each
statement fall if an index that it needs is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from bench.growth.filling import Filling, fill
from holdfast_local.servers import PostgresServer
from tests.integration.store.conftest import make_database
from tests.integration.store.plans import Plan, plan_of
from tests.integration.store.record import Record

_BOOT = UUID(int=1)
_NEW = UUID("01900000-0000-7000-8000-000000000001")
_DAY_S = 86400.0
_PAGES_MAX = 400  # the functions that are called are read from the catalogue, too
_FEW = Filling(ended=20_000, queued=3_000, running=100, waiting=300)
_MANY = Filling(ended=1_000_000, queued=100_000, running=200, waiting=1_000)


@dataclass(frozen=True)
class Case:
    """A statement with its arguments; ``{name}`` in them stands for what :data:`_SAMPLES` finds. ``needs`` are indexes without
    which it falls. ``rows_max`` are read for what it returns, at the most."""

    statement: str
    args: tuple[Any, ...]
    needs: tuple[str, ...] = ()
    rows_max: int = 30
    pages_max: int = _PAGES_MAX


_SAMPLES = {
    "ended": "SELECT id FROM runs WHERE thread_id = 'ended-0' AND status = 'completed' ORDER BY id OFFSET 1000 LIMIT 1",
    "alone": "SELECT id FROM runs WHERE thread_id = 'queued-2'",
    "chat": "SELECT id FROM runs WHERE thread_id = 'chat-3' AND status = 'queued' ORDER BY queue_rank LIMIT 1",
    "running": "SELECT id FROM runs WHERE run_owner_pod = 'pod-1' LIMIT 1",
    "running2": "SELECT id FROM runs WHERE run_owner_pod = 'pod-1' OFFSET 1 LIMIT 1",
    "waiting": "SELECT run_id FROM waits WHERE kind = 'ask' AND done_at IS NULL ORDER BY id LIMIT 1",
    "asked": "SELECT id FROM waits WHERE kind = 'ask' AND done_at IS NULL ORDER BY id LIMIT 1",
}
_TWO = (["{running}", "{running2}"], ["pod-1"] * 2, [_BOOT] * 2, [1] * 2)
_FENCE = ("{running}", "pod-1", _BOOT, 1)
_NONE = [None] * 2
_ANY = (None,) * 4

# The path of a run.
_RUN = {
    "submit": Case(
        "submit",
        (
            [_NEW],
            ["default"],
            ["chat-3"],
            [True],
            ["echo"],
            ["default"],
            ["{}"],
            ["{}"],
            [5],
            ["resume"],
            [None],
            [600],
            [None],
            [None],
            ["k"],
            [b"f"],
        ),
    ),
    "thread_lock": Case("thread_lock", ("default", "chat-3"), ("threads_pkey",)),
    "idempotency_read": Case("idempotency_read", ("default", "key-77"), ("idempotency_keys_pkey",)),
    "run_claim": Case(
        "run_claim",
        (["{alone}", "{chat}"], "pod-1", _BOOT, ["echo"], ["1"]),
        ("runs_thread_queue", "runs_thread_active", "runs_thread_interrupted"),
    ),
    "run_is_claimable": Case("run_is_claimable", ("{chat}",), ("runs_thread_queue", "runs_thread_active")),
    "message_list_before_run": Case(
        "message_list_before_run",
        ("default", "ended-0", "{ended}", None, 10),
        ("messages_thread", "messages_run", "runs_forks"),
    ),
    "step_list": Case("step_list", ("{ended}",), ("steps_pkey",)),
    "wait_list_run": Case("wait_list_run", ("{waiting}",), ("waits_run",)),
    "attempt_list_kept": Case("attempt_list_kept", ("{ended}",), ("attempts_pkey",)),
    "step_intent": Case(
        "step_intent",
        (
            *_TWO,
            ["1"] * 2,
            ["model"] * 2,
            ["chat"] * 2,
            [b"h"] * 2,
            [1] * 2,
            _NONE,
            _NONE,
            ["1"] * 2,
            _NONE,
            ["[]"] * 2,
            _NONE,
        ),
    ),
    "step_checkpoint": Case(
        "step_checkpoint",
        (
            *_TWO,
            ["0"] * 2,
            ["completed"] * 2,
            ["{}"] * 2,
            _NONE,
            ["x"] * 2,
            ["1-3"] * 2,
            ["1-3"] * 2,
            _NONE,
            ["[]"] * 2,
            _NONE,
        ),
        ("steps_pkey",),
    ),
    "run_progress": Case("run_progress", _FENCE),
    "run_finish": Case(
        "run_finish", (*_TWO, ["completed"] * 2, ["{}"] * 2, _NONE, ["1-9"] * 2, ["x"] * 2), ("attempts_pkey",)
    ),
    "run_release": Case("run_release", (*_FENCE, "1-9", "x"), ("attempts_pkey",)),
    "run_outcome_read": Case("run_outcome_read", _FENCE, ("attempts_pkey",)),
    "wait_open": Case(
        "wait_open",
        (
            *_FENCE,
            _NEW,
            "2",
            "child",
            "child",
            b"h",
            "1",
            None,
            None,
            None,
            "[]",
            _NEW,
            "echo",
            "default",
            "{}",
            "{}",
            None,
        ),
    ),
    "run_suspend": Case("run_suspend", (*_FENCE, [_NEW], ["1-9"], ["1-9"], "1-10", "x", "1-9", "1-9", None, "[]")),
    "run_answer": Case(
        "run_answer", ("default", "{waiting}", "{asked}", "true", "completed", "true", None), ("steps_pkey",)
    ),
    "run_cancel": Case("run_cancel", ("default", "{chat}", None), ("runs_thread_queue",)),
}

# What a reaper does again and again. What it reads for each active run, it reads for no other.
_SWEEPS = {
    "run_list_owners": Case("run_list_owners", (), rows_max=250),
    "run_list_owned": Case("run_list_owned", ("pod-1", _BOOT, 500), ("runs_owned",)),
    "run_reclaim": Case("run_reclaim", ("pod-1", _BOOT, ["{running}"], [1]), ("attempts_pkey",)),
    "run_list_claimable": Case(
        "run_list_claimable", ("", "", 2.0, 100), ("runs_thread_queue",), rows_max=210, pages_max=1200
    ),
    "run_list_claimable, further": Case(
        "run_list_claimable", ("default", "queued-4", 2.0, 100), ("runs_thread_queue",), rows_max=210, pages_max=1200
    ),
    "run_list_cancels_due": Case("run_list_cancels_due", (10.0, 100), ("runs_cancelling",)),
    "run_list_expiring": Case("run_list_expiring", (100,), ("runs_deadline",), rows_max=250),
    "run_list_orphans": Case("run_list_orphans", (100,), ("runs_children", "runs_pkey"), rows_max=250, pages_max=800),
    "run_wake_due": Case(
        "run_wake_due", (100,), ("waits_due", "waits_children", "runs_pkey"), rows_max=250, pages_max=800
    ),
    "wait_due_in": Case("wait_due_in", (), ("waits_due",)),
    "change_forget": Case("change_forget", (_DAY_S, 100), ("changes_pkey",), rows_max=220),
    "delivery_forget": Case("delivery_forget", (30 * _DAY_S, 100), ("deliveries_old",)),
    "idempotency_forget": Case(
        "idempotency_forget", (3600.0, 100), ("idempotency_keys_run",), rows_max=210, pages_max=1000
    ),
    "thread_list_over": Case(
        "thread_list_over",
        ("", 0, _DAY_S, 100),
        ("threads_by_age", "runs_thread_listed", "runs_thread_queue", "runs_thread_active"),
        rows_max=210,
        pages_max=1200,
    ),
    "thread_lock_over": Case("thread_lock_over", (["default"], ["ended-7"]), ("threads_pkey",)),
    "thread_forget": Case(
        "thread_forget",
        (["small"], ["old"], _DAY_S, 100, 20_000),
        (
            "runs_thread_listed",
            "steps_pkey",
            "attempts_pkey",
            "messages_run",
            "idempotency_keys_run",
            "waits_run",
            "threads_pkey",
        ),
    ),
    "delivery_claim": Case("delivery_claim", (30.0, 8, [], [], 8), ("deliveries_due",), rows_max=50),
    "delivery_overdue": Case("delivery_overdue", (), ("deliveries_due",)),
}

# What people and gateways ask for.
_LISTS = {
    "run_list": Case("run_list", ("default", *_ANY, 10), ("runs_by_status",), rows_max=70),
    "run_list, further": Case(
        "run_list", ("default", "{ended}", None, None, None, 10), ("runs_by_status",), rows_max=70
    ),
    "run_list of a rare status": Case(
        "run_list", ("default", None, ["failed", "waiting"], None, None, 10), ("runs_by_status",)
    ),
    "run_list of a small tenant": Case("run_list", ("small", *_ANY, 10)),
    "run_list of a thread": Case("run_list", ("default", None, None, "ended-0", None, 10), ("runs_thread_listed",)),
    "run_list_active": Case(
        "run_list_active",
        ("default", "ended-0"),
        ("runs_thread_active", "runs_thread_queue", "runs_thread_interrupted"),
    ),
    # of a queue without end, all is read that is asked for: here it is empty
    "run_list_queue": Case("run_list_queue", ("default", "ended-0"), ("runs_thread_queue",)),
    "run_list_feed": Case("run_list_feed", ("default", "ended-0", [], 10), ("runs_thread_active", "runs_thread_queue")),
    "run_list_tails": Case("run_list_tails", (["{ended}", "{running}"],)),
    "run_read": Case("run_read", ("default", "{ended}"), ("runs_pkey",), pages_max=10),
    "step_list_page": Case("step_list_page", ("{ended}", "-1", 10), ("steps_pkey",)),
    "attempt_list": Case("attempt_list", ("{ended}",), ("attempts_pkey",)),
    "wait_list_open": Case("wait_list_open", (["{waiting}"],)),
    "message_list": Case("message_list", ("default", "ended-0", 0, 10), ("messages_thread", "runs_forks")),
    "message_list_run": Case("message_list_run", ("{ended}",), ("messages_run",)),
    "thread_list": Case("thread_list", ("default", 2**62, 10), ("threads_by_age",)),
    "thread_list of a small tenant": Case("thread_list", ("small", 2**62, 10)),
    "change_list": Case("change_list", (["default"], ["0"], [0], 10), ("changes_read", "changes_pkey")),
    "change_snapshot": Case("change_snapshot", ("default", 10), ("runs_by_status",), rows_max=40),
    "change_snapshot of a small tenant": Case("change_snapshot", ("small", 10)),
    "delivery_list": Case("delivery_list", ("default", *_ANY[:3], 10, False), ("deliveries_by_age",)),
    "delivery_list of a run": Case("delivery_list", ("default", None, "{ended}", None, 10, False), ("deliveries_run",)),
}
_ALL = _RUN | _SWEEPS | _LISTS


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def few_url(postgres: PostgresServer, template: str) -> str:
    """A database with tens of thousands of runs; nobody tells the planner more than the filling does."""
    return await _filled(postgres, template, _FEW)


async def _filled(postgres: PostgresServer, template: str, filling: Filling) -> str:
    url = await make_database(postgres, template)
    await fill(url, filling)
    return url


async def _given(connection: asyncpg.Connection[Any], value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [await _given(connection, each) for each in value]
    if isinstance(value, str) and value[1:-1] in _SAMPLES:
        return await connection.fetchval(_SAMPLES[value[1:-1]])
    return value


async def _plan(connection: asyncpg.Connection[Any], case: Case, without: str | None = None) -> Plan:
    return await plan_of(connection, case.statement, await _given(connection, case.args), without=without)


@pytest.mark.parametrize("name", _ALL)
async def test_a_statement_reads_a_bounded_number_of_rows(few_url: str, name: str) -> None:
    """And without an index that it needs it does not, or the test would prove nothing."""
    case = _ALL[name]
    connection = await asyncpg.connect(few_url)
    try:
        plan = await _plan(connection, case)
        assert plan.faults(rows_max=case.rows_max, pages_max=case.pages_max) == [], plan
        for index in case.needs:
            worse = await _plan(connection, case, without=index)
            assert worse.faults(rows_max=case.rows_max, pages_max=case.pages_max), f"{index} is not needed: {worse}"
    finally:
        await connection.close()


@pytest.mark.slow
async def test_no_more_of_a_million(postgres: PostgresServer, template: str) -> None:
    more = _MANY.waiting / _FEW.waiting  # active runs; the sweeps look at each
    connection = await asyncpg.connect(await _filled(postgres, template, _MANY))
    try:
        for name, case in _ALL.items():
            plan = await _plan(connection, case)
            assert plan.faults(rows_max=round(case.rows_max * more), pages_max=round(case.pages_max * more)) == [], name
    finally:
        await connection.close()


async def test_sessions_plan_a_statement_once(record: Record) -> None:
    """For any arguments: those plans are what these tests are about."""
    [row] = await record.raw("SELECT current_setting('plan_cache_mode') AS mode")
    assert row["mode"] == "force_generic_plan"
