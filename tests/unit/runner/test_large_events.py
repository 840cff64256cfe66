"""Events larger than a message, cut off between any two of their parts: by a death, a lost answer, a zombie, a takeover (F36)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest

from holdfast.bus import event_log
from holdfast.bus.parts import Mark, split
from holdfast.errors import AgentFailed, LostOwnership
from holdfast.runs import EventId, Lease, Owner
from holdfast.wire import events
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.fenced_log import FencedLog
from tests.support.wait import wait_until
from tests.unit.runner.fake_log import FakeLog
from tests.unit.runner.written import RUN, Written, say

PART_BYTES = 4096
LARGE = "x" * (PART_BYTES * 7 // 2)  # with its frame: four parts
PARTS = 4


@pytest.fixture
async def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """A log of small messages; before them, what an earlier attempt had written."""
    log = FakeLog()
    log.client.max_payload = 2 * PART_BYTES  # type: ignore[misc]  # the fake's is a plain attribute
    log.install(monkeypatch)
    log.write(EventId(1, 7), uuid4())
    return Written(log)


@pytest.fixture
async def writer(written: Written) -> AsyncIterator[EventWriter]:
    """A writer of attempt 2, open, that has said something small."""
    made = written.make()
    assert await made.open() == EventId(1, 7)
    say(made, "small")
    await made.flush()
    yield made
    await made.close()


def places(written: Written) -> list[str]:
    """What the messages say that they are: a part, or the last event that is whole with it."""
    return [f"{end.part.number}/{end.part.count}" if end.part else str(end.last_id) for end, _ in written.log.messages]


async def cut_off(written: Written, writer: EventWriter, after: int) -> None:
    """Emit a large event, and die when so many parts of it are in the log."""
    begun = len(written.log.messages)
    written.log.before_append += [None] * (after - 1) + [written.log.gate.clear]
    say(writer, LARGE)
    await wait_until(lambda: len(written.log.messages) == begun + after, description="parts")
    await writer.close()
    written.log.gate.set()


async def test_f36_a_large_event_goes_in_parts_and_is_one_event(written: Written, writer: EventWriter) -> None:
    say(writer, "before")
    say(writer, LARGE)
    say(writer, "after")
    assert await writer.flush() == EventId(2, 4)
    assert written.ids() == ["2-1", "2-2", "2-3", "2-4"]
    assert places(written) == ["1-7", "2-1", "2-2", "1/4", "2/4", "3/4", "4/4", "2-4"]
    assert [str(end.last_id) for end, _ in written.log.messages[3:7]] == ["2-2", "2-2", "2-2", "2-3"]
    assert written.log.events[2].data["text"] == LARGE


async def test_f36_small_events_are_not_put_together_beyond_a_message(written: Written, writer: EventWriter) -> None:
    written.log.gate.clear()
    say(writer, "first")
    for _ in range(6):
        say(writer, "x" * (PART_BYTES // 3))
    written.log.gate.set()
    await writer.flush()
    assert len(written.ids()) == 8
    assert all(end.part is None for end, _ in written.log.messages)


@pytest.mark.parametrize("number", range(1, PARTS + 1))
async def test_f36_a_part_whose_answer_was_lost_is_not_made_twice(
    written: Written, writer: EventWriter, number: int
) -> None:
    def lose_this_answer() -> None:
        written.log.lose_answers = 1

    written.log.before_append += [None] * (number - 1) + [lose_this_answer]
    say(writer, LARGE)
    say(writer, "after")
    assert await writer.flush() == EventId(2, 3)
    assert written.ids() == ["2-1", "2-2", "2-3"]
    assert places(written)[2:] == ["1/4", "2/4", "3/4", "4/4", "2-3"]


@pytest.mark.parametrize("after", range(1, PARTS))
async def test_f36_what_a_dead_writer_left_is_dropped_and_the_next_owner_goes_on_at_the_real_end(
    written: Written, writer: EventWriter, after: int
) -> None:
    await cut_off(written, writer, after)
    assert written.ids() == ["2-1"]
    heir = written.make(attempt=3, boot=uuid4())
    assert await heir.open() == EventId(2, 1)  # an event of which parts are missing has not landed
    heir.emit("run.resumed", {"keep_through": "2-1"})
    say(heir, LARGE)
    assert await heir.flush() == EventId(3, 2)
    await heir.close()
    assert written.ids() == ["2-1", "3-1", "3-2"]


async def test_f11_a_zombie_s_next_parts_come_before_the_first_append(written: Written, writer: EventWriter) -> None:
    await cut_off(written, writer, 1)
    zombies_end = written.log.messages[-1][0]
    assert zombies_end.part is not None

    def next_part(mark: Mark) -> Callable[[], None]:
        return lambda: written.log.write(EventId(2, 1), written.boot, b"...", mark=mark)

    heir = written.make(attempt=3, boot=uuid4())
    await heir.open()
    second = zombies_end.part.next
    written.log.before_append += [next_part(second), next_part(second.next)]
    heir.emit("run.resumed", {})
    assert await heir.flush() == EventId(3, 1)
    assert places(written)[2:] == ["1/4", "2/4", "3/4", "3-1"]
    assert written.ids() == ["2-1", "3-1"]
    await heir.close()


async def test_f11_a_zombie_s_whole_event_comes_before_the_first_append(written: Written, writer: EventWriter) -> None:
    await cut_off(written, writer, PARTS - 1)
    last = written.log.messages[-1][0].part
    assert last is not None
    final = list(
        split(events.frame(EventId(2, 2), "text.delta", {"position": None, "text": LARGE}), EventId(2, 2), 4096)
    )
    heir = written.make(attempt=3, boot=uuid4())
    await heir.open()
    written.log.before_append.append(
        lambda: written.log.write(EventId(2, 2), written.boot, final[-1].payload, mark=last.next)
    )
    say(heir, LARGE)
    assert await heir.flush() == EventId(3, 1)
    assert written.ids() == ["2-1", "2-2", "3-1"]
    assert [str(end.last_id) for end, _ in written.log.messages[-4:-1]] == ["2-2"] * 3  # it is the event before, then
    await heir.close()


@pytest.mark.parametrize("after", range(1, PARTS))
async def test_f11_a_zombie_between_parts_finds_that_it_has_lost(
    written: Written, writer: EventWriter, after: int
) -> None:
    written.log.before_append += [None] * (after - 1) + [written.log.gate.clear]
    say(writer, LARGE)
    await wait_until(lambda: len(written.log.messages) == 2 + after, description="some parts")
    held = written.log.gate
    written.log.gate = asyncio.Event()
    written.log.gate.set()
    heir = written.make(attempt=3, boot=uuid4())
    assert await heir.open() == EventId(2, 1)
    heir.emit("run.resumed", {})
    await heir.flush()
    held.set()
    with pytest.raises(LostOwnership, match="is at 3-1"):
        await writer.flush()
    assert written.ids() == ["2-1", "3-1"]
    await heir.close()


async def test_f11_a_later_owner_shows_by_the_first_part_of_its_first_event(written: Written) -> None:
    """The event before it is of an attempt before the zombie's: what counts is who wrote the part."""
    writer = written.make()
    await writer.open()
    mark = Mark(1, 2, "3-1/8000/00000000")
    written.log.write(EventId(1, 7), uuid4(), b"...", mark=mark)
    say(writer, "too late")
    with pytest.raises(LostOwnership, match="is at 3-1"):
        await writer.flush()
    with pytest.raises(LostOwnership):
        await written.make().open()
    assert written.log.messages[-1][0].part == mark
    await writer.close()


