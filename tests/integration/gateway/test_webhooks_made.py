"""Which deliveries a change of a run makes, in its own transaction, and what becomes of them in the record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from holdfast.errors import NotFound, Refused
from holdfast.runs import Outcome
from holdfast.store import caller, owner, stranger, webhooks
from holdfast.store.webhooks import PER_TENANT_MAX, RunWebhook
from tests.integration.gateway.webhook_rig import SECRET, Deliveries

EVERY = tuple(
    f"run.{status}" for status in ("queued", "running", "waiting", "interrupted", "completed", "failed", "cancelled")
)
URL = "https://receiver.example/hook"


@pytest.fixture
async def rig(postgres_url: str) -> AsyncIterator[Deliveries]:
    async with Deliveries(postgres_url) as made:
        yield made


async def _told(rig: Deliveries, run_id: UUID) -> list[tuple[str, int]]:
    """(event, attempt) of a run's deliveries, in order."""
    rows = await rig.rows(run_id=run_id)
    for row in rows:
        assert json.loads(row.payload)["type"] == row.event
    return [(row.event, json.loads(row.payload)["data"]["attempt"]) for row in rows]


async def _suspend(rig: Deliveries, run_id: UUID, kind: str) -> UUID:
    """As a runner does whose agent waits. Returns the question's id."""
    lease = await rig.claim(run_id)
    wait_id = uuid5(run_id, str(lease.attempt))
    at: dict[str, Any] = {"position": str(lease.attempt), "kind": kind, "name": kind}
    seconds = 3600.0 if kind == "sleep" else None
    await owner.open_wait(rig.db, lease, wait_id=wait_id, **at, input_hash=b"h", seconds=seconds)
    event_id = f"{lease.attempt}-2"
    await owner.suspend(
        rig.db,
        lease,
        waits=[(wait_id, event_id, event_id)],
        next_event_id=f"{lease.attempt}-3",
        shown_text="",
        finish_id=event_id,
        last_event_id=event_id,
    )
    return wait_id


async def test_every_change_of_a_run_makes_one_delivery_for_each_webhook_that_wants_it(rig: Deliveries) -> None:
    every, some = await rig.hook(URL, *EVERY), await rig.hook(URL, "run.failed", "run.waiting")
    run_id = await rig.submit(metadata={"ü": [1, "?%"]})
    await _suspend(rig, run_id, "ask")
    waiting = [row for row in await rig.rows() if row.event == "run.waiting"]
    assert {row.webhook_id for row in waiting} == {every, some}
    assert {json.dumps(json.loads(row.payload)["data"]["waiting_for"]) for row in waiting} == {'["ask"]'}
    wait_id = uuid5(run_id, "1")
    assert await caller.answer(rig.db, "default", run_id, wait_id, answer="yes", status="completed")
    lease = await rig.claim(run_id)
    await rig.finish(lease, Outcome.FAILED, error="agent_error")
    told = [(row.event, row.webhook_id) for row in await rig.rows()]
    assert [event for event, hook in told if hook == every] == [
        "run.queued", "run.running", "run.waiting", "run.queued", "run.running", "run.failed",
    ]  # fmt: skip
    assert [event for event, hook in told if hook == some] == ["run.waiting", "run.failed"]
    last = (await rig.rows(webhook_id=some))[-1]
    said = json.loads(last.payload)
    assert datetime.fromisoformat(said["timestamp"]).utcoffset() is not None
    assert said == {
        "type": "run.failed",
        "timestamp": said["timestamp"],
        "data": {
            "run_id": str(run_id),
            "thread_id": f"t-{run_id}",
            "agent": "echo",
            "status": "failed",
            "attempt": lease.attempt,
            "metadata": {"ü": [1, "?%"]},
            "error": {"code": "agent_error", "message": "it went wrong"},
            "waiting_for": None,
        },
    }


