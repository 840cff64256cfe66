"""The message that ends a run: its text in the order in which it was finished, a result behind every tool call. Row F61."""

from __future__ import annotations

from typing import Any

from holdfast.runs import Lease, Outcome
from holdfast.store import caller, owner, stranger
from tests.integration.store.interleaved import colliding
from tests.integration.store.record import TENANT, Record, boot

Part = dict[str, Any]


def _call(call_id: str, name: str = "look") -> Part:
    return {"id": call_id, "name": name, "input": {"of": call_id}}


async def _model(record: Record, lease: Lease, position: str, n: int, *calls: Part, said: str = "") -> None:
    await record.intend(lease, position)
    output = {"text": said, "tool_calls": list(calls)}
    await record.checkpoint(lease, position, said=said, output=output, last_event_id=f"{lease.attempt}-{n}")


async def _tool(record: Record, lease: Lease, position: str, call_id: str, n: int | None = None, **result: Any) -> None:
    """A tool's step; without ``n`` it is not finished."""
    await owner.intend(
        record.db,
        lease,
        position=position,
        kind="tool",
        name="look",
        input_hash=b"t",
        tries=1,
        call_id=call_id,
        input={"of": call_id},
    )
    if n is not None:
        await record.checkpoint(lease, position, last_event_id=f"{lease.attempt}-{n}", **result)


REFUSED = {"code": "refused", "message": "the call was refused before it was made, and the model was told why"}


async def _parts(record: Record, thread: str = "t") -> list[Part]:
    rows = await caller.messages(record.db, TENANT, thread, after=0, limit=100)
    [answer] = [row for row in rows if row.role == "assistant"]
    return [dict(part) for part in answer.parts]


def _text(said: str) -> Part:
    return {"type": "text", "text": said}


def _pair(call: Part, **result: Any) -> list[Part]:
    named = {"tool_call_id": call["id"], "tool_name": call["name"]}
    return [{"type": "tool-call", **named, "input": call["input"]}, {"type": "tool-result", **named, **result}]


async def test_f61_every_call_has_its_result_whatever_became_of_it(record: Record) -> None:
    lease = await record.claimed(boot())
    done, failed, begun, never = (_call(name) for name in ("done", "failed", "begun", "never"))
    await _model(record, lease, "0", 2, done, failed, begun, never, said="Let me look. ")
    await _tool(record, lease, "1.0", "done", 4, output={"found": 3}, said="(seen) ")
    await _tool(record, lease, "1.1", "failed", 5, output=None, error={"code": "tool_error", "message": "no"})
    await _tool(record, lease, "1.2", "begun")
    await _tool(record, lease, "1.3", "nobody asked", 6, output=1)
    await record.cancel(lease.run_id)
    await record.finish(lease, said="And so")
    parts = await _parts(record)
    unknown = parts[6]
    assert unknown.pop("error")["code"] == "unknown"
    assert parts == [
        _text("Let me look. "),
        *_pair(done, status="completed", output={"found": 3}),
        *_pair(failed, status="failed", error={"code": "tool_error", "message": "no"}),
        *_pair(begun, status="unknown"),
        *_pair(never, status="cancelled", error={"code": "cancelled", "message": "not run"}),
        _text("(seen) And so"),
    ]


async def test_f61_an_id_that_comes_again_in_a_later_turn_has_the_result_of_that_turn(record: Record) -> None:
    lease = await record.claimed(boot())
    again = _call("call_0")
    await _model(record, lease, "0", 2, again, said="one ")
    await _tool(record, lease, "1.0", "call_0", 3, output="first")
    await _model(record, lease, "2", 4, again, said="two ")
    await _model(record, lease, "10", 6, again, said="ten")
    await _tool(record, lease, "11.0", "call_0", 7, output="tenth")
    await record.finish(lease, Outcome.FAILED)
    assert await _parts(record) == [
        _text("one "), *_pair(again, status="completed", output="first"),
        _text("two "), *_pair(again, status="failed", error=REFUSED),
        _text("ten"), *_pair(again, status="completed", output="tenth"),
        {"type": "error", "code": "agent_error", "message": "it broke"},
    ]  # fmt: skip


