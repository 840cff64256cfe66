"""A tail and those who follow it, while events come in parts: each is handed on whole, once, whenever somebody joins (F36)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from holdfast.bus import event_log, names
from holdfast.bus.event_log import End, Reading
from holdfast.bus.parts import Mark, split
from holdfast.runs import EventId
from holdfast.store import TailRow
from holdfast.wire import events
from holdfast_gateway.batch import Batch
from holdfast_gateway.tail import Gathering, Tail
from holdfast_gateway.viewer import Viewer

RUN = UUID(int=1)
PART_BYTES = 64


@dataclass
class Heard:
    """A message of the live subject."""

    headers: dict[str, str]
    data: bytes


@dataclass
class Stream:
    """A run's log in memory, in place of the server's. ``live`` is what it republishes, in order.

    So many ``stale`` reads are answered by a replica that has none of it.
    """

    messages: list[event_log._Message] = field(default_factory=list)
    wholes: list[bytes] = field(default_factory=list)
    live: list[Heard] = field(default_factory=list)
    reads: int = 0
    stale: int = 0
    next_seq: int = 1
    _next: EventId = field(default_factory=lambda: EventId(1, 1))

    def append(self, size: int, *, parts_max: int | None = None) -> int:
        """An event with so much text; after ``parts_max`` parts its writer dies. Returns how many messages there are now."""
        event_id = self._next
        payload = events.frame(event_id, "text.delta", {"position": "0", "text": "x" * size})
        for count, part in enumerate(split(payload, event_id, PART_BYTES), start=1):
            if parts_max is not None and count > parts_max:
                return len(self.messages)
            before = EventId(event_id.attempt, event_id.n - 1) if event_id.n > 1 else None
            self._write(part.payload, part.mark, event_id if part.is_final else before)
        self._next = event_id.next()
        self.wholes.append(payload)
        return len(self.messages)

    def _write(self, payload: bytes, mark: Mark | None, last_id: EventId | None) -> None:
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        headers = mark.headers() if mark is not None else {}
        if last_id is not None:
            headers[names.LAST_HEADER] = str(last_id)
        previous = self.messages[-1].seq if self.messages else 0
        self.messages.append(event_log._Message(seq, headers, payload))
        self.live.append(Heard({**headers, "Nats-Sequence": str(seq), "Nats-Last-Sequence": str(previous)}, payload))

    async def batch(
        self, client: Client, run_id: UUID, after_seq: int, timeout_s: float
    ) -> tuple[list[event_log._Message], bool]:
        """See ``event_log._batch``: two messages at a time."""
        self.reads += 1
        await asyncio.sleep(0)
        behind = [message for message in self.messages if message.seq > after_seq]
        await asyncio.sleep(0)
        if self.stale:
            self.stale -= 1
            return [], False
        return behind[:2], len(behind) > 2

    async def end(self, client: Client, run_id: UUID, *, timeout_s: float = 2.0) -> End:
        """See ``event_log.end``."""
        message = self.messages[-1]
        return End(message.seq, event_log.last_id_of(message.headers), "-", Mark.of(message.headers))

    async def next_of(self, client: Client, run_id: UUID, after_seq: int) -> int | None:
        """See ``event_log.next_seq``."""
        await asyncio.sleep(0)
        return next((message.seq for message in self.messages if message.seq > after_seq), None)


class Follower:
    """As a viewer: it reads by itself, joins, and drops what it has."""

    def __init__(self, tail: Tail) -> None:
        self.seq = 0
        self.got: list[bytes] = []
        self.offered = 0
        self.began_anew = 0
        self._tail = tail
        tail.followers.add(self)

    def offer(self, batch: Batch) -> None:
        """The next message."""
        frames = list(events.split(batch.payload))
        self.offered += len(frames)
        if batch.seq is not None and batch.seq > self.seq:
            self.seq = batch.seq
            self.got.extend(frames)

    def start_over(self) -> None:
        """It is another log."""
        self.began_anew += 1
        self.seq = 0

    def look_at(self, row: TailRow) -> None:
        """Nothing here waits."""

    def lose(self) -> None:
        """Nor is it lost."""

    async def read(self) -> None:
        """The log, to its end."""
        reading = Reading(RUN, self.seq)
        async for entry in reading.to_the_end(cast(Client, None)):
            self.got.append(entry.payload)
        self.seq = max(self.seq, reading.seq)

    async def join(self) -> None:
        """Read until the tail lets this one in."""
        for _ in range(100):
            await self.read()
            if self._tail.admit(self, events.frame_id(self.got[-1]) if self.got else None):
                return
            await asyncio.sleep(0)
        raise AssertionError("never let in")


def make_tail() -> Tail:
    """A tail that has a connection, though nothing uses it."""
    tail = Tail(RUN, Gathering(), idle_reread_s=1.0, idle_reread_max_s=10.0)
    tail._client = cast(Client, object())
    return tail


async def hear(tail: Tail, *heard: Heard) -> None:
    """Messages of the live subject."""
    for each in heard:
        tail._hear(cast(Any, each))
        await settled(tail)


async def settled(tail: Tail) -> None:
    """What was heard is taken and handed on."""
    if tail._taking is not None:
        await asyncio.wait({tail._taking})
        tail._taking.result()
    await asyncio.sleep(0)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """An empty log in place of the server's."""
    made = Stream()
    monkeypatch.setattr(event_log, "_batch", made.batch)
    monkeypatch.setattr(event_log, "end", made.end)
    monkeypatch.setattr(event_log, "next_seq", made.next_of)
    return made