async def test_the_webhook_of_one_run_is_told_of_that_run_alone(rig: Deliveries) -> None:
    own = RunWebhook("https://run.example:8443/x?y#z", SECRET, ("run.queued", "run.running", "run.cancelled"))
    run_id, other = await rig.submit(webhook=own), await rig.submit()
    await rig.claim(run_id)
    ended = await stranger.cancel(rig.db, "default", run_id)  # a request: the run goes on, and nobody is told
    assert ended is not None
    assert ended.status == "running"
    await stranger.cancel(rig.db, "default", other)
    assert await _told(rig, run_id) == [("run.queued", 0), ("run.running", 1)]
    await stranger.force_cancel(rig.db, run_id, 1, await rig.claimed_by(run_id), grace_s=0.0)
    assert await _told(rig, run_id) == [("run.queued", 0), ("run.running", 1), ("run.cancelled", 2)]
    assert await _told(rig, other) == []
    rows = await rig.raw("SELECT DISTINCT target, secret, webhook_id FROM deliveries")
    assert [tuple(row) for row in rows] == [("run.example:8443", SECRET, None)]


async def test_other_tenants_are_told_nothing(rig: Deliveries) -> None:
    await caller.make_key(rig.db, "other", name="", prefix="hf_", key_hash=b"x" * 32, operator=False)
    hook = await rig.hook(URL, *EVERY, tenant="other")
    await rig.ended()
    assert (await rig.raw("SELECT count(*) FROM deliveries"))[0][0] == 0
    assert await webhooks.webhooks(rig.db, "default") == []
    with pytest.raises(NotFound):
        await webhooks.remove(rig.db, "default", hook)
    await rig.hook(URL, *EVERY)
    await rig.ended()
    row = (await rig.rows())[0]
    with pytest.raises(NotFound):
        await webhooks.replay(rig.db, "other", row.id)


async def test_a_change_that_is_taken_back_has_told_nobody(rig: Deliveries) -> None:
    await rig.hook(URL, *EVERY)
    run_id = uuid4()

    async def broken(connection: Any) -> None:
        await connection.execute("INSERT INTO threads (tenant_id, id) VALUES ('default', 'x')")
        await connection.execute(
            "INSERT INTO runs (id, tenant_id, thread_id, agent, pool, input) VALUES ($1, 'default', 'x', 'a', 'p', '{}')",
            run_id,
        )
        assert await connection.fetchval("SELECT count(*) FROM deliveries") == 1
        raise Refused("stop", "here")

    with pytest.raises(Refused):
        await rig.db.transact(broken)
    assert await rig.rows() == []


async def test_no_webhook_that_the_record_could_hold_stops_a_run(rig: Deliveries) -> None:
    for webhook in ("7", "{}", "[]", "null", '{"events": "run.cancelled"}', '{"events": ["run.cancelled"], "url": 7}'):
        run_id = await rig.submit()
        await rig.raw("UPDATE runs SET webhook = $1::text::jsonb WHERE id = $2", webhook, run_id)
        ended = await stranger.cancel(rig.db, "default", run_id)
        assert ended is not None
        assert ended.status == "cancelled"
    assert await rig.rows() == []


async def test_the_deliveries_of_a_deleted_thread_go_with_it_once_they_are_done(rig: Deliveries) -> None:
    await rig.hook(URL)
    done, open_ = await rig.ended(2)
    await rig.raw("UPDATE deliveries SET next_at = NULL, delivered_at = now() WHERE run_id = $1", done)
    for run_id in (done, open_):
        assert await caller.delete_thread(rig.db, "default", f"t-{run_id}")
    assert [row.run_id for row in await rig.rows()] == [open_]


async def test_what_a_removed_webhook_was_still_to_get_is_given_up(rig: Deliveries) -> None:
    hook = await rig.hook(URL)
    await rig.ended(3)
    [claimed, *_] = await webhooks.claim(rig.db, lease_s=30.0, limit=1, busy={}, per_target_max=8)
    await webhooks.remove(rig.db, "default", hook)
    assert not await webhooks.end_try(rig.db, claimed, status=200, error=None, delivered=True)
    rows = await rig.rows(status="failed")
    assert [row.last_error for row in rows] == ["the webhook was removed"] * 3
    with pytest.raises(Refused) as refused:
        await webhooks.replay(rig.db, "default", rows[0].id)
    assert refused.value.code == "webhook_removed"


async def test_a_tenant_has_so_many_webhooks_and_no_more(rig: Deliveries) -> None:
    for _ in range(PER_TENANT_MAX):
        await rig.hook(URL)
    with pytest.raises(Refused) as refused:
        await rig.hook(URL)
    assert refused.value.code == "too_many_webhooks"


