"""Waiting: a run gives up its slot for an answer, a time or a child, and whoever brings that queues it once. Rows F27, F57."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast.errors import LostOwnership
from holdfast.runs import Lease, Outcome
from holdfast.store import caller, owner, stranger
from tests.integration.store.interleaved import colliding, uncommitted
from tests.integration.store.record import TENANT, Record, boot, question


async def _sleeping(record: Record, seconds: float, thread: str = "t") -> Lease:
    lease = await record.claimed(boot(), thread)
    await record.ask(lease, kind="sleep", name="sleep", seconds=seconds)
    return lease


async def _with_child(record: Record, thread: str = "t") -> tuple[Lease, UUID]:
    lease, child = await record.claimed(boot(), thread), uuid4()
    await record.ask(lease, kind="child", child=owner.Child(child, "echo", "default", {"n": 1}, {"k": "v"}))
    return lease, child


async def _make_due(record: Record, lease: Lease) -> None:
    await record.raw(
        "UPDATE waits SET wake_at = now() - interval '1 second' WHERE run_id = $1 AND kind = 'sleep'", lease.run_id
    )


async def test_a_waiting_run_has_no_owner_and_holds_its_thread(record: Record) -> None:
    lease = await record.waiting(boot(), said="so far")
    behind = await record.submit()
    row = await record.row(lease.run_id)
    assert (row["status"], row["run_owner_pod"], row["attempt"], row["terminal_event_id"]) == ("waiting", None, 1, None)
    [attempt] = await caller.attempts(record.db, lease.run_id)
    assert attempt.ended_why == "waiting"
    [kept] = await caller.kept(record.db, lease.run_id)
    assert (kept.attempt, kept.shown_text, kept.finish_id, kept.last_event_id, kept.emits) == (
        1,
        "so far",
        "1-60",
        "1-60",
        {"": 1},
    )
    [tail] = (await caller.tails(record.db, [lease.run_id])).values()
    assert tail.keep_through == "1-60"
    assert await record.claim(behind, boot()) is None
    [waits] = (await caller.waits(record.db, [lease.run_id, behind])).values()
    assert [(each.id, each.kind, each.suspended, each.done_at) for each in waits] == [
        (question(lease), "ask", True, None)
    ]
    step = (await record.journal(lease))["7"]
    assert (step.status, step.kind, step.finished) == ("started", "ask", False)


async def test_an_answer_finishes_the_step_with_the_id_of_its_question_and_queues_the_run(record: Record) -> None:
    lease = await record.waiting(boot())
    await record.raw("UPDATE runs SET crashes = 2")
    answered = await record.answer(lease, answer={"yes": True})
    assert answered is not None
    assert (answered.status, answered.pool, answered.attempt) == ("queued", "default", 1)
    step = (await record.journal(lease))["7"]
    assert (step.status, step.output, step.finish_id, step.last_event_id, step.told) == (
        "completed",
        {"yes": True},
        "1-60",
        "1-60",
        False,
    )
    row = await record.row(lease.run_id)
    assert (row["status"], row["crashes"]) == ("queued", 0)
    wait = await caller.wait(record.db, TENANT, lease.run_id, question(lease))
    assert wait is not None
    assert wait.answer == {"yes": True}
    assert wait.done_at is not None
    assert await caller.waits(record.db, [lease.run_id]) == {}
    claimed = await record.claim(lease.run_id, boot("b"))
    assert claimed is not None
    assert (claimed.from_why, claimed.from_pod) == ("answered", "a")
    assert (await record.row(lease.run_id))["requeued_why"] is None, "the next one has a reason of its own"


async def test_f57_the_second_answer_finds_the_first(record: Record, url: str) -> None:
    lease = await record.waiting(boot())
    async with colliding(
        url, lambda first: first.answer(lease, answer="first"), record.answer(lease, answer="second")
    ) as [task]:
        assert await task is None
    assert await record.answer(lease, answer="third") is None
    assert (await record.journal(lease))["7"].output == "first"


async def test_f57_of_many_answers_at_once_one_wins(record: Record) -> None:
    lease = await record.waiting(boot())
    answers = await asyncio.gather(*(record.answer(lease, answer=n) for n in range(8)))
    [winner] = [n for n, answered in enumerate(answers) if answered is not None]
    assert (await record.journal(lease))["7"].output == winner


async def test_an_answer_is_for_a_question_of_this_run_and_tenant(record: Record) -> None:
    lease, other = await record.waiting(boot()), await record.waiting(boot(), "other")
    none: dict[str, Any] = {"answer": 1, "status": "completed"}
    assert await caller.answer(record.db, "another", lease.run_id, question(lease), **none) is None
    assert await caller.answer(record.db, TENANT, lease.run_id, question(other), **none) is None
    assert await caller.answer(record.db, TENANT, lease.run_id, uuid4(), **none) is None
    assert await caller.wait(record.db, "another", lease.run_id, question(lease)) is None
    assert await caller.wait(record.db, TENANT, lease.run_id, question(other)) is None
    assert await record.status(lease.run_id) == "waiting"


async def test_a_question_is_open_to_answers_once_its_suspend_has_committed(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.ask(lease)
    assert await record.answer(lease) is None
    await record.suspend(lease)
    assert await record.answer(lease) is not None


async def test_what_only_time_or_a_child_ends_cannot_be_answered(record: Record) -> None:
    sleeping = await _sleeping(record, 60)
    parent, _ = await _with_child(record, "other")
    for lease in (sleeping, parent):
        await record.suspend(lease)
        assert await record.answer(lease) is None
        assert await record.status(lease.run_id) == "waiting"


async def test_an_answer_and_a_cancel_have_one_winner(record: Record, url: str) -> None:
    lease = await record.waiting(boot())
    async with colliding(url, lambda first: first.cancel(lease.run_id), record.answer(lease)) as [task]:
        assert await task is None
    assert await record.status(lease.run_id) == "cancelled"
    assert (await record.journal(lease))["7"].status == "started"

    lease = await record.waiting(boot(), "other")
    async with colliding(url, lambda first: first.answer(lease), record.cancel(lease.run_id)) as [ended]:
        assert (await ended) is not None
    assert await record.status(lease.run_id) == "cancelled"
    assert (await record.journal(lease))["7"].status == "completed"


@pytest.mark.parametrize("status", ["queued", "running", "interrupted"])
async def test_an_answer_to_a_run_that_something_else_has_woken_is_kept(record: Record, status: str) -> None:
    lease = await record.claimed(boot())
    await record.ask(lease, "7")
    await record.ask(lease, "8")
    await record.suspend(lease, "7", "8")
    assert await record.answer(lease, "7") is not None
    if status != "queued":
        lease = await record.again(lease)
    if status == "interrupted":
        await record.finish(lease, Outcome.INTERRUPTED)
    answered = await record.answer(lease, "8", answer="late")
    assert answered is not None
    assert answered.status == status == await record.status(lease.run_id)
    if status == "queued":
        lease = await record.again(lease)
    if status == "interrupted":
        assert await caller.resume(record.db, TENANT, lease.run_id) is not None
        lease = await record.again(lease)
    assert (await record.ask(lease, "8")).done_at is not None
    left = await record.suspend(lease, "8")
    assert (left.status, left.next_id, left.next_pool) == ("queued", lease.run_id, "default")
    step = (await record.journal(lease))["8"]
    assert (step.output, step.finish_id) == ("late", "1-61"), "its event is the one that asked"


async def test_an_answer_and_a_suspend_that_wait_for_each_other_lose_nothing(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    await record.ask(lease, "7")
    await record.ask(lease, "8")
    await record.suspend(lease, "7", "8")
    await record.answer(lease, "7")
    lease = await record.again(lease)
    async with colliding(url, lambda first: first.answer(lease, "8"), record.suspend(lease, "8")) as [task]:
        assert (await task).status == "queued"


async def test_a_person_says_what_became_of_a_step(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease, "0")
    await record.reclaim(lease)
    lease = await record.again(lease)
    await record.ask(lease, "0", kind="unknown")
    assert (await record.journal(lease))["0"].kind == "model", "the step is the one that is there"
    await record.suspend(lease, "0")
    answered = await record.answer(lease, "0", status="retry", answer={"outcome": "retry"})
    assert answered is not None
    step = (await record.journal(lease))["0"]
    assert (step.status, step.finished, step.attempt, step.finish_id, step.told) == ("retry", False, 1, None, True)
    lease = await record.again(lease)
    await record.intend(lease, "0", tries=2)
    await record.checkpoint(lease, "0", said="done")
    assert (await record.journal(lease))["0"].status == "completed"


async def test_an_answer_does_not_finish_a_try_that_was_begun_meanwhile(record: Record) -> None:
    """Another branch woke the run, and the agent's new code runs the step again without asking."""
    lease = await record.claimed(boot())
    await record.intend(lease, "0")
    await record.ask(lease, "0", kind="unknown")
    await record.ask(lease, "8")
    await record.suspend(lease, "0", "8")
    await record.answer(lease, "8")
    lease = await record.again(lease)
    await record.intend(lease, "0", tries=2)
    assert await record.answer(lease, "0") is None
    assert (await record.journal(lease))["0"].status == "started"