async def test_f36_a_log_lost_between_parts_is_mended_by_a_snapshot(written: Written, writer: EventWriter) -> None:
    written.log.before_append += [None, None, written.log.vanish]
    say(writer, LARGE)
    assert await writer.flush() is None
    await wait_until(lambda: written.types() == ["snapshot"], description="a snapshot")
    assert written.ids() == ["2-3"]
    say(writer, "after")
    assert await writer.flush() == EventId(2, 4)


async def test_f36_nats_away_between_parts_is_mended_by_a_snapshot_in_parts(
    written: Written, writer: EventWriter
) -> None:
    """Given up after two parts; a third lands late, and the snapshot has as many parts. Nothing of the two is mixed."""
    written.snapshot["partial_text"] = "y" * len(LARGE)
    late: list[Mark] = []

    def go_away() -> None:
        written.log.away = True

    written.log.before_append += [None, None, go_away]
    say(writer, LARGE)
    assert await writer.flush() is None
    part = written.log.messages[-1][0].part
    assert part is not None

    def land() -> None:
        late.append(part.next)
        written.log.write(EventId(2, 1), written.boot, b"late", mark=part.next)

    written.log.before_append.append(land)
    written.log.away = False
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    assert late
    assert written.log.events[-1].data["partial_text"] == written.snapshot["partial_text"]
    assert written.ids() == ["2-1", str(written.log.events[-1].id)]
    assert "text.delta" not in written.types()[1:]


