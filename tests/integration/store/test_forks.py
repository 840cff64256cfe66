"""The ways on: a resume from an interruption, a fork from an end. Row F20."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast.errors import NotFound, Refused
from holdfast.runs import Lease, OnOwnerLost, Outcome
from holdfast.store import RunRow, caller, owner
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot


async def _fork(record: Record, run_id: UUID, **fields: Any) -> RunRow:
    body: dict[str, Any] = {"new_id": uuid4(), "from_position": None, "thread_id": None} | fields
    return await caller.fork(record.db, TENANT, run_id, **body)


async def _interrupted(record: Record, thread: str = "t") -> Lease:
    lease = await record.claimed(boot(), thread)
    await record.step(lease, "0", said="one ")
    await record.finish(lease, Outcome.INTERRUPTED)
    return lease


async def _heard(record: Record, run_id: UUID) -> list[str]:
    """What the agent of a run is told was said before."""
    row = await caller.run(record.db, TENANT, run_id)
    said = await owner.said_before(record.db, row, limit=100)
    return ["|".join(str(part.get("text", part.get("code"))) for part in parts) for _, parts, _ in said]


async def test_f20_a_resumed_run_goes_on_from_its_finished_steps(record: Record) -> None:
    lease = await _interrupted(record)
    await record.raw("UPDATE runs SET crashes = 2")
    resumed = await caller.resume(record.db, TENANT, lease.run_id)
    assert resumed is not None
    assert (resumed.status, resumed.error, resumed.terminal_event_id, resumed.crashes) == ("queued", None, None, 0)
    assert await caller.resume(record.db, TENANT, lease.run_id) is None
    claimed = await record.claim(lease.run_id, boot("b"))
    assert claimed is not None
    assert (claimed.run.attempt, claimed.from_why, claimed.from_pod) == (2, "resumed", "a")
    assert (await record.journal(lease))["0"].finished


@pytest.mark.parametrize("status", ["queued", "running", "waiting", "completed", "failed", "cancelled"])
async def test_only_what_is_interrupted_is_resumed(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    before = await record.row(run_id)
    assert await caller.resume(record.db, TENANT, run_id) is None
    assert await record.row(run_id) == before


async def test_a_run_is_resumed_by_its_own_tenant(record: Record) -> None:
    run_id = await record.brought_to("interrupted")
    assert await caller.resume(record.db, "another", run_id) is None
    assert await record.status(run_id) == "interrupted"


async def test_a_resume_and_the_claim_of_a_later_run_have_one_winner(record: Record, url: str) -> None:
    lease = await _interrupted(record)
    later = await record.submit()
    resume = caller.resume(record.db, TENANT, lease.run_id)
    async with colliding(url, lambda first: first.claim(later, boot()), resume) as [task]:
        assert await task is None
    row = await record.row(lease.run_id)
    assert (row["status"], row["error"]["code"]) == ("failed", "abandoned")

    lease = await _interrupted(record, "other")
    later = await record.submit("other")
    async with colliding(
        url, lambda first: caller.resume(first.db, TENANT, lease.run_id), record.claim(later, boot())
    ) as [claim]:
        claimed = await claim
    assert claimed is not None
    assert claimed.abandoned == ()
    assert await record.status(lease.run_id) == "queued", "it keeps its place, and runs after this one"


async def test_a_resumed_run_keeps_its_place(record: Record) -> None:
    lease = await _interrupted(record)
    later = await record.submit()
    await caller.resume(record.db, TENANT, lease.run_id)
    assert [run.id for run in await caller.queue(record.db, TENANT, "t")] == [lease.run_id, later]


async def _with_journal(record: Record, thread: str = "t", **fields: Any) -> Lease:
    """Steps finished in another order than that of their positions, one failed, one begun; and text from a suspended attempt."""
    lease = await record.claimed(boot(), thread, **fields)
    await record.intend(lease, "0.0")
    await record.intend(lease, "0.1")
    await record.checkpoint(lease, "0.1", said="b ", last_event_id="1-4", emits={"": 1}, recorded=[1])
    await record.checkpoint(lease, "0.0", said="a ", last_event_id=None, finish_id="1-5")
    await record.ask(lease, "1")
    await owner.suspend(
        record.db, lease, waits=[((await caller.waits(record.db, [lease.run_id]))[lease.run_id][0].id, "1-7", "1-7")],
        next_event_id="1-8", shown_text="outside ", finish_id="1-7", last_event_id="1-7", emits={"": 2, "0.0": 1},
    )  # fmt: skip
    await record.answer(lease, "1")
    lease = await record.again(lease)
    await record.step(lease, "2", error={"code": "x", "message": "y"}, output=None, last_event_id="2-4", emits={"": 4})
    await record.intend(lease, "3")
    return lease


async def test_of_those_who_fork_at_once_with_what_they_know_one_makes_it(record: Record) -> None:
    lease = await _interrupted(record)
    earlier = await _fork(record, lease.run_id)
    known = [lease.run_id, earlier.id]
    rows = await asyncio.gather(*(_fork(record, lease.run_id, known=known) for _ in range(8)))
    assert len({row.id for row in rows}) == 1
    assert rows[0].id not in known
    assert (await _fork(record, lease.run_id, known=[*known, rows[0].id])).id != rows[0].id
    elsewhere = await _fork(record, lease.run_id, known=known, thread_id="other")
    assert elsewhere.thread_id == "other", "a fork on another thread takes nobody's place"


async def test_a_fork_has_the_finished_steps_with_ids_of_its_own(record: Record) -> None:
    lease = await _with_journal(
        record, metadata={"k": "v"}, max_crashes=7, idle_timeout_s=9, on_unknown="fail", deadline_s=60
    )
    await record.finish(lease, Outcome.FAILED)
    before = await record.journal(lease), await record.row(lease.run_id)
    fork = await _fork(record, lease.run_id)
    assert (fork.status, fork.attempt, fork.forked_from, fork.thread_id, fork.deadline_at) == (
        "queued",
        0,
        lease.run_id,
        "t",
        None,
    )
    assert (fork.metadata, fork.max_crashes, fork.idle_timeout_s, fork.on_unknown, fork.agent) == (
        {"k": "v"},
        7,
        9,
        "fail",
        "echo",
    )
    steps = await record.journal(fork.id)
    assert {at: (step.finish_id, step.last_event_id, step.shown_text, step.emits) for at, step in steps.items()} == {
        "0.1": ("0-2", "0-2", "b ", {"": 1}),
        "0.0": ("0-3", "0-3", "a ", None),
        "1": ("0-4", "0-4", "outside ", {"": 2, "0.0": 1}),
        "2": ("0-5", "0-5", "", {"": 4}),
        "3": (None, None, "", None),
    }
    assert steps["3"].status == "started", "nobody knows how it ended: its policy decides in the fork too"
    assert {(step.attempt, step.told) for step in steps.values()} == {(0, True)}
    assert (steps["0.1"].recorded, steps["2"].status, steps["1"].output) == ([1], "failed", True)
    assert (await record.journal(lease), await record.row(lease.run_id)) == before, "the original stays as it is"
    claimed = await record.claim(fork.id, boot())
    assert claimed is not None
    assert (claimed.run.attempt, claimed.from_why, claimed.from_pod) == (1, None, None)


async def test_a_fork_from_a_position_has_what_is_before_it(record: Record) -> None:
    lease = await _with_journal(record)
    await record.finish(lease)
    for position, expected in (("0.0", []), ("1", ["0.0", "0.1"]), ("3", ["0.0", "0.1", "1", "2"])):
        fork = await _fork(record, lease.run_id, from_position=position)
        assert list(await record.journal(fork.id)) == expected
    for position in ("9", "0", "x", ""):
        with pytest.raises(Refused) as refused:
            await _fork(record, lease.run_id, from_position=position)
        assert refused.value.code == "unknown_position"


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
async def test_a_run_that_may_go_on_by_itself_is_not_forked(record: Record, status: str) -> None:
    run_id = await record.brought_to(status)
    with pytest.raises(Refused) as refused:
        await _fork(record, run_id)
    assert refused.value.code == "run_active"
    assert len(await record.raw("SELECT id FROM runs")) == 1


async def test_a_fork_of_what_is_not_there_or_anothers_is_not_found(record: Record) -> None:
    run_id = await record.brought_to("completed")
    for tenant, original in ((TENANT, uuid4()), ("another", run_id)):
        with pytest.raises(NotFound):
            await caller.fork(record.db, tenant, original, new_id=uuid4(), from_position=None, thread_id="made")
    assert await record.raw("SELECT id FROM threads WHERE id = 'made'") == [], "nothing is left behind"


async def test_a_fork_that_meets_a_resume_is_refused_and_a_resume_that_meets_a_fork_goes_on(
    record: Record, url: str
) -> None:
    lease = await _interrupted(record)
    async with colliding(
        url, lambda first: caller.resume(first.db, TENANT, lease.run_id), _fork(record, lease.run_id)
    ) as [task]:
        with pytest.raises(Refused) as refused:
            await task
    assert refused.value.code == "run_active"

    lease = await _interrupted(record, "other")
    resume = caller.resume(record.db, TENANT, lease.run_id)
    async with colliding(url, lambda first: _fork(first, lease.run_id), resume) as [resumed]:
        assert await resumed is not None
    queue = await caller.queue(record.db, TENANT, "other")
    assert [(run.id == lease.run_id, run.forked_from) for run in queue] == [(True, None), (False, lease.run_id)]


async def test_a_fork_hears_what_its_original_heard_and_replaces_its_answer(record: Record) -> None:
    await record.finish(await record.claimed(boot(), said="first?"), said="first!")
    original = await record.claimed(boot(), said="second?")
    await record.finish(original, Outcome.FAILED, said="half")
    await record.finish(await record.claimed(boot(), said="third?"), said="third!")
    fork = await _fork(record, original.run_id)
    later = await record.submit(said="fourth?")
    assert await _heard(record, fork.id) == ["first?", "first!"]
    assert "half|agent_error" in await _heard(record, later), "it has not begun"
    claimed = await record.claim(fork.id, who := boot())
    assert claimed is not None
    await record.finish(Lease(fork.id, who, 1), said="second!")
    assert await _heard(record, later) == ["first?", "first!", "second?", "third?", "third!", "second!"]
    shown = await caller.messages(record.db, TENANT, "t", after=0, limit=100)
    replaced = {
        message.replaced_by for message in shown if message.run_id == original.run_id and message.role == "assistant"
    }
    assert replaced == {fork.id}
    assert {message.replaced_by for message in shown if message.run_id != original.run_id} == {None}
    again = await _fork(record, fork.id)
    assert await _heard(record, again.id) == ["first?", "first!"], "a fork's fork hears the same"
    said = await caller.run_messages(record.db, fork.id)
    assert [message.role for message in said] == ["assistant"], "the question was asked by the original"


async def test_a_fork_on_a_thread_made_for_it_has_the_history_with_it(record: Record) -> None:
    await record.finish(await record.claimed(boot(), said="first?"), said="first!")
    original = await record.claimed(boot(), said="second?")
    await record.finish(original, said="second!")
    await record.finish(await record.claimed(boot(), said="third?"), said="third!")
    fork = await _fork(record, original.run_id, thread_id="made")
    assert await _heard(record, fork.id) == ["first?", "first!"]
    assert await caller.run_messages(record.db, fork.id) == []
    claimed = await record.claim(fork.id, who := boot())
    assert claimed is not None
    assert await _heard(record, fork.id) == ["first?", "first!"]
    await record.finish(Lease(fork.id, who, 1), said="other!")
    assert await _heard(record, await record.submit("made")) == ["first?", "first!", "second?", "other!"]
    assert await _heard(record, await record.submit()) == ["first?", "first!", "second?", "second!", "third?", "third!"]

    same = await _fork(record, fork.id)
    assert await _heard(record, same.id) == ["first?", "first!"], "what was copied is heard by a fork there"
    await caller.queue_first(record.db, TENANT, "made", same.id)
    assert await record.claim(same.id, boot()) is not None
    heard = await _heard(record, await record.submit("made"))
    assert heard == ["first?", "first!", "second?"], "what the fork has replaced is its original's answer, not the copy"
    third = await _fork(record, fork.id, thread_id="third")
    assert await _heard(record, third.id) == ["first?", "first!"]
    present = await _fork(record, original.run_id, thread_id="third")
    assert await _heard(record, present.id) == ["first?", "first!"], "a thread that was there stays as it is"


async def test_a_run_that_was_never_claimed_is_asked_by_its_fork(record: Record) -> None:
    run_id = await record.submit(said="first?")
    await record.cancel(run_id)
    fork = await _fork(record, run_id)
    await record.claim(fork.id, boot())
    assert [message.role for message in await caller.run_messages(record.db, fork.id)] == ["user"]


async def test_a_fork_of_an_interrupted_run_gives_it_up_once_it_is_claimed(record: Record) -> None:
    lease = await record.claimed(boot(), policy=OnOwnerLost.INTERRUPT)
    await record.reclaim(lease)
    fork = await _fork(record, lease.run_id)
    assert await record.status(lease.run_id) == "interrupted"
    claimed = await record.claim(fork.id, boot())
    assert claimed is not None
    assert [each.id for each in claimed.abandoned] == [lease.run_id]
