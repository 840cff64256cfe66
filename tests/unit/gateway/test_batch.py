"""What is known of a message of the log without reading its events."""

from __future__ import annotations

import pytest

from holdfast.runs import EventId
from holdfast.wire.events import frame
from holdfast_gateway.batch import Batch, joined
from holdfast_gateway.following import with_run_ids
from holdfast_gateway.ids import new_id, uuid7


def delta(attempt: int, n: int, text: str = "x") -> bytes:
    return frame(EventId(attempt, n), "text.delta", {"position": "0", "text": text})


def test_plain_messages_are_those_whose_ids_follow_each_other_and_change_nothing() -> None:
    batch = Batch.of(7, delta(2, 3) + delta(2, 4))
    assert (batch.seq, batch.first, batch.last, batch.before) == (7, EventId(2, 3), EventId(2, 4), EventId(2, 2))
    assert batch.plain
    assert Batch.of(1, delta(1, 1)).before == EventId(1, 0)


def test_the_last_event_of_a_message_is_known_by_its_type() -> None:
    assert Batch.of(1, frame(EventId(1, 2), "run.waiting", {})).last_type == "run.waiting"
    assert Batch.of(1, delta(1, 1) + frame(EventId(1, 2), "run.waiting", {})).last_type == "run.waiting"
    assert Batch.of(1, frame(EventId(1, 2), "run.waiting", {}) + delta(1, 3)).last_type == "text.delta"


@pytest.mark.parametrize(
    "payload",
    [
        delta(1, 2) + delta(1, 4),
        delta(1, 2) + delta(2, 3),
        delta(1, 2) + frame(EventId(1, 3), "run.completed", {}),
        frame(EventId(2, 1), "run.resumed", {"keep_through": None}),
        frame(EventId(1, 9), "snapshot", {"steps": []}),
    ],
)
def test_other_messages_are_looked_at(payload: bytes) -> None:
    assert not Batch.of(1, payload).plain


@pytest.mark.parametrize(
    "text", ["\nevent: run.completed\n", "\n\n", "id: 9-9\n\nevent: snapshot\n", "\r\n\r\n", "\u2028"]
)
def test_what_an_agent_says_is_never_taken_for_an_event(text: str) -> None:
    batch = Batch.of(1, delta(1, 1, text) + delta(1, 2, text))
    assert batch.plain
    assert batch.last == EventId(1, 2)


@pytest.mark.parametrize("payload", [b"", b"\n\n", b"x\n\n", delta(1, 1)[:-1], delta(1, 1) + b"id: 1", b"id: 1-0\n\n"])
def test_what_is_not_whole_events_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"event|id"):
        Batch.of(1, payload)


def test_a_threads_events_get_the_runs_id_and_comments_stay() -> None:
    run_id = uuid7(0, 0)
    chunk = delta(1, 1, "id: 1-1") + b": keepalive\n\n" + delta(1, 2)
    made = with_run_ids(chunk, run_id)
    assert made == chunk.replace(b"id: 1-1\ne", f"id: {run_id}:1-1\ne".encode()).replace(
        b"id: 1-2\ne", f"id: {run_id}:1-2\ne".encode()
    )


def test_ids_are_uuids_of_version_7_that_grow_with_time() -> None:
    made = [uuid7(now_ns, (1 << 62) - 1 - now_ns) for now_ns in range(0, 10_000_000, 250)]
    assert made == sorted(made)
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert new_id() != new_id()


def test_what_follows_is_joined_and_nothing_else() -> None:
    started, completed = frame(EventId(1, 1), "run.started", {}), frame(EventId(1, 6), "run.completed", {})
    payloads = [started, delta(1, 2), delta(1, 3) + delta(1, 4), delta(1, 5), completed, delta(2, 2), delta(2, 4)]
    batches = [Batch.of(seq, payload) for seq, payload in enumerate(payloads, start=10)]
    together = list(joined(batches))
    assert [(one.seq, one.first, one.last, one.plain) for one in together] == [
        (10, EventId(1, 1), EventId(1, 1), False),
        (13, EventId(1, 2), EventId(1, 5), True),
        (14, EventId(1, 6), EventId(1, 6), False),
        (15, EventId(2, 2), EventId(2, 2), True),
        (16, EventId(2, 4), EventId(2, 4), True),
    ]
    assert b"".join(one.payload for one in together) == b"".join(payloads)
    assert together[1].before == EventId(1, 1)


def test_large_ones_are_not_copied_together() -> None:
    batches = [Batch.of(n, delta(1, n, "x" * 40_000)) for n in (1, 2, 3)]
    assert list(joined(batches)) == batches
    assert list(joined([])) == []