async def test_f61_a_step_that_is_to_be_run_again_is_unknown_until_it_is(record: Record) -> None:
    lease = await record.claimed(boot())
    await _model(record, lease, "0", 2, _call("c"))
    await _tool(record, lease, "1.0", "c")
    await record.ask(lease, "1.0", kind="unknown")
    await record.suspend(lease, "1.0")
    await record.answer(lease, "1.0", status="retry")
    await record.cancel(lease.run_id)
    call, result = await _parts(record)
    assert (call["type"], result["status"]) == ("tool-call", "unknown")


async def test_text_counts_where_its_step_was_finished_and_joins_its_neighbours(record: Record) -> None:
    lease = await record.claimed(boot())
    for position in ("0.0", "0.1"):
        await record.intend(lease, position)
    await record.checkpoint(lease, "0.1", said="second branch ", last_event_id="1-9")
    await record.checkpoint(lease, "0.0", said="first branch", last_event_id="1-10")
    await record.finish(lease, said=", the end")
    assert await _parts(record) == [_text("second branch first branch, the end")]


async def test_the_order_is_known_of_steps_whose_events_the_log_has_lost(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, "0", said="one ", last_event_id=None, finish_id="1-4")
    await record.step(lease, "1", said="two ", last_event_id="1-5")
    await record.step(lease, "2", said="three", last_event_id=None, finish_id="1-10")
    await record.finish(lease)
    assert await _parts(record) == [_text("one two three")]


async def test_an_end_by_anybody_keeps_what_a_suspended_attempt_had_shown(record: Record) -> None:
    async def waited(thread: str) -> Lease:
        lease = await record.claimed(boot(), thread, deadline_s=3600)
        await record.step(lease, said="before ", last_event_id="1-3")
        await record.ask(lease)
        await record.suspend(lease, said="outside ")
        return lease

    ends: dict[str, Any] = {
        "cancelled-while-it-waits": lambda lease: record.cancel(lease.run_id),
        "expired-while-it-waits": lambda lease: _expire(record, lease),
    }
    for thread, end in ends.items():
        lease = await waited(thread)
        ended = await end(lease)
        assert ended.keep_through == "1-60"
        assert (await _parts(record, thread))[0] == _text("before outside ")

    lease = await waited("later")
    await record.answer(lease)
    lease = await record.again(lease)
    await record.step(lease, "8", said="after", last_event_id="2-4")
    await record.finish(lease, said="!")
    assert await _parts(record, "later") == [_text("before outside after!")]


async def _expire(record: Record, lease: Lease) -> Any:
    await record.raw("UPDATE runs SET deadline_at = now() WHERE id = $1", lease.run_id)
    return await stranger.expire(record.db, lease.run_id, 1, None, "deadline")


async def test_an_interrupted_run_says_nothing_until_it_ends(record: Record) -> None:
    lease = await record.claimed(boot())
    await record.step(lease, said="kept ")
    behind = await record.submit()
    ended = await record.finish(lease, Outcome.INTERRUPTED, said="lost")
    assert (ended.status, ended.error, ended.next_id) == (
        "interrupted",
        {"code": "agent_error", "message": "it broke"},
        behind,
    )
    assert (await record.finish(lease, Outcome.INTERRUPTED, said="lost")).status == "interrupted", "read back"
    row = await record.row(lease.run_id)
    assert (row["terminal_event_id"], row["finished_at"], row["attempt"], row["crashes"]) == ("1-90", None, 1, 0)
    rows = await caller.run_messages(record.db, lease.run_id)
    assert [message.role for message in rows] == ["user"]
    await record.cancel(lease.run_id)
    assert await _parts(record) == [_text("kept ")]
    assert (await record.row(lease.run_id))["error"] is None


async def test_an_end_by_others_sees_the_calls_that_a_checkpoint_has_just_committed(record: Record, url: str) -> None:
    lease = await record.claimed(boot())
    await record.intend(lease)
    await record.cancel(lease.run_id)
    output = {"tool_calls": [_call("c")]}
    async with colliding(url, lambda first: first.checkpoint(lease, output=output), record.force_cancel(lease)) as [
        task
    ]:
        assert await task is not None
    assert [part["type"] for part in await _parts(record)] == ["tool-call", "tool-result"]