async def test_claims_are_fair_bounded_and_by_lease(rig: Deliveries) -> None:
    first = await rig.hook("https://a.example/1")
    await rig.ended(5)
    await webhooks.remove(rig.db, "default", first)
    for host in ("A.example", "b.example", "c.example"):
        await rig.hook(f"https://{host}/2")
    await rig.ended(5)

    async def claim(limit: int, busy: dict[str, int], per_target_max: int) -> list[str]:
        taken = await webhooks.claim(rig.db, lease_s=30.0, limit=limit, busy=busy, per_target_max=per_target_max)
        assert all(each.tries == 1 and each.secret == SECRET and each.tried_for_s == 0 for each in taken)
        assert SECRET not in str(taken)
        return sorted(each.target for each in taken)

    assert await webhooks.overdue_s(rig.db) > 0
    assert await claim(2, {"c.example": 0}, 1) == ["a.example", "b.example"]
    assert await claim(9, {"a.example": 0, "b.example": 1}, 3) == ["b.example", *["c.example"] * 3]
    assert len(await claim(9, {}, 9)) == 9
    assert await claim(9, {}, 9) == []
    assert await webhooks.overdue_s(rig.db) == 0


async def test_a_place_that_gets_free_goes_to_who_has_least_and_not_to_the_first_by_name(rig: Deliveries) -> None:
    """Receivers that hang and have many messages waiting hold all places; one that answers must come between."""
    for host in "abz":
        await rig.hook(f"https://{host}.example/")
    await rig.ended(9)
    for room in ({"a.example": 1, "b.example": 0}, {"a.example": 7, "b.example": 1}):
        [taken] = await webhooks.claim(rig.db, lease_s=30.0, limit=1, busy=room, per_target_max=8)
        assert taken.target == "z.example"


async def test_lists_are_filtered_and_in_order_and_old_deliveries_are_forgotten(rig: Deliveries) -> None:
    hook, other = await rig.hook(URL), await rig.hook(URL)
    runs = await rig.ended(4)
    for state, run_id in zip(("delivered_at", "gave_up_at"), runs, strict=False):
        await rig.raw(f"UPDATE deliveries SET next_at = NULL, {state} = now() WHERE run_id = $1", run_id)

    async def runs_of(**filters: Any) -> list[UUID]:
        return [row.run_id for row in await rig.rows(webhook_id=hook, **filters)]

    assert await runs_of() == runs
    assert await runs_of(status="delivered") == runs[:1]
    assert await runs_of(status="failed") == runs[1:2]
    assert await runs_of(status="pending") == runs[2:]
    assert [row.webhook_id for row in await rig.rows(run_id=runs[0])] == [hook, other]
    third = (await rig.rows(webhook_id=hook))[2]
    assert await runs_of(before=third.id, limit=1) == runs[1:2]
    await rig.raw(
        "UPDATE deliveries SET delivered_at = delivered_at - interval '31 days' WHERE delivered_at IS NOT NULL"
    )
    await rig.raw("UPDATE deliveries SET gave_up_at = gave_up_at - interval '29 days' WHERE gave_up_at IS NOT NULL")
    month_s = 30 * 86400.0
    assert [await webhooks.forget(rig.db, keep_s=month_s, limit=1) for _ in range(3)] == [1, 1, 0]
    assert await runs_of() == runs[1:]


async def test_what_is_due_and_what_has_failed_is_found_by_an_index(rig: Deliveries) -> None:
    await rig.hook(URL)
    await rig.raw(
        "INSERT INTO deliveries (tenant_id, webhook_id, run_id, url, target, event, payload, next_at, delivered_at)"
        " SELECT 'x' || n % 500, uuidv7(), uuidv7(), 'u', 't' || n % 7, 'e', 'p', NULL, now() FROM generate_series(1, 20000) n"
    )
    await rig.ended()
    await rig.raw("ANALYZE deliveries")
    for name, args, index in (
        ("delivery_claim", "30, 64, '{}', '{}', 8", "deliveries_due"),
        ("delivery_list_undelivered", "'default', NULL, NULL, NULL, 50, true", "deliveries_undelivered"),
        ("delivery_list", "'x1', NULL, NULL, NULL, 50, false", "deliveries_by_age"),
        ("delivery_list", "'default', NULL, uuidv7(), NULL, 50, false", "deliveries_run"),
        ("delivery_forget", "2592000, 5", "deliveries_old"),
    ):
        plan = "\n".join(str(row[0]) for row in await rig.explain(name, args))
        assert index in plan, plan
        assert "Seq Scan on deliveries" not in plan, plan