async def test_a_wait_that_is_opened_again_is_as_it_was(record: Record) -> None:
    lease = await _sleeping(record, 3600)
    [first] = (await caller.waits(record.db, [lease.run_id]))[lease.run_id]
    await record.reclaim(lease)
    lease = await record.again(lease)
    again = await record.ask(lease, kind="sleep", name="sleep", seconds=5)
    assert again == first
    assert again.wake_at is not None
    seconds = (again.wake_at - again.opened_at).total_seconds()
    assert seconds == pytest.approx(3600, abs=5)
    assert (await record.journal(lease))["7"].attempt == 2


async def test_a_child_is_started_once_on_a_thread_of_its_own(record: Record) -> None:
    parent, child = await _with_child(record)
    again = owner.Child(child, "another", "other", {"n": 2}, {})
    await record.ask(parent, kind="child", child=again)
    row = await caller.run(record.db, TENANT, child)
    assert (row.status, row.agent, row.pool, row.input, row.metadata) == (
        "queued",
        "echo",
        "default",
        {"n": 1},
        {"k": "v"},
    )
    assert (row.thread_id, row.parent_run_id, row.parent_position) == (f"child-{child}", parent.run_id, "7")
    thread = await caller.thread(record.db, TENANT, row.thread_id)
    assert thread.metadata == {"parent_run_id": str(parent.run_id)}


