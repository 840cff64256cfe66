"""Submits that come at one time: they share statements, and each is told what it would have been told alone. Row F58."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from holdfast.errors import HoldfastError, NotFound, Refused
from holdfast.runs import OnBusy
from holdfast.store import Database, caller
from holdfast.store.caller import Submit, Submitted
from holdfast.store.database import Row
from holdfast.store.queries import sql
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import Record, request
from tests.support.samples import examples
from tests.support.wait import wait_until

_NUL = {"messages": [{"role": "user", "content": "\0"}]}
_NOWHERE, _THERE = "nowhere", "there"
Answer = Submitted | HoldfastError


class Counting(Database):
    """Counts what it is asked: (statement, how many at once)."""

    def __init__(self, url: str) -> None:
        super().__init__(url, pool_size=4, timeout_s=5.0)
        self.asked: list[tuple[str, int]] = []

    async def fetch(self, name: str, *args: object) -> list[Row]:
        self.asked.append((name, len(args[0]) if args and isinstance(args[0], list) else 1))
        return await super().fetch(name, *args)


@pytest.fixture
async def other(url: str) -> AsyncIterator[Database]:
    """Another gateway's."""
    db = Database(url, pool_size=4, timeout_s=5.0)
    yield db
    await db.close()


async def test_submits_at_one_time_share_a_statement_and_one_alone_waits_for_none(url: str) -> None:
    db = Counting(url)
    try:
        await caller.submit(db, request("first"))
        assert db.asked == [("submit", 1)]
        answers = await asyncio.gather(*(caller.submit(db, request(f"t{n}", said=str(n))) for n in range(20)))
        assert db.asked == [("submit", 1), ("submit", 20)]
        assert [answer.run.input["messages"][0]["content"] for answer in answers] == [str(n) for n in range(20)]
        assert {(answer.created, answer.position) for answer in answers} == {(True, 1)}
    finally:
        await db.close()


async def test_a_run_is_answered_as_the_record_has_it(record: Record) -> None:
    """What is put together here from the request is what a reading finds, all columns of it."""
    odd = [[1, 2.5, {"ä": None}], [], {"b": 1, "a": float("inf")}, "x", 0, False, {"n": 10**30}]
    answers = await asyncio.gather(
        *(
            caller.submit(
                record.db,
                request(
                    f"t{n}", input=each, metadata={"n": n}, deadline_s=60.5, idle_timeout_s=n + 1, on_unknown="ask"
                ),
            )
            for n, each in enumerate(odd)
        )
    )
    for answer in answers:
        found = await caller.run(record.db, "default", answer.run.id)
        if isinstance(found.input, dict) and "a" in found.input:  # JSON has no infinity
            assert found.input == {"a": None, "b": 1}
            continue
        assert found == answer.run


async def test_one_that_cannot_be_costs_the_others_nothing(record: Record) -> None:
    wanted = [request(f"t{n}", input=_NUL if n == 3 else {"n": n}) for n in range(8)]
    answers = await asyncio.gather(*(caller.submit(record.db, each) for each in wanted), return_exceptions=True)
    for n, answer in enumerate(answers):
        if n == 3:
            assert isinstance(answer, Refused)
            assert answer.code == "invalid_value"
        else:
            assert isinstance(answer, Submitted)
            assert answer.created
    assert len(await record.raw("SELECT FROM runs")) == 7
    assert "t3" not in {row["id"] for row in await record.raw("SELECT id FROM threads")}


async def test_a_thread_in_somebodys_hands_holds_up_no_other(record: Record, url: str) -> None:
    await record.submit("held")
    async with uncommitted(url) as before:
        await before.raw("SELECT FROM threads WHERE id = 'held' FOR NO KEY UPDATE")
        stuck, *quick = [asyncio.create_task(caller.submit(record.db, request(each))) for each in ("held", "a", "b")]
        await asyncio.gather(*quick)
        assert not stuck.done()
    assert (await stuck).position == 2


async def test_a_thread_that_another_gateway_makes_at_that_moment_is_used(record: Record, url: str) -> None:
    """Neither seen nor made by the statement that waited for it. With keys, that statement has to be undone."""
    mine = request(idempotency_key="mine", fingerprint=b"x")
    theirs = request(idempotency_key="theirs", fingerprint=b"x")
    second = caller.submit(record.db, mine)
    async with colliding(url, lambda first: caller.submit(first.db, theirs), second) as [task]:
        answer = await task
    assert (answer.created, answer.position) == (True, 2)
    kept = await record.raw("SELECT run_id FROM idempotency_keys ORDER BY key")
    assert [row["run_id"] for row in kept] == [mine.run_id, theirs.run_id]


async def test_f58_a_submit_that_loses_its_key_makes_no_thread(record: Record, url: str) -> None:
    first_body, again = (
        request(thread, idempotency_key="k", fingerprint=b"same") for thread in ("the-first-ones", "the-second-ones")
    )
    second = caller.submit(record.db, again)
    async with colliding(url, lambda first: caller.submit(first.db, first_body), second) as [task]:
        assert not (await task).created
    assert [row["id"] for row in await record.raw("SELECT id FROM threads")] == ["the-first-ones"]


async def test_keys_are_taken_before_threads_are_made(record: Record, url: str) -> None:
    """Whichever run the key is for; or two submits, each with what the other one wants, would wait for each other."""
    await caller.make_thread(record.db, "default", "there", {})
    wanted = [request("new"), request("there", idempotency_key="k", fingerprint=b"x")]
    async with uncommitted(url) as before:
        theirs = await caller.submit(before.db, request("other", idempotency_key="k", fingerprint=b"x"))
        tasks = [asyncio.create_task(caller.submit(record.db, each)) for each in wanted]

        async def waiting() -> bool:
            return bool((await before.raw("SELECT count(*) > 0 AS yes FROM pg_locks WHERE NOT granted"))[0]["yes"])

        await wait_until(waiting, description="the statement to wait for the key")
        assert (await caller.submit(before.db, request("new"))).position == 1
    made, repeated = await asyncio.gather(*tasks)
    assert (made.created, made.position) == (True, 2)
    assert (repeated.created, repeated.run.id) == (False, theirs.run.id)