@pytest.mark.parametrize("text", ["so far", LARGE])
async def test_f36_a_snapshot_owed_before_the_end_is_written_anew_when_parts_of_it_had_landed(
    written: Written, text: str
) -> None:
    """It has the same id, since the end's is in the record; its text is another one, or the same."""
    written.budget_s = 0.0
    written.snapshot["partial_text"] = LARGE
    writer = written.make()
    await writer.open()
    written.log.away = True
    say(writer, "dropped")
    await writer.flush()
    end_id = writer.seal()
    written.log.before_append.clear()

    def go_away() -> None:
        written.log.away = True

    written.log.before_append += [None, go_away]
    written.log.away = False
    await wait_until(lambda: written.log.away, description="away again, between two parts of the snapshot")
    written.snapshot["partial_text"] = text
    await asyncio.sleep(0)
    written.log.away = False
    await writer.tell_end("run.completed", {})
    assert written.types() == ["snapshot", "run.completed"]
    assert written.log.events[0].data["partial_text"] == text
    assert written.log.events[1].id == end_id
    await writer.close()


async def test_f36_a_first_part_of_the_same_event_is_not_taken_for_another_s(
    written: Written, writer: EventWriter
) -> None:
    """What was given up on lands late, with the number and the id of what is being appended, but other bytes."""
    frame = events.frame(EventId(2, 2), "text.delta", {"position": None, "text": "z" * len(LARGE)})
    other = next(iter(split(frame, EventId(2, 2), PART_BYTES)))
    written.log.before_append.append(
        lambda: written.log.write(EventId(2, 1), written.boot, other.payload, mark=other.mark)
    )
    say(writer, LARGE)
    assert await writer.flush() is None  # the log is not the one that was written so far
    await wait_until(lambda: "snapshot" in written.types(), description="a snapshot")
    assert written.types() == ["text.delta", "snapshot"]


async def test_f36_an_event_that_had_landed_whole_is_not_begun_anew(written: Written) -> None:
    log = FencedLog(written.log.client, Lease(RUN, Owner("pod", written.boot), 2), budget_s=0.05)
    await log.find_end()
    frame = events.frame(EventId(2, 1), "snapshot", {"partial_text": LARGE})
    *_, final = split(frame, EventId(2, 1), PART_BYTES)
    written.log.before_append.append(
        lambda: written.log.write(EventId(2, 1), written.boot, final.payload, mark=final.mark)
    )
    assert await log.append(frame, EventId(2, 1))
    assert places(written) == ["1-7", "4/4"]


async def test_f36_a_stranger_s_end_follows_unfinished_parts(
    written: Written, writer: EventWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_off(written, writer, 2)
    monkeypatch.setattr(event_log, "message_bytes_max", lambda _: PART_BYTES)
    await event_log.tell(written.log.client, RUN, EventId(3, 1), "run.cancelled", {"keep_through": "2-1"})
    await event_log.tell(written.log.client, RUN, EventId(3, 1), "run.cancelled", {"keep_through": "2-1"})
    assert written.ids() == ["2-1", "3-1"]
    assert places(written)[2:] == ["1/4", "2/4", "3-1"]


async def test_f36_a_stranger_s_event_may_be_large_and_a_late_one_is_not_told(written: Written) -> None:
    await event_log.tell(written.log.client, RUN, EventId(3, 1), "run.failed", {"error": {"message": LARGE}})
    assert written.ids() == ["3-1"]
    written.log.write(EventId(3, 1), uuid4(), b"...", mark=Mark(1, 2, "5-1/8000/00000000"))
    count = len(written.log.messages)
    await event_log.tell(written.log.client, RUN, EventId(4, 1), "run.interrupted", {})
    assert len(written.log.messages) == count, "attempt 5 is at it already"


async def test_f36_a_snapshot_larger_than_a_message_costs_nothing(written: Written, writer: EventWriter) -> None:
    written.snapshot["steps"] = [{"position": "0", "status": "completed", "output": LARGE, "text": ""}]
    writer.emit_snapshot()
    assert await writer.flush() == EventId(2, 2)
    assert written.log.events[-1].data["steps"][0]["output"] == LARGE


async def test_one_large_event_may_always_wait_and_leaves_room_for_small_ones(written: Written) -> None:
    written.buffer_bytes_max, written.event_bytes_max = 10_000, 2 * 1024 * 1024
    writer = written.make()
    await writer.open()
    written.log.gate.clear()
    say(writer, "small")
    say(writer, "x" * 1024 * 1024)
    say(writer, "small")
    with pytest.raises(AgentFailed) as refused:
        say(writer, "x" * 1024 * 1024)
    assert refused.value.code == "event_buffer_full"
    assert say(writer, "small") == EventId(2, 4)
    written.log.gate.set()
    assert await writer.flush() == EventId(2, 4)
    say(writer, "x" * 1024 * 1024)
    assert await writer.flush() == EventId(2, 5)
    await writer.close()