async def test_what_waits_are_written_is_fenced(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    await record.ask(lease)
    for stale in (Lease(lease.run_id, boot(), 1), Lease(lease.run_id, lease.owner, 2)):
        with pytest.raises(LostOwnership):
            await record.ask(stale)
        with pytest.raises(LostOwnership):
            await record.suspend(stale)
    assert await record.status(lease.run_id) == "running"
    child = owner.Child(uuid4(), "echo", "default", {}, {})
    late = record.ask(lease, "9", kind="child", child=child)
    async with colliding(url, lambda first: first.reclaim(lease), late) as [task]:
        with pytest.raises(LostOwnership):
            await task
    assert await record.raw("SELECT id FROM runs WHERE id = $1", child.run_id) == []
    with pytest.raises(LostOwnership):
        await record.suspend(lease)
    with pytest.raises(ValueError, match="nothing"):
        await owner.suspend(
            record.db, lease, waits=[], next_event_id="1-1", shown_text="", finish_id=None, last_event_id=None
        )


async def test_a_suspend_of_a_run_that_is_to_be_cancelled_ends_it(record: Record) -> None:
    lease = await record.claimed(boot())
    behind = await record.submit()
    await record.ask(lease)
    await record.cancel(lease.run_id)
    ended = await record.suspend(lease, said="half")
    assert (ended.status, ended.next_id) == ("cancelled", behind)
    assert (await record.suspend(lease, said="half")).status == "cancelled", "read back"
    row = await record.row(lease.run_id)
    assert (row["terminal_event_id"], row["attempt"]) == ("1-70", 1)
    assert await caller.kept(record.db, lease.run_id) == []
    [answer] = [each for each in await caller.run_messages(record.db, lease.run_id) if each.role == "assistant"]
    assert (answer.parts, answer.status) == ([{"type": "text", "text": "half"}], "incomplete")


async def test_a_time_wakes_the_run_when_it_has_come(record: Record) -> None:
    lease = await _sleeping(record, 3600)
    assert await stranger.due_in(record.db) is None, "nobody waits yet"
    await record.suspend(lease)
    assert await stranger.wake(record.db, run_ids=None, limit=10) == []
    assert await stranger.wake(record.db, run_ids=[lease.run_id], limit=10) == []
    assert await stranger.due_in(record.db) == pytest.approx(3600, abs=30)
    await _make_due(record, lease)
    assert await stranger.due_in(record.db) == 0
    await record.raw("UPDATE runs SET crashes = 2")
    woken = await asyncio.gather(*(stranger.wake(record.db, run_ids=None, limit=10) for _ in range(10)))
    assert [(each.id, each.pool) for every in woken for each in every] == [(lease.run_id, "default")]
    assert await stranger.due_in(record.db) is None
    step = (await record.journal(lease))["7"]
    assert (step.status, step.output, step.told, step.finish_id, step.attempt) == ("completed", None, False, "1-60", 1)
    row = await record.row(lease.run_id)
    assert (row["status"], row["requeued_why"], row["crashes"]) == ("queued", "woken", 0)


async def test_a_time_that_has_come_before_the_suspend_queues_the_run_at_once(record: Record) -> None:
    lease = await _sleeping(record, 0)
    await _make_due(record, lease)
    assert await stranger.wake(record.db, run_ids=None, limit=10) == [], "it is still running"
    left = await record.suspend(lease)
    assert (left.status, left.next_id) == ("queued", lease.run_id)
    assert (await record.row(lease.run_id))["requeued_why"] == "woken"
    assert (await record.journal(lease))["7"].status == "completed"
    assert (await record.suspend(lease)).status == "queued", "read back"


@pytest.mark.parametrize("wake", ["named", "sweep"])
async def test_a_wake_and_a_cancel_have_one_winner(record: Record, url: str, wake: str) -> None:
    lease = await _sleeping(record, 3600)
    await record.suspend(lease)
    await _make_due(record, lease)
    ids = [lease.run_id] if wake == "named" else None
    async with colliding(
        url, lambda first: stranger.wake(first.db, run_ids=ids, limit=1), record.cancel(lease.run_id)
    ) as [task]:
        ended = await task
    assert ended is not None
    assert ended.status == await record.status(lease.run_id) == "cancelled"
    assert await stranger.wake(record.db, run_ids=ids, limit=1) == []


async def test_a_named_wake_that_meets_a_cancel_leaves_the_run_ended(record: Record, url: str) -> None:
    lease = await _sleeping(record, 3600)
    await record.suspend(lease)
    await _make_due(record, lease)
    wake = stranger.wake(record.db, run_ids=[lease.run_id], limit=1)
    async with colliding(url, lambda first: first.cancel(lease.run_id), wake) as [task]:
        assert await task == []
    assert await record.status(lease.run_id) == "cancelled"
    assert (await record.journal(lease))["7"].status == "started"


async def _end_child(record: Record, child: UUID) -> None:
    who = boot("c")
    assert await record.claim(child, who) is not None
    ended = await record.finish(Lease(child, who, 1), said="yes")
    assert ended.parent_run_id is not None


async def test_f27_a_child_needs_no_slot_of_its_parent_and_its_end_wakes_it(record: Record) -> None:
    parent, child = await _with_child(record)
    assert (await record.suspend(parent)).status == "waiting"
    assert await stranger.wake(record.db, run_ids=[parent.run_id], limit=1) == [], "the child is not over"
    await _end_child(record, child)
    [woken] = await stranger.wake(record.db, run_ids=[parent.run_id], limit=1)
    assert woken.id == parent.run_id
    step = (await record.journal(parent))["7"]
    assert step.output == {"run_id": str(child), "status": "completed", "output": {"text": "yes"}, "error": None}


async def test_f27_the_sweep_wakes_a_parent_that_nobody_has_named(record: Record) -> None:
    parent, child = await _with_child(record)
    await record.suspend(parent)
    assert await stranger.wake(record.db, run_ids=None, limit=10) == []
    await record.cancel(child)
    [woken] = await stranger.wake(record.db, run_ids=None, limit=10)
    assert woken.id == parent.run_id
    assert (await record.journal(parent))["7"].output["status"] == "cancelled"


async def test_f27_a_child_that_ended_before_its_parent_waited_is_seen(record: Record) -> None:
    parent, child = await _with_child(record)
    await _end_child(record, child)
    assert await stranger.wake(record.db, run_ids=[parent.run_id], limit=1) == []
    assert (await record.suspend(parent)).status == "queued"


async def test_f27_a_wake_waits_for_the_suspend_that_is_on_its_way(record: Record, url: str) -> None:
    parent, child = await _with_child(record)

    async def suspend_then_child_ends(first: Record) -> None:
        assert (await first.suspend(parent)).status == "waiting"
        await _end_child(record, child)

    wake = stranger.wake(record.db, run_ids=[parent.run_id], limit=1)
    async with colliding(url, suspend_then_child_ends, wake) as [task]:
        [woken] = await task
    assert woken.id == parent.run_id
    assert await record.status(parent.run_id) == "queued"


async def test_a_parent_is_told_that_its_child_was_deleted(record: Record) -> None:
    parent, child = await _with_child(record)
    await record.suspend(parent)
    await record.cancel(child)
    assert await caller.delete_thread(record.db, TENANT, f"child-{child}")
    assert len(await stranger.wake(record.db, run_ids=None, limit=10)) == 1
    assert (await record.journal(parent))["7"].output["error"]["code"] == "child_deleted"


async def test_the_children_of_a_run_that_ended_are_orphans_until_their_cancel_is_asked_for(record: Record) -> None:
    parent, child = await _with_child(record)
    assert await stranger.orphans(record.db, limit=10) == []
    assert await stranger.children(record.db, parent.run_id) == [(TENANT, child)]
    await record.finish(parent)
    assert await stranger.orphans(record.db, limit=10) == [(TENANT, child)]
    await record.claim(child, boot("c"))
    await record.cancel(child)
    assert await record.status(child) == "running"
    assert await stranger.orphans(record.db, limit=10) == []
    assert await stranger.children(record.db, parent.run_id) == []


async def test_a_thread_is_deleted_with_its_waits(record: Record) -> None:
    lease = await record.waiting(boot())
    await record.cancel(lease.run_id)
    assert await caller.delete_thread(record.db, TENANT, "t")
    assert await record.raw("SELECT id FROM waits") == []


async def test_agents_tell_their_pool(record: Record) -> None:
    assert await owner.agent_of(record.db, "echo") is None
    await owner.say_agents(record.db, boot(), "fast", [("echo", "v1", "", {})])
    row = await owner.agent_of(record.db, "echo")
    assert row is not None
    assert row.pool == "fast"


async def test_a_suspend_that_waited_for_a_takeover_leaves_the_new_owner_alone(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    await record.ask(lease)

    async def taken_over(first: Record) -> None:
        await first.reclaim(lease)
        await first.again(lease, boot("b"))

    async with colliding(url, taken_over, record.suspend(lease)) as [task]:
        with pytest.raises(LostOwnership):
            await task
    row = await record.row(lease.run_id)
    assert (row["status"], row["run_owner_pod"]) == ("running", "b")
    [wait] = (await caller.waits(record.db, [lease.run_id]))[lease.run_id]
    assert not wait.suspended


async def test_an_answer_never_overwrites_a_result(record: Record) -> None:
    lease = await record.waiting(boot())
    await record.raw("UPDATE steps SET status = 'completed', output = '\"mine\"', finished_at = now()")
    assert await record.answer(lease, answer="yours") is not None
    assert (await record.journal(lease))["7"].output == "mine"


async def test_f27_a_wake_leaves_a_parent_alone_that_is_at_work(record: Record) -> None:
    """Something else has woken it; its next suspend finds that the child is over."""
    await record.waiting(boot(), "another")
    parent, child = await _with_child(record)
    await record.ask(parent, "8")
    await record.suspend(parent, "7", "8")
    await record.answer(parent, "8")
    parent = await record.again(parent)
    await _end_child(record, child)
    assert await stranger.wake(record.db, run_ids=[parent.run_id], limit=1) == []
    assert await stranger.wake(record.db, run_ids=None, limit=10) == []
    assert await record.status(parent.run_id) == "running"
    assert (await record.journal(parent))["7"].status == "started"
    assert (await record.suspend(parent, "7")).status == "queued"
    assert (await record.journal(parent))["7"].finish_id == "2-60"


async def test_a_sweep_passes_over_a_run_that_somebody_else_has_at_hand(record: Record, url: str) -> None:
    lease = await _sleeping(record, 3600)
    await record.suspend(lease)
    await _make_due(record, lease)
    async with uncommitted(url) as before:
        await before.cancel(lease.run_id)
        async with asyncio.timeout(3):
            assert await stranger.wake(record.db, run_ids=None, limit=10) == []
    assert await record.status(lease.run_id) == "cancelled"
    assert (await record.journal(lease))["7"].status == "started", "a run that has ended is left as it was"


async def test_a_wait_that_no_suspend_has_named_is_not_over(record: Record) -> None:
    """Viewers were not told of it, and it has no event to finish its step with."""
    lease = await record.claimed(boot())
    await record.ask(lease, "7")
    await record.ask(lease, "8", kind="sleep", name="sleep", seconds=0)
    assert (await record.suspend(lease, "7")).status == "waiting"
    assert await stranger.wake(record.db, run_ids=[lease.run_id], limit=1) == []
    assert await stranger.wake(record.db, run_ids=None, limit=1) == []
    assert await stranger.due_in(record.db) is None
    assert (await record.journal(lease))["8"].status == "started"


async def test_a_time_that_is_over_is_waited_for_no_more(record: Record) -> None:
    lease = await _sleeping(record, 3600)
    await record.ask(lease, "8")
    await record.suspend(lease, "7", "8")
    await _make_due(record, lease)
    assert len(await stranger.wake(record.db, run_ids=None, limit=1)) == 1
    lease = await record.again(lease)
    assert (await record.suspend(lease, "8")).status == "waiting"
    assert await stranger.due_in(record.db) is None
