"""What a viewer is sent, whatever the log lost: held against a record by the one folding rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import StoreUnavailable
from holdfast.runs import EventId, Fold
from holdfast.store import JournalStep, TailRow
from holdfast.wire.events import decode, frame, split
from holdfast_gateway.batch import Batch
from holdfast_gateway.continuity import Continuity
from holdfast_gateway.picture import Picture

RUN = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class History:
    """A run that was: its log, and what the record held when each event had been appended."""

    frames: list[bytes] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    steps: list[JournalStep] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    text: str = ""
    pending: str = ""
    attempt: int = 0
    n: int = 0
    status: str = "queued"
    terminal_id: str | None = None
    _position: int = 0

    def emit(self, event_type: str, **data: Any) -> str:
        self.n += 1
        event_id = EventId(self.attempt, self.n)
        self.frames.append(frame(event_id, event_type, data))
        self.record()
        return str(event_id)

    def record(self) -> None:
        row = TailRow(RUN, self.status, self.attempt, self.terminal_id, None, None, None, self.kept)
        held = "".join(step.shown_text for step in self.steps)
        ended = self.status in ("completed", "cancelled", "failed")
        rest = self.text[len(held) :] if ended else ""
        newest = EventId.parse(self.kept) if self.kept else None
        picture = Picture(row, tuple(self.steps), newest, frozenset(self.unfinished), rest)
        if len(self.pictures) < len(self.frames):
            self.pictures.append(picture)
        else:
            self.pictures[-1] = picture

    @property
    def kept(self) -> str | None:
        return self.steps[-1].last_event_id if self.steps else None

    def claim(self) -> None:
        self.attempt, self.n, self.status = self.attempt + 1, 0, "running"
        if self.attempt == 1:
            self.emit("run.started", attempt=1)
        else:
            self.text, self.pending = "".join(step.shown_text for step in self.steps), ""
            self.emit("run.resumed", attempt=self.attempt, keep_through=self.kept)

    def begin(self) -> None:
        self.unfinished.add(str(self._position))
        self.record()
        self.emit("step.started", position=str(self._position))

    def say(self, text: str) -> None:
        self.text += text
        self.pending += text
        self.emit("text.delta", position=str(self._position), text=text)

    def end(self) -> None:
        position = str(self._position)
        event_id = self.emit("step.completed", position=position, output=None)
        self.unfinished.discard(position)
        self.steps.append(
            JournalStep(
                position,
                "model",
                "chat",
                b"",
                "completed",
                1,
                self.attempt,
                None,
                None,
                self.pending,
                event_id,
                NOW,
                NOW,
            )
        )
        self.pending = ""
        self._position += 1
        self.record()

    def die(self) -> None:
        self.status = "queued"
        self.record()

    def finish(self, status: str = "completed") -> None:
        self.status = status
        self.terminal_id = f"{self.attempt}-{self.n + 1}"
        self.emit(f"run.{status}")

    def end_by_other(self) -> None:
        self.status = "cancelled"
        self.attempt, self.n = self.attempt + 1, 0
        self.terminal_id = f"{self.attempt}-1"
        self.text = "".join(step.shown_text for step in self.steps)
        self.emit("run.cancelled", keep_through=self.kept)


async def shown(
    frames: Sequence[bytes], take_picture: Callable[[], Awaitable[Picture]], after: EventId | None = None
) -> tuple[list[bytes], Continuity]:
    """What a viewer is sent of a log of these messages."""
    continuity = Continuity(after, take_picture)
    out: list[bytes] = []
    for seq, payload in enumerate(frames, 1):
        await continuity.take(Batch.of(seq, payload), out)
    return [one for chunk in out for one in split(chunk)], continuity


def folded(frames: Sequence[bytes]) -> Fold:
    """A viewer that has these; nothing of it is a duplicate."""
    fold = Fold()
    for one in frames:
        event = decode(one)
        assert fold.apply(event.id, event.type, event.data), f"{event.id} after {fold.last_id}"
    return fold


async def never() -> Picture:
    raise AssertionError("the record was asked")


def a_history() -> History:
    history = History()
    history.emit("run.queued")
    history.claim()
    for words in (("a", "b"), ("c",)):
        history.begin()
        for word in words:
            history.say(word)
        history.end()
    history.begin()
    history.say("d")
    return history


async def test_an_unbroken_log_is_passed_on_as_it_is_and_the_record_is_not_asked() -> None:
    history = a_history()
    history.end()
    history.finish()
    sent, continuity = await shown(history.frames, never)
    assert sent == history.frames
    assert continuity.ending == "run.completed"
    assert folded(sent).text == "abcd"


async def test_messages_of_many_events_are_passed_on_whole() -> None:
    history = a_history()
    joined = [b"".join(history.frames[:4]), b"".join(history.frames[4:7]), b"".join(history.frames[7:])]
    sent, _ = await shown(joined, never)
    assert sent == history.frames
    again, _ = await shown([*joined, *joined], never)
    assert again == history.frames
    late, _ = await shown(joined, never, after=EventId(1, 5))
    assert late == history.frames[6:]


async def test_lower_attempts_are_dropped() -> None:
    history = a_history()
    zombie = frame(EventId(1, 99), "text.delta", {"position": "2", "text": "!"})
    history.die()
    history.claim()
    sent, _ = await shown([*history.frames, zombie], never)
    assert sent == history.frames


async def test_a_record_that_is_away_loses_nothing() -> None:
    history = a_history()
    away = True

    async def take_picture() -> Picture:
        if away:
            raise StoreUnavailable("away")
        return history.pictures[-1]

    continuity = Continuity(None, take_picture)
    out: list[bytes] = []
    payload = b"".join(history.frames[:3]) + b"".join(history.frames[5:])
    for _ in range(3):
        try:
            await continuity.take(Batch.of(1, payload), out)
        except StoreUnavailable:
            continue
    away = False
    await continuity.take(Batch.of(1, payload), out)
    types = [decode(one).type for chunk in out for one in split(chunk)]
    assert types == ["run.queued", "run.started", "step.started", "snapshot", "step.started", "text.delta"]


async def test_an_interruption_passes_and_the_next_event_takes_its_place_as_the_last() -> None:
    history = a_history()
    interrupted = frame(EventId(2, 1), "run.interrupted", {"reason": "owner_lost", "keep_through": history.kept})
    sent, continuity = await shown([*history.frames, interrupted], never)
    assert continuity.ending == "run.interrupted"
    resumed = frame(EventId(3, 1), "run.resumed", {"keep_through": history.kept})
    sent, continuity = await shown([*history.frames, interrupted, resumed], never)
    assert continuity.ending is None
    assert folded(sent).text == "abc"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A run of one to three attempts, ended by its owner or by somebody else."""
    history = History()
    history.emit("run.queued")
    for attempt in range(draw(st.integers(1, 3))):
        if attempt:
            history.die()
        history.unfinished.clear()
        history.claim()
        for _ in range(draw(st.integers(0, 3))):
            history.begin()
            for _ in range(draw(st.integers(0, 3))):
                history.say(draw(st.sampled_from("abcdef")))
            if not draw(st.booleans()):
                break  # it died, or was ended, in the middle of a step
            history.end()
    if draw(st.booleans()):
        history.finish(draw(st.sampled_from(["completed", "cancelled", "failed"])))
    else:
        history.end_by_other()
    return history