async def test_the_plan_is_kept_and_looks_threads_up_one_by_one(own_url: str) -> None:
    """On tables that nobody has analysed: a plan for a small table is kept while it grows."""
    connection = await asyncpg.connect(own_url, timeout=10)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for name, arguments in (("submit", 16), ("run_place", 1), ("key_find", 1)):
            await connection.execute(f"PREPARE {name} AS {sql(name)}")
            plan = await connection.fetch(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * arguments)})")
            text = "\n".join(row[0] for row in plan)
            assert "Seq Scan" not in text, text
            assert "Index" in text
    finally:
        await connection.close()
    db = Database(own_url, pool_size=1, timeout_s=5.0)
    try:
        for _ in range(8):
            await caller.submit(db, request())
        [kept] = await Record(db).raw(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", sql("submit")
        )
        assert (kept["generic_plans"], kept["custom_plans"]) == (8, 0)
    finally:
        await db.close()


@dataclass(frozen=True)
class Told:
    """A request and its answer."""

    request: Submit
    answer: Answer

    @property
    def outcome(self) -> str:
        """In a word."""
        if isinstance(self.answer, Submitted):
            return "created" if self.answer.created else "repeated"
        return self.answer.code if isinstance(self.answer, Refused) else type(self.answer).__name__

    def could_be(self, winner: Submit | None) -> set[str]:
        """What it may be told, given who has made the run of its key."""
        if winner is not None and winner is not self.request:
            after = {"repeated" if winner.fingerprint == self.request.fingerprint else "idempotency_mismatch"}
            return after | self._alone() - {"created"}  # its turn may have come before the winner's
        return self._alone()

    def _alone(self) -> set[str]:
        if self.request.thread_id == _NOWHERE:
            return {"NotFound"}
        if self.request.input == _NUL:
            return {"invalid_value", "thread_busy"} if self.request.on_busy is OnBusy.REJECT else {"invalid_value"}
        return {"created", "thread_busy"} if self.request.on_busy is OnBusy.REJECT else {"created"}


def _anything(dice: random.Random, tenant: str) -> Submit:
    thread = dice.choice([_THERE, _THERE, _NOWHERE, "a", "b", f"own-{dice.random()}"])
    return request(
        thread,
        tenant_id=tenant,
        make_thread=thread not in (_THERE, _NOWHERE),
        idempotency_key=dice.choice([None, None, "k1", "k2"]),
        fingerprint=dice.choice([b"x", b"x", b"y"]),
        on_busy=dice.choice([OnBusy.ENQUEUE] * 6 + [OnBusy.REJECT]),
        input=_NUL if dice.random() < 0.05 else {"messages": []},
    )


async def test_f58_any_mix_of_submits_is_told_what_some_order_of_them_one_by_one_would_be(
    record: Record, other: Database
) -> None:
    seed = os.environ.get("SEED", "0")
    for number in range(examples(60)):
        dice = random.Random(f"{seed} {number}")
        tenant = f"tenant-{number}"
        await record.raw("INSERT INTO tenants (id) VALUES ($1)", tenant)
        await caller.make_thread(record.db, tenant, _THERE, {})
        wanted = [_anything(dice, tenant) for _ in range(dice.randint(2, 16))]
        answers = await asyncio.gather(
            *(caller.submit(dice.choice([record.db, other]), each) for each in wanted), return_exceptions=True
        )
        told = []
        for each, answer in zip(wanted, answers, strict=True):
            assert isinstance(answer, (Submitted, Refused, NotFound)), (seed, number, answer)
            told.append(Told(each, answer))
        await _holds_together(record, tenant, told, f"SEED={seed}, example {number}")


async def _holds_together(record: Record, tenant: str, told: list[Told], which: str) -> None:
    made = {each.request.run_id: each for each in told if each.outcome == "created"}
    rows = await record.raw("SELECT id, thread_id FROM runs WHERE tenant_id = $1 ORDER BY queue_rank", tenant)
    assert {row["id"] for row in rows} == set(made), which
    winners = {each.request.idempotency_key: each.request for each in made.values()}
    assert all(n == 1 for key, n in Counter(e.request.idempotency_key for e in made.values()).items() if key), which
    for each in told:
        winner = winners.get(each.request.idempotency_key) if each.request.idempotency_key else None
        assert each.outcome in each.could_be(winner), (which, each)
        if each.outcome == "repeated":
            assert isinstance(each.answer, Submitted)
            assert winner is not None
            assert each.answer.run.id == winner.run_id, which
    queues: dict[str, list[UUID]] = defaultdict(list)
    for row in rows:
        queues[row["thread_id"]].append(row["id"])
    for queue in queues.values():
        answers = [made[run_id].answer for run_id in queue]
        places = [answer.position for answer in answers if isinstance(answer, Submitted)]
        assert places == list(range(1, len(queue) + 1)), (which, places)
    for thread, queue in queues.items():
        rejecting = [e for e in told if e.request.thread_id == thread and e.outcome == "created"]
        assert len(queue) == len(rejecting), which
        first = made[queue[0]]
        assert all(e is first for e in rejecting if e.request.on_busy is OnBusy.REJECT), which
    threads = {row["id"] for row in await record.raw("SELECT id FROM threads WHERE tenant_id = $1", tenant)}
    assert threads == {_THERE, *queues}, which
