"""The ordered writer of an attempt's events, against a log that fails in every way in which a stream does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from holdfast.errors import AgentFailed, LostOwnership
from holdfast.runs import EventId
from holdfast_runner import event_writer
from holdfast_runner.event_writer import EventWriter
from tests.support.wait import wait_until
from tests.unit.runner.fake_log import FakeLog
from tests.unit.runner.written import Written, say


@pytest.fixture
async def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """A log that behaves."""
    log = FakeLog()
    log.install(monkeypatch)
    return Written(log)


@pytest.fixture
async def writer(written: Written) -> AsyncIterator[EventWriter]:
    """A writer of attempt 2, open on an empty log."""
    made = written.make()
    await made.open()
    yield made
    await made.close()


async def test_f40_ids_are_contiguous_and_events_that_gather_go_together(written: Written, writer: EventWriter) -> None:
    written.log.gate.clear()
    say(writer, "first")
    await wait_until(lambda: written.log.appends == 1, description="the first append is in flight")
    for number in range(50):
        say(writer, str(number))
    written.log.gate.set()
    assert await writer.flush() == EventId(2, 51)
    assert written.ids() == [f"2-{n}" for n in range(1, 52)]
    assert len(written.log.messages) == 2


async def test_a_batch_has_a_bound(written: Written, writer: EventWriter) -> None:
    for _ in range(5):
        say(writer, "x" * 100 * 1024)
    await writer.flush()
    assert [len(payload) // 1024 for _, payload in written.log.messages] == [200, 200, 100]


async def test_nothing_emitted_needs_no_flush(writer: EventWriter) -> None:
    assert await writer.flush() is None


async def test_f34_an_append_whose_answer_was_lost_is_not_made_twice(written: Written, writer: EventWriter) -> None:
    written.log.lose_answers = 1
    say(writer, "once")
    assert await writer.flush() == EventId(2, 1)
    say(writer, "twice")
    assert await writer.flush() == EventId(2, 2)
    assert written.ids() == ["2-1", "2-2"]


async def test_f34_an_append_is_retried_while_the_stream_has_no_leader(written: Written) -> None:
    written.budget_s = 5.0
    writer = written.make()
    await writer.open()
    written.log.away = True
    say(writer, "kept")
    flushing = asyncio.create_task(writer.flush())
    await wait_until(lambda: written.log.appends > 3, description="several tries")
    written.log.away = False
    assert await flushing == EventId(2, 1)
    assert written.types() == ["text.delta"]
    await writer.close()


async def test_f11_a_zombie_s_last_word_comes_before_the_first_append(written: Written, writer: EventWriter) -> None:
    written.log.before_append.append(lambda: written.log.write(EventId(1, 9), uuid4()))
    say(writer, "mine")
    assert await writer.flush() == EventId(2, 1)
    assert [str(end.last_id) for end, _ in written.log.messages] == ["1-9", "2-1"]


async def test_a_later_attempt_in_the_log_is_a_loss_told_once(written: Written, writer: EventWriter) -> None:
    written.log.write(EventId(3, 1), uuid4())
    say(writer, "too late")
    with pytest.raises(LostOwnership, match="is at 3-1"):
        await writer.flush()
    say(writer, "and later")
    with pytest.raises(LostOwnership):
        await writer.flush()
    assert len(written.lost) == 1
    assert written.ids() == []


async def test_a_later_attempt_at_the_start_is_a_loss(written: Written) -> None:
    written.log.write(EventId(3, 1), uuid4())
    with pytest.raises(LostOwnership):
        await written.make().open()


async def test_another_boot_with_the_same_attempt_is_a_loss(written: Written, writer: EventWriter) -> None:
    written.log.write(EventId(2, 1), uuid4())
    say(writer, "whose?")
    with pytest.raises(LostOwnership):
        await writer.flush()


async def test_a_log_that_is_away_beyond_the_budget_is_mended_by_a_snapshot(
    written: Written, writer: EventWriter
) -> None:
    say(writer, "before")
    assert await writer.flush() == EventId(2, 1)
    written.log.away = True
    say(writer, "dropped")
    assert await writer.flush() is None
    assert say(writer, "dropped too") == EventId(2, 3)
    assert await writer.flush() is None
    written.log.away = False
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    say(writer, "after")
    assert await writer.flush() == EventId(2, 5)
    assert written.ids() == ["2-1", "2-4", "2-5"]
    assert written.log.events[1].data == written.snapshot


async def test_nats_away_at_the_start_is_mended_later(written: Written) -> None:
    written.log.away = True
    writer = written.make()
    assert await writer.open() is None
    writer.emit("run.resumed", {})
    assert await writer.flush() is None
    written.log.away = False
    await wait_until(lambda: written.types() == ["snapshot"], description="a snapshot")
    assert written.ids() == ["2-2"]
    await writer.close()


async def test_a_log_that_was_emptied_is_mended_by_a_snapshot(written: Written, writer: EventWriter) -> None:
    say(writer, "gone")
    await writer.flush()
    written.log.vanish()
    say(writer, "refused")
    assert await writer.flush() is None
    await wait_until(lambda: written.types() == ["snapshot"], description="a snapshot")
    assert written.ids() == ["2-3"]


@pytest.mark.parametrize("left", [0, 2])
async def test_a_log_that_shrank_before_the_first_append_is_not_taken_for_a_zombie_s_word(
    written: Written, left: int
) -> None:
    for n in range(1, 6):
        written.log.write(EventId(1, n), uuid4())
    writer = written.make()
    assert await writer.open() == EventId(1, 5)
    del written.log.messages[left:]  # what this attempt says it keeps is not all there any more
    writer.emit("run.resumed", {"keep_through": "1-5"})
    assert await writer.flush() is None
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    assert "run.resumed" not in written.types()
    await writer.close()


async def test_a_loss_that_is_mended_before_the_flusher_looks_is_a_loss(written: Written, writer: EventWriter) -> None:
    say(writer, "gone")
    await writer.flush()
    written.log.vanish()
    say(writer, "dropped, and in no snapshot of it")
    flushers = [asyncio.create_task(writer.flush()) for _ in range(50)]  # the last ones look after the mending
    assert set(await asyncio.gather(*flushers)) == {None}
    assert written.types() == ["snapshot"]


async def test_a_late_append_that_was_given_up_on_ends_in_a_snapshot(written: Written, writer: EventWriter) -> None:
    """A frozen server carries out what it had received, after its client has counted the log as lost."""
    written.log.away = True
    say(writer, "late")
    assert await writer.flush() is None

    def land() -> None:
        written.log.write(EventId(2, 1), written.boot)

    written.log.before_append.append(land)
    written.log.away = False
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    assert written.ids() == ["2-3"]  # the one before was refused


async def test_the_terminal_event_has_the_id_that_the_record_was_told(written: Written, writer: EventWriter) -> None:
    say(writer, "all")
    await writer.flush()
    assert writer.seal() == writer.seal() == EventId(2, 2)
    await writer.tell_end("run.completed", {"output": 1})
    assert written.ids() == ["2-1", "2-2"]


async def test_a_log_lost_before_the_end_gets_its_snapshot_and_then_the_end(
    written: Written, writer: EventWriter
) -> None:
    written.log.away = True
    say(writer, "dropped")
    assert await writer.flush() is None
    end_id = writer.seal()
    assert end_id == EventId(2, 3)
    written.log.away = False
    await wait_until(lambda: bool(written.log.messages), description="a snapshot")
    await writer.tell_end("run.completed", {})
    assert list(zip(written.ids(), written.types(), strict=True)) == [("2-2", "snapshot"), ("2-3", "run.completed")]


async def test_a_snapshot_before_the_end_that_had_landed_is_not_written_twice(written: Written) -> None:
    written.budget_s = 0.0
    writer = written.make()
    await writer.open()
    written.log.away = True
    say(writer, "dropped")
    await writer.flush()
    writer.seal()
    written.log.away, written.log.lose_answers = False, 1
    await wait_until(lambda: bool(written.log.messages), description="a snapshot")
    await writer.tell_end("run.completed", {})
    assert written.ids() == ["2-2", "2-3"]
    await writer.close()


async def test_an_end_that_nats_never_takes_is_left_to_tails(
    written: Written, writer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_writer, "_END_PATIENCE_S", 0.05)
    written.log.away = True
    say(writer, "dropped")
    await writer.flush()
    writer.seal()
    await writer.tell_end("run.completed", {})
    assert written.log.messages == []


async def test_an_end_that_is_lost_itself_is_left_to_tails(written: Written, writer: EventWriter) -> None:
    say(writer, "all")
    await writer.flush()
    writer.seal()
    written.log.vanish()
    await writer.tell_end("run.completed", {})
    assert written.log.messages == []


async def test_an_error_that_nobody_foresaw_costs_the_log_and_not_the_run(
    written: Written, writer: EventWriter
) -> None:
    written.log.explodes = ValueError("a bug")
    say(writer, "dropped")
    assert await writer.flush() is None
    say(writer, "dropped")
    assert await writer.flush() is None
    writer.seal()
    async with asyncio.timeout(1):  # without patience: it will not come back
        await writer.tell_end("run.completed", {})
    assert written.lost == []


async def test_f36_an_event_that_is_too_large_is_refused_and_takes_no_id(written: Written, writer: EventWriter) -> None:
    with pytest.raises(AgentFailed, match="are allowed") as refused:
        say(writer, "x" * writer.event_bytes_max)
    assert refused.value.code == "too_large"
    assert say(writer, "fits") == EventId(2, 1)
    await writer.flush()
    assert written.ids() == ["2-1"]


async def test_an_event_that_is_no_json_is_refused_and_takes_no_id(writer: EventWriter) -> None:
    with pytest.raises(AgentFailed) as refused:
        writer.emit("custom", {"data": object()})
    assert refused.value.code == "not_json"
    assert writer.next_id == EventId(2, 1)


async def test_the_buffer_has_a_bound(written: Written) -> None:
    written.buffer_bytes_max = 10_000
    writer = written.make()
    await writer.open()
    written.log.gate.clear()
    for _ in range(50):
        say(writer, "x" * 100)
    with pytest.raises(AgentFailed) as refused:
        say(writer, "x" * 10_000)
    assert refused.value.code == "event_buffer_full"
    written.log.gate.set()
    assert await writer.flush() == EventId(2, 50)
    await writer.close()


def _finished(output: str, text: str) -> Mapping[str, Any]:
    return {"position": "0", "status": "completed", "output": output, "text": text, "last_event_id": None}


async def test_a_snapshot_that_is_too_large_leaves_outputs_out(written: Written, writer: EventWriter) -> None:
    written.snapshot["steps"] = [_finished("x" * 3_000_000, "small")]
    written.log.away = True
    say(writer, "dropped")
    await writer.flush()
    written.log.away = False
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    [step] = written.log.events[0].data["steps"]
    assert (step["output"], step["output_left_out"], step["text"]) == (None, True, "small")


async def test_a_snapshot_that_is_too_large_even_so_costs_the_log_and_not_the_run(
    written: Written, writer: EventWriter
) -> None:
    written.snapshot["steps"] = [_finished("", "x" * 3_000_000)]
    written.log.gate.clear()
    say(writer, "lands")
    await wait_until(lambda: written.log.appends == 1, description="an append is in flight")
    writer.emit_snapshot()
    written.log.gate.set()
    say(writer, "dropped")
    assert await writer.flush() is None
    await wait_until(lambda: written.ids() == ["2-1"], description="the append has landed")
    assert writer._pump_task is not None
    assert not writer._pump_task.done(), "it did not fail"


async def test_close_drops_what_was_not_flushed(written: Written, writer: EventWriter) -> None:
    written.log.gate.clear()
    say(writer, "never")
    await wait_until(lambda: written.log.appends == 1, description="the append is in flight")
    await writer.close()
    await writer.close()
    assert written.log.messages == []