@settings(max_examples=400)
@given(histories(), st.data())
def test_whatever_the_log_lost_the_viewer_ends_with_what_the_record_holds(
    history: History, data: st.DataObject
) -> None:
    lost = data.draw(st.sets(st.integers(0, len(history.frames) - 2)), "lost")
    cut = data.draw(st.integers(0, len(history.frames)), "what the viewer has from before, when the log was whole")
    before = history.frames[:cut]
    earliest = 0

    async def take_picture() -> Picture:
        return history.pictures[
            data.draw(st.integers(earliest, len(history.pictures) - 1), "the record as it was read")
        ]

    async def follow() -> list[bytes]:
        nonlocal earliest
        continuity = Continuity(decode(before[-1]).id if before else None, take_picture)
        out: list[bytes] = []
        for seq, payload in enumerate(history.frames):
            # An event is appended before its step is committed, and a terminal one after the run's end is.
            earliest = seq if seq == len(history.frames) - 1 else max(0, seq - 1)
            if seq not in lost:
                await continuity.take(Batch.of(seq, payload), out)
        return [one for chunk in out for one in split(chunk)]

    fold = folded([*before, *asyncio.run(follow())])
    assert fold.ending is not None
    assert fold.ending.type == f"run.{history.status}"
    assert fold.text == history.text


@given(histories(), st.data())
def test_a_viewer_that_moves_from_a_torn_stream_to_another_ends_with_what_the_record_holds(
    history: History, data: st.DataObject
) -> None:
    """Two connections, both over a log with holes; the second knows only the cursor."""
    lost = data.draw(st.sets(st.integers(0, len(history.frames) - 2)), "lost")
    cut = data.draw(st.integers(0, len(history.frames) - 1), "the first connection's last message")

    async def follow(after: EventId | None, upto: int) -> list[bytes]:
        seq = 0

        async def take_picture() -> Picture:
            return history.pictures[min(max(seq, upto - 1), len(history.pictures) - 1)]

        continuity = Continuity(after, take_picture)
        out: list[bytes] = []
        for at, payload in enumerate(history.frames[:upto]):
            seq = at
            if seq not in lost:
                await continuity.take(Batch.of(seq, payload), out)
        return [one for chunk in out for one in split(chunk)]

    first = asyncio.run(follow(None, cut))
    second = asyncio.run(follow(decode(first[-1]).id if first else None, len(history.frames)))
    assert folded([*first, *second]).text == history.text
