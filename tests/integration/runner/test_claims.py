"""Claiming: by slots, by what is loaded, and what becomes of requests that cannot be met."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.js.api import ConsumerConfig

from holdfast.bus import names, topology
from holdfast.errors import StoreUnavailable
from holdfast.runs import Owner
from holdfast.store import Claimed, Database, owner
from holdfast.store.owner import Glance
from holdfast_agent.load import Loaded
from holdfast_runner import claims
from holdfast_runner.execution import Execution
from tests.integration.runner.scene import Scene, first, types
from tests.integration.runner.scripts import mark, marks, say, step, wait
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def running(scene: Scene, runs: Sequence[UUID], *, count: int) -> bool:
    """Do so many of these run? Never more."""
    statuses = [(await scene.row(run)).status for run in runs]
    assert statuses.count("running") <= count
    return statuses.count("running") == count


async def test_f17_nobody_takes_more_than_its_slots_and_the_next_goes_where_one_is_free(
    scene: Scene, tmp_path: Path
) -> None:
    gates = [tmp_path / str(n) for n in range(4)]
    async with scene.here("a", slots=1), scene.here("b", slots=1):
        runs = [await scene.submit(step(wait(gate))) for gate in gates]
        await wait_until(lambda: running(scene, runs, count=2), description="two runs run")
        rows = {run: await scene.row(run) for run in runs}
        taken = [run for run in runs if rows[run].status == "running"]
        left = [run for run in runs if run not in taken]
        assert {rows[run].run_owner_pod for run in taken} == {scene.pod("a"), scene.pod("b")}
        assert {(rows[run].status, rows[run].attempt) for run in left} == {("queued", 0)}
        assert await scene.requests_left() == 2, "what nobody has a slot for stays in the stream"

        gates[runs.index(taken[0])].touch()
        await wait_until(lambda: running(scene, left, count=1), description="the next one runs", timeout_s=1.5)
        assert rows[taken[0]].run_owner_pod in [(await scene.row(run)).run_owner_pod for run in left]
        for gate in gates:
            gate.touch()
        ended = [(await scene.whole(run))[0] for run in runs]
    assert [(row.status, row.attempt) for row in ended] == [("completed", 1)] * 4


async def test_f18_a_request_that_cannot_be_read_or_met_goes_away_and_hurts_nobody(scene: Scene) -> None:
    async with scene.here(slots=1):
        await scene.client.jetstream().publish(names.request_subject(scene.pool, "junk"), b"{not json")
        await scene.request(uuid4())  # a run that does not exist
        row, _ = await scene.whole(await scene.submit(say("fine")))
        assert row.status == "completed"

        async def none_left() -> bool:
            return await scene.requests_left() == 0

        await wait_until(none_left, description="no request is left")


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ZeroDivisionError("a bug")])
async def test_f18_a_claim_that_fails_is_not_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made, errors = owner.claim_all, [error, error]

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        if errors:
            raise errors.pop()
        return await made(db, runs, me, agents)

    monkeypatch.setattr(owner, "claim_all", claim)
    monkeypatch.setattr(claims, "_NOT_MINE_DELAY_S", 0.1)
    async with scene.here(slots=1):
        row, _ = await scene.whole(await scene.submit(say("in the end")))
    assert (row.status, row.attempt, errors) == ("completed", 1, [])


async def test_a_run_that_cannot_be_claimed_or_declined_costs_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come together share a claim."""
    made, glanced = owner.claim_all, 0
    await topology.ensure(scene.client, replicas=1)
    poisoned = [await scene.submit(say("never")) for _ in range(2)]
    good = [await scene.submit(say("fine")) for _ in range(2)]
    absent = uuid4()
    await scene.request(absent)

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        if any(run in poisoned for run in runs):
            raise ZeroDivisionError("a bug")
        return await made(db, runs, me, agents)

    async def glance(db: Database, run_id: UUID) -> Glance | None:
        nonlocal glanced
        glanced += 1
        raise ZeroDivisionError("another one")

    monkeypatch.setattr(owner, "claim_all", claim)
    monkeypatch.setattr(owner, "glance", glance)
    async with scene.here(slots=8):
        rows = [await scene.until(run, "completed", timeout_s=3) for run in good]
        await wait_until(lambda: glanced > 0, description="one was declined")
        assert [row.attempt for row in rows] == [1, 1]
        assert [(await scene.row(run)).status for run in poisoned] == ["queued"] * 2
        monkeypatch.setattr(owner, "claim_all", made)
        assert [(await scene.until(run, "completed", timeout_s=3)).attempt for run in poisoned] == [1, 1]