async def test_f36_parts_that_are_heard_are_handed_on_as_one(stream: Stream) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    stream.append(1)
    stream.append(500)
    stream.append(1)
    reads = stream.reads
    await hear(tail, *stream.live)
    assert follower.got == stream.wholes
    assert follower.offered == 3
    assert stream.reads == reads, "nothing was missing"


async def test_f36_who_joins_between_two_parts_is_handed_the_whole(stream: Stream) -> None:
    count = stream.append(500)
    for joins_after in range(count + 1):
        tail = make_tail()
        live, stream.messages = list(stream.live), []
        early, late = Follower(tail), Follower(tail)
        await early.join()
        for number, heard in enumerate(live):
            if number == joins_after:
                await late.join()
            stream.messages.append(event_log._Message(int(heard.headers["Nats-Sequence"]), heard.headers, heard.data))
            await hear(tail, heard)
        if joins_after == count:
            await late.join()
        assert early.got == late.got == stream.wholes


@pytest.mark.parametrize("missed", [0, 1, 3])
async def test_f36_the_first_who_joins_while_parts_come_is_not_kept_waiting(stream: Stream, missed: int) -> None:
    """Nobody had joined yet, so that parts were missed does not show by a sequence."""
    stream.append(500)
    tail = make_tail()
    follower = Follower(tail)
    whole = list(stream.messages)
    for cut in range(len(whole)):
        stream.messages = whole[:cut]
        await hear(tail, *stream.live[max(missed, cut - 1) : cut])
        await follower.read()
        assert follower.seq == 0
    await follower.join()
    stream.messages = whole
    await hear(tail, stream.live[-1])
    assert follower.got == stream.wholes


@pytest.mark.parametrize("lost", range(9))
async def test_f36_a_part_that_was_lost_on_the_way_is_read_from_the_stream(stream: Stream, lost: int) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    count = stream.append(500)
    assert count == 9
    stream.append(1)
    await hear(tail, *(heard for number, heard in enumerate(stream.live) if number != lost))
    assert follower.offered == 2
    assert follower.got == stream.wholes


@pytest.mark.parametrize("stale", [1, 3, 5, 20])
@pytest.mark.parametrize("size", [1, 500])
async def test_f36_what_a_replica_does_not_have_yet_is_no_gap(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, stale: int, size: int
) -> None:
    monkeypatch.setattr("holdfast_gateway.tail._STALE_PAUSES_S", (0.0, 0.0, 0.0, 0.0))
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    stream.append(1)
    stream.append(size)
    stream.append(1)
    stream.stale = stale
    await hear(tail, *stream.live[1:4])  # the first one was lost on the way
    await hear(tail, *stream.live[4:])
    stream.stale = 0
    await tail.reread()
    await settled(tail)
    assert follower.got == stream.wholes


