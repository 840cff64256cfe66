"""What a viewer is sent, whatever the log lost: held against a record by the one folding rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import StoreUnavailable
from holdfast.runs import EventId, Fold
from holdfast.store import JournalStep, KeptText, TailRow, WaitRow
from holdfast.wire.events import decode, frame, split
from holdfast_gateway.batch import Batch
from holdfast_gateway.continuity import Continuity
from holdfast_gateway.picture import Picture, RunGone
from tests.support.samples import examples

RUN = UUID(int=1)
SIDE_BY_SIDE_MAX = 3
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class History:
    """A run that was: its log, and what the record held when each event had been appended.

    Steps may run side by side. A text outside of steps goes with the step that finishes next, or with the suspend.
    """

    frames: list[bytes] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    kept: list[JournalStep | KeptText] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    pending: list[tuple[str | None, str]] = field(
        default_factory=list
    )  # what was shown and is not kept yet: (position, text)
    rest: str = ""
    attempt: int = 0
    n: int = 0
    status: str = "queued"
    terminal_id: str | None = None
    _position: int = 0

    @property
    def text(self) -> str:
        """What a viewer is to hold at the end."""
        return "".join(each.shown_text for each in self.kept) + self.rest

    def emit(self, event_type: str, **data: Any) -> str:
        self.n += 1
        event_id = EventId(self.attempt, self.n)
        self.frames.append(frame(event_id, event_type, data))
        self.record()
        return str(event_id)

    def record(self) -> None:
        row = TailRow(RUN, self.status, self.attempt, self.terminal_id, None, None, None, self.keep_through)
        newest = EventId.parse(self.keep_through) if self.keep_through else None
        picture = Picture(row, tuple(self.kept), newest, frozenset(self.unfinished), self.rest)
        if len(self.pictures) < len(self.frames):
            self.pictures.append(picture)
        else:
            self.pictures[-1] = picture

    @property
    def keep_through(self) -> str | None:
        return self.kept[-1].last_event_id if self.kept else None

    def claim(self) -> None:
        self.attempt, self.n, self.status = self.attempt + 1, 0, "running"
        self.unfinished, self.pending = [], []
        if self.attempt == 1:
            self.emit("run.started", attempt=1)
        else:
            self.emit("run.resumed", attempt=self.attempt, keep_through=self.keep_through)

    def begin(self) -> str:
        position = str(self._position)
        self._position += 1
        self.unfinished.append(position)
        self.record()
        self.emit("step.started", position=position)
        return position

    def say(self, text: str, position: str | None) -> None:
        self.pending.append((position, text))
        self.emit("text.delta", position=position, text=text)

    def _take(self, *positions: str | None) -> str:
        taken = "".join(text for position, text in self.pending if position in positions)
        self.pending = [each for each in self.pending if each[0] not in positions]
        return taken

    def end(self, position: str) -> None:
        event_id = self.emit("step.completed", position=position, output=None)
        self.unfinished.remove(position)
        text = self._take(position, None)
        status, where = "completed", (position, "model", "chat", b"")
        step = JournalStep(*where, status, 1, self.attempt, None, None, text, event_id, NOW, NOW, finish_id=event_id)
        self.kept.append(step)
        self.record()

    def suspend(self, questions: int) -> None:
        for n in range(questions):
            event_id = self.emit("run.waiting", kind="ask", question_id=str(n))
        self.status = "waiting"
        self.kept.append(KeptText(self.attempt, self._take(None), event_id, event_id, None))
        self.record()

    def die(self) -> None:
        self.status = "queued"
        self.record()

    def interrupt(self) -> None:
        self.status = "interrupted"
        self.attempt, self.n = self.attempt + 1, 0
        self.terminal_id = f"{self.attempt}-1"
        self.emit("run.interrupted", reason="owner_lost", keep_through=self.keep_through)
        self.status, self.terminal_id = "queued", None

    def finish(self, status: str = "completed") -> None:
        self.status = status
        self.rest = "".join(text for _, text in self.pending)
        self.terminal_id = f"{self.attempt}-{self.n + 1}"
        self.emit(f"run.{status}")

    def end_by_other(self) -> None:
        self.status = "cancelled"
        self.attempt, self.n = self.attempt + 1, 0
        self.terminal_id = f"{self.attempt}-1"
        self.emit("run.cancelled", keep_through=self.keep_through)


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
        position = history.begin()
        for word in words:
            history.say(word, position)
        history.end(position)
    history.say("d", history.begin())
    return history


async def test_an_unbroken_log_is_passed_on_as_it_is_and_the_record_is_not_asked() -> None:
    history = a_history()
    history.end("2")
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
    sent = [decode(one) for chunk in out for one in split(chunk)]
    types = [event.type for event in sent]
    assert types == [
        *("run.queued", "run.started", "step.started", "snapshot"),
        "step.completed",
        "step.started",
        "text.delta",
    ]
    assert sent[3].id == EventId(1, 7)  # one before the newest finished step's last, so that one can be held back


async def test_an_interruption_passes_and_the_next_event_takes_its_place_as_the_last() -> None:
    history = a_history()
    interrupted = frame(
        EventId(2, 1), "run.interrupted", {"reason": "owner_lost", "keep_through": history.keep_through}
    )

    async def take_picture() -> Picture:
        return history.pictures[-1]

    sent, continuity = await shown([*history.frames, interrupted], take_picture)
    assert continuity.ending == "run.interrupted"
    assert sent == [*history.frames, interrupted]
    resumed = frame(EventId(3, 1), "run.resumed", {"keep_through": history.keep_through})
    sent, continuity = await shown([*history.frames, interrupted, resumed], take_picture)
    assert continuity.ending is None
    assert folded(sent).text == "abc"


@pytest.mark.parametrize("gone", [False, True])
async def test_an_end_by_a_stranger_keeps_what_finished_while_the_log_was_away(gone: bool) -> None:
    history = a_history()
    history.end("2")
    history.kept[-1] = replace(history.kept[-1], last_event_id=None)
    told = len(history.frames) - 1  # its step.completed was lost, and so has no id
    history.end_by_other()

    async def take_picture() -> Picture:
        if gone:
            raise RunGone("deleted")
        return history.pictures[-1]

    assert decode(history.frames[-1]).data == {"keep_through": None}
    sent, continuity = await shown([*history.frames[:told], history.frames[-1]], take_picture)
    assert continuity.ending == "run.cancelled"
    if gone:
        assert sent[-1] == history.frames[-1]
    else:
        assert [decode(one).type for one in sent[-2:]] == ["snapshot", "run.cancelled"]
        assert folded(sent).text == history.text == "abcd"


@pytest.mark.parametrize("came_back", [False, True])
async def test_a_snapshot_that_was_to_follow_a_takeover_and_was_lost_is_made_from_the_record(came_back: bool) -> None:
    """``run.resumed`` with ``log_lost`` drops all, since its owner replaces all; and then that is lost too."""
    history = a_history()
    history.end("2")
    history.die()
    history.attempt, history.n, history.status = 2, 0, "running"
    history.emit("run.resumed", attempt=2, reason="log_lost", keep_through=None)
    seen = list(history.frames)
    history.end_by_other()

    async def take_picture() -> Picture:
        return history.pictures[-1]

    if came_back:
        sent, _ = await shown(history.frames, take_picture, after=EventId(2, 1))
        sent = [*seen, *sent]
    else:
        sent, _ = await shown(history.frames, take_picture)
    assert [decode(one).type for one in sent[-3:]] == ["run.resumed", "snapshot", "run.cancelled"]
    assert folded(sent).text == history.text == "abcd"


def a_torn_wait() -> History:
    """Text outside of steps was shown, some of it is lost, and then the run came to wait."""
    history = History()
    history.emit("run.queued")
    history.claim()
    for word in ("a", "b", "c"):
        history.say(word, None)
    return history


async def test_a_question_is_held_back_from_a_torn_viewer_only_until_the_record_has_it() -> None:
    history = a_torn_wait()
    before_the_suspend = history.pictures[-1]
    history.suspend(2)
    waiting = history.frames[-2:]
    held = [before_the_suspend, before_the_suspend, history.pictures[-1]]

    async def take_picture() -> Picture:
        return held.pop(0)

    sent, continuity = await shown([*history.frames[:3], *history.frames[4:]], take_picture)  # "b" is lost
    assert sent[-1] == waiting[0]
    out: list[bytes] = []
    await continuity.settle(out)
    assert out[0] == waiting[1]
    assert decode(out[1]).type == "snapshot"
    assert folded([*sent, *out]).text == "abc"
    await continuity.settle(out)
    assert len(out) == 2
    assert not held
    history.claim()
    history.finish()
    await continuity.take(Batch.of(9, history.frames[-2]), out)
    await continuity.take(Batch.of(10, history.frames[-1]), out)
    assert folded([*sent, *out]).text == "abc"


async def test_who_comes_late_to_a_torn_wait_is_sent_a_snapshot_that_says_what_is_asked() -> None:
    history = a_torn_wait()
    history.suspend(1)
    wait = WaitRow(UUID(int=7), RUN, "0", "ask", {"text": "?"}, None, None, None, NOW, True, None, None)
    picture = replace(history.pictures[-1], waits=[wait])

    async def take_picture() -> Picture:
        return picture

    sent, _ = await shown([*history.frames[:3], *history.frames[4:]], take_picture)
    snapshot = decode(sent[-1])
    assert (snapshot.type, snapshot.id) == ("snapshot", EventId(1, 5))
    assert snapshot.data["run"]["waiting"] == [
        {"position": "0", "kind": "ask", "question_id": str(UUID(int=7)), "question": {"text": "?"}, "schema": None}
    ]
    assert folded(sent).text == "abc"


async def test_what_was_kept_while_its_log_was_torn_is_shown_before_a_takeover_drops_the_rest() -> None:
    history = History()
    history.emit("run.queued")
    history.claim()
    first, second = history.begin(), history.begin()
    history.say("a", first)
    history.say("b", second)
    history.end(second)
    beside = history.pictures[-1]
    history.end(first)
    history.die()
    history.claim()
    pictures = [beside, history.pictures[-1]]  # the first step's checkpoint came after the second's

    async def take_picture() -> Picture:
        return pictures.pop(0)

    sent, _ = await shown([*history.frames[:4], *history.frames[7:]], take_picture)
    assert sent[-1] == history.frames[-1]
    assert not pictures
    assert sorted(folded(sent).text) == ["a", "b"]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A run of one to three attempts, ended by its owner or by somebody else."""
    history = History()
    history.emit("run.queued")
    for attempt in range(draw(st.integers(1, 3))):
        if attempt:
            match draw(st.sampled_from(["die", "interrupt", "suspend"])):
                case "die":
                    history.die()
                case "interrupt":
                    history.interrupt()
                case _:
                    history.suspend(draw(st.integers(1, 2)))
        history.claim()
        for act in draw(st.lists(st.sampled_from(["begin", "say", "say", "say", "end"]), min_size=2, max_size=14)):
            if act == "begin" and len(history.unfinished) < SIDE_BY_SIDE_MAX:
                history.begin()
            elif act == "say":
                history.say(draw(st.sampled_from("abcdef")), draw(st.sampled_from([*history.unfinished, None])))
            elif act == "end" and history.unfinished:
                history.end(draw(st.sampled_from(history.unfinished)))
    if draw(st.booleans()):
        history.finish(draw(st.sampled_from(["completed", "cancelled", "failed"])))
    else:
        history.end_by_other()
    return history


@settings(max_examples=examples(400))
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