async def test_a_run_that_would_not_start_is_given_back_and_keeps_no_slot(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, failures = Execution.__init__, [ZeroDivisionError("a bug")]

    def begin(*args: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()
        made(*args, **kwargs)

    monkeypatch.setattr(Execution, "__init__", begin)
    async with scene.here(slots=1, owned_check_interval_s=0.1):
        row, _ = await scene.whole(await scene.submit(say("in the end")))
    assert (row.status, row.attempt, row.crashes) == ("completed", 2, 0)


async def test_a_run_that_somebody_has_locked_holds_up_no_claim(scene: Scene) -> None:
    """A process that is frozen in a transaction may keep a lock for long."""
    frozen = await asyncpg.connect(scene.stack.postgres.url)
    locked, other = [await scene.submit(say("here")) for _ in range(2)]
    try:
        async with frozen.transaction():
            await frozen.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", locked)
            async with scene.here(slots=8):
                await scene.until(other, "completed", timeout_s=1.5)
                assert (await scene.row(locked)).status == "queued"
                await frozen.execute("ROLLBACK")
                await scene.until(locked, "completed", timeout_s=1.5)
                await frozen.execute("BEGIN")
    finally:
        await frozen.close()


async def test_a_claim_whose_answer_was_lost_is_given_back_by_its_own_boot(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made, lost = owner.claim_all, tmp_path / "lost"

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        claimed = await made(db, runs, me, agents)
        if marks(lost) == 0:
            lost.write_text("x")
            raise StoreUnavailable("the answer was lost")
        return claimed

    monkeypatch.setattr(owner, "claim_all", claim)
    async with scene.here(owned_check_interval_s=0.2):
        run_id = await scene.submit(say("once"))
        row, log = await scene.whole(run_id)
    assert (row.status, row.attempt, row.crashes) == ("completed", 2, 0)
    assert [each.ended_why for each in await scene.attempts(run_id)] == ["released", "completed"]
    assert types(log) == ["run.resumed", "text.delta", "run.completed"]


async def test_a_claim_in_flight_is_not_given_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made, looks = owner.claim_all, 0
    claimed_already = asyncio.Event()
    look = owner.owned

    async def owned(db: Database, me: Owner, *, limit: int) -> list[tuple[UUID, int, bool]]:
        nonlocal looks
        rows = await look(db, me, limit=limit)
        looks += claimed_already.is_set()
        return rows

    async def claim(db: Database, runs: Sequence[UUID], me: Owner, agents: Mapping[str, str]) -> dict[UUID, Claimed]:
        claimed = await made(db, runs, me, agents)
        claimed_already.set()
        await wait_until(lambda: looks >= 3, description="the owned check has looked")
        return claimed

    monkeypatch.setattr(owner, "claim_all", claim)
    monkeypatch.setattr(owner, "owned", owned)
    async with scene.here(owned_check_interval_s=0.05):
        row, _ = await scene.whole(await scene.submit(say("slow to start")))
    assert (row.status, row.attempt) == ("completed", 1)


async def test_f25_a_runner_leaves_a_run_whose_agent_it_has_not_to_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_NOT_MINE_DELAY_S", 0.1)

    def old(loaded: Loaded) -> None:
        del loaded.agents["script"]

    async with scene.here("old", agents=old):
        run_id = await scene.submit(say("new"))
        subject = names.request_subject(scene.pool, run_id)
        request = await scene.client.jetstream().get_last_msg(names.REQUESTS_STREAM, subject)
        row, _ = await scene.whole(await scene.submit(agent="echo", text="old ones are served"))
        assert row.run_owner_pod is None
        assert (await scene.row(run_id)).status == "queued"
        assert await scene.client.jetstream().get_last_msg(names.REQUESTS_STREAM, subject) == request, "it stands"
        async with scene.here("new"):
            await scene.whole(run_id)
    assert [each.pod for each in await scene.attempts(run_id)] == [scene.pod("new")]


@pytest.mark.slow
async def test_f26_a_runner_that_dies_between_delivery_and_claim_costs_the_ack_wait(scene: Scene) -> None:
    await topology.ensure(scene.client, replicas=1)
    await topology.ensure_consumer(scene.client, scene.pool)
    run_id = await scene.submit(say("late"))
    dead = await scene.client.jetstream().pull_subscribe_bind(
        consumer=names.consumer(scene.pool), stream=names.REQUESTS_STREAM
    )
    [delivered] = await dead.fetch(1, timeout=5)
    delivered_at = time.monotonic()
    assert str(run_id) in delivered.subject
    async with scene.here():
        await scene.until(run_id, "completed")
    assert time.monotonic() - delivered_at < 6.5
    await scene.whole(run_id)


async def test_runs_of_one_thread_follow_each_other_at_once_and_in_order(scene: Scene, tmp_path: Path) -> None:
    order = tmp_path / "order"
    async with scene.here():
        runs = [await scene.submit(step(mark(order)), say(f"{n}"), thread="one") for n in range(5)]
        rows = [await scene.until(run, "completed", timeout_s=3) for run in runs]
    assert [row.attempt for row in rows] == [1] * 5
    claimed_at = [row.claimed_at for row in rows if row.claimed_at is not None]
    assert claimed_at == sorted(claimed_at)


async def test_a_thread_that_becomes_free_while_its_next_request_is_declined_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The finisher's request is refused (one stands there), and that one is about to be confirmed: it is made again."""
    gate, made = tmp_path / "gate", owner.glance
    async with scene.here(slots=2) as here:
        one = await scene.submit(step(wait(gate)), thread="one")
        await scene.until(one, "running")

        async def glance(db: Database, run_id: UUID) -> Glance | None:
            row = await made(db, run_id)
            gate.touch()
            await wait_until(lambda: not here.runner._tasks, description="the first run is over, its next requested")
            return row

        monkeypatch.setattr(owner, "glance", glance)
        two = await scene.submit(say("two"), thread="one")
        await scene.until(two, "completed", timeout_s=1.5)


async def test_f38_a_consumer_or_a_stream_that_vanishes_is_made_again(scene: Scene) -> None:
    context = scene.client.jetstream()
    async with scene.here(slots=1):
        await scene.whole(await scene.submit(say("before")))
        await context.delete_consumer(names.REQUESTS_STREAM, names.consumer(scene.pool))
        await scene.whole(await scene.submit(say("without its consumer")))
        await context.delete_stream(names.REQUESTS_STREAM)
        await scene.whole(await scene.submit(say("without the stream")))


async def test_f08_a_consumer_that_cannot_be_made_is_shown_by_readiness(scene: Scene) -> None:
    await topology.ensure(scene.client, replicas=1)
    context = scene.client.jetstream()
    await context.add_consumer(
        names.REQUESTS_STREAM,
        ConsumerConfig(durable_name=names.consumer(scene.pool), filter_subject=f"runs.requests.{scene.pool}.*"),
    )
    async with scene.here(slots=1, ready=False) as here:

        async def shown() -> bool:
            return any(reason.startswith("claims: ") for reason in await here.runner.not_ready())

        await wait_until(shown, description="readiness shows it")
        await context.delete_consumer(names.REQUESTS_STREAM, names.consumer(scene.pool))
        await scene.whole(await scene.submit(say("healed")))
        assert await here.runner.not_ready() == []


async def test_an_interrupted_run_that_a_later_one_gives_up_is_told(scene: Scene) -> None:
    given_up = await scene.submit(say("never"), thread="one", request=False)
    connection = await asyncpg.connect(scene.stack.postgres.url)
    await connection.execute(
        "UPDATE runs SET status = 'interrupted', attempt = 1, terminal_event_id = '1-1' WHERE id = $1", given_up
    )
    await connection.close()
    async with scene.here():
        await scene.until(await scene.submit(say("later"), thread="one"), "completed")
        log = await scene.until_event(given_up, "run.failed")
    row = await scene.row(given_up)
    assert (row.status, row.error and row.error["code"]) == ("failed", "abandoned")
    assert first(log, "run.failed").data == {"error": row.error, "keep_through": None}
    assert str(first(log, "run.failed").id) == row.terminal_event_id