async def test_what_the_leader_does_not_have_either_is_lost_for_good(stream: Stream) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    for _ in range(3):
        stream.append(1)
    del stream.messages[1]
    stream.stale = 20
    await hear(tail, stream.live[0], stream.live[2])
    assert follower.got == [stream.wholes[0], stream.wholes[2]]


async def test_f36_unfinished_parts_are_dropped_when_something_else_follows(stream: Stream) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    stream.append(1)
    stream.append(500, parts_max=3)
    await hear(tail, *stream.live)
    late = Follower(tail)
    await late.join()
    for _ in range(3):
        await tail.reread()
        await settled(tail)
    reads = stream.reads
    await tail.reread()
    await settled(tail)
    assert stream.reads == reads + 1, "parts that nobody completes are not read again and again"
    assert late.got == follower.got == stream.wholes
    heard = len(stream.live)
    stream.append(1)
    await hear(tail, *stream.live[heard:])
    assert late.got == follower.got == stream.wholes


async def test_f36_a_last_part_whose_first_ones_are_gone_holds_nobody_up(stream: Stream) -> None:
    stream.append(1)
    count = stream.append(500)
    del stream.messages[1 : count - 1]
    tail = make_tail()
    await hear(tail, stream.live[-1])
    follower = Follower(tail)
    await asyncio.wait_for(follower.join(), 1.0)
    assert follower.got == stream.wholes[:1]


async def test_f36_a_log_that_is_made_anew_and_begins_with_a_large_event_is_noticed(stream: Stream) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    for _ in range(20):
        stream.append(1)
    await hear(tail, *stream.live)
    stream.messages.clear()
    stream.live.clear()
    stream.wholes.clear()
    stream.next_seq = 1
    stream.append(500)
    await hear(tail, *stream.live[:-1])
    assert follower.began_anew == 0, "nothing is whole yet"
    await hear(tail, stream.live[-1])
    assert follower.began_anew == 1
    follower.got.clear()
    await follower.join()
    assert follower.got == stream.wholes


async def test_f36_parts_that_come_again_when_they_were_read_are_no_log_that_was_made_anew(stream: Stream) -> None:
    stream.append(1)
    stream.append(500, parts_max=3)
    tail = make_tail()
    await hear(tail, stream.live[1])  # nobody has joined yet
    await tail.reread()
    await hear(tail, *stream.live[2:])
    follower = Follower(tail)
    await asyncio.wait_for(follower.join(), 1.0)
    assert follower.got == stream.wholes
    assert follower.began_anew == 0


async def test_f36_what_follows_is_handed_on_while_a_read_of_the_stream_hangs(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = make_tail()
    follower = Follower(tail)
    await follower.join()
    hangs = asyncio.Event()
    patience_s: list[float] = []

    async def batch(client: Client, run_id: UUID, after_seq: int, timeout_s: float) -> Any:
        patience_s.append(timeout_s)
        read = await stream.batch(client, run_id, after_seq, timeout_s)
        await hangs.wait()
        return read

    monkeypatch.setattr(event_log, "_batch", batch)
    stream.append(1)
    stream.append(500)
    reading = asyncio.create_task(tail.reread())
    for _ in range(5):
        await asyncio.sleep(0)
    assert patience_s == [2.0]
    await hear(tail, *stream.live)
    assert follower.got == stream.wholes
    hangs.set()
    stream.append(1)
    await reading
    await hear(tail, stream.live[-1])
    assert follower.got == stream.wholes
    assert follower.offered == 3


async def test_who_has_read_further_than_was_heard_is_handed_nothing_twice(stream: Stream) -> None:
    """Messages that are heard in one go are handed on as one, but not to somebody who stands between them."""
    tail = make_tail()
    early, late = Follower(tail), Follower(tail)
    await early.join()
    for _ in range(2):
        stream.append(1)
    await late.join()
    stream.append(1)
    for heard in stream.live:
        tail._hear(cast(Any, heard))
    await settled(tail)
    assert early.got == late.got == stream.wholes


async def test_a_stream_that_is_behind_what_is_known_is_read(stream: Stream) -> None:
    tail = make_tail()
    await Follower(tail).join()
    assert not tail.lacks(None, behind=0, upto=10)
    assert tail.known_upto == 10
    assert tail.lacks(None, behind=10, upto=9)
    assert tail.known_upto == 10


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "cut", "hear", "hear", "lose", "join", "leave", "reread"]),
        st.integers(0, 300),
        st.integers(0, 4),
    ),
    max_size=40,
)


async def _play(stream: Stream, actions: list[tuple[str, int, int]]) -> list[Follower]:
    tail = make_tail()
    followers = [Follower(tail), Follower(tail)]
    joining: dict[int, asyncio.Task[None]] = {}

    def join(number: int) -> None:
        if (number not in joining or joining[number].done()) and followers[number] not in tail._joined:
            joining[number] = asyncio.create_task(followers[number].join())

    def arrive() -> None:
        if stream.live:
            tail._hear(cast(Any, stream.live.pop(0)))

    rereads: list[asyncio.Task[None]] = []
    acts: dict[str, Callable[[int], Any]] = {
        "append": stream.append,
        "cut": lambda size: stream.append(300, parts_max=size % 6),
        "hear": lambda _: arrive(),
        "lose": lambda _: stream.live[:1] and stream.live.pop(0),
        "join": lambda number: join(number % 2),
        "leave": lambda number: tail.dismiss(followers[number % 2]),
        "reread": lambda _: rereads.append(asyncio.create_task(tail.reread())),
    }
    for act, number, pauses in actions:
        acts[act](number)
        for _ in range(pauses):
            await asyncio.sleep(0)
    while stream.live:
        arrive()
    await settled(tail)
    await asyncio.gather(*joining.values(), *rereads)
    for number in range(2):
        join(number)
    await asyncio.gather(*joining.values())
    await tail.reread()
    await settled(tail)
    return followers


@settings(max_examples=100, deadline=None)
@given(actions=ACTIONS)
def test_f36_whoever_follows_gets_every_whole_event_once_whatever_is_lost_and_cut_off(
    actions: list[tuple[str, int, int]],
) -> None:
    stream = Stream()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "_batch", stream.batch)
        patch.setattr(event_log, "end", stream.end)
        patch.setattr(event_log, "next_seq", stream.next_of)
        for follower in asyncio.run(_play(stream, actions)):
            assert follower.got == stream.wholes


def test_f36_an_event_larger_than_what_may_wait_is_no_reason_to_drop_a_viewer() -> None:
    """Nor is it that a small one follows at once; only what waits beyond it is counted."""

    async def offered(*sizes: int) -> list[int]:
        row = cast(TailRow, SimpleNamespace(id=RUN))
        viewer = Viewer(cast(Any, None), row, None, keepalive_interval_s=10.0, queue_bytes_max=100)
        for n, size in enumerate(sizes, start=1):
            viewer.offer(Batch(n, b"x" * size, EventId(1, n), EventId(1, n), True))
        return [len(batch.payload) for batch in viewer._queue]

    assert asyncio.run(offered(1000, 50, 50)) == [1000, 50, 50]
    assert asyncio.run(offered(1000, 50, 51)) == []
    assert asyncio.run(offered(1, 1000)) == []


async def test_f39_what_waits_for_a_slow_viewer_is_copied_a_chunk_at_a_time() -> None:
    row = cast(TailRow, SimpleNamespace(id=RUN, status="running"))
    viewer = Viewer(cast(Any, None), row, None, keepalive_interval_s=10.0, queue_bytes_max=10_000_000)
    viewer._joined = True
    sizes = [10_000] * 20 + [200_000, 1, 1, 64 * 1024, 1]
    wholes = [
        events.frame(EventId(1, n), "text.delta", {"position": "0", "text": "x" * size})
        for n, size in enumerate(sizes, start=1)
    ]
    for n, whole in enumerate(wholes, start=1):
        viewer.offer(Batch.of(n, whole))
    async with contextlib.aclosing(viewer._live()) as live:
        chunks = [await anext(live) for _ in range(8)]
    assert b"".join(chunks) == b"".join(wholes)
    assert all(len(chunk) <= 64 * 1024 or chunk in wholes for chunk in chunks)
