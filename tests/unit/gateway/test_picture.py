"""What the record keeps of a run, put in the order of the transcript."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from holdfast.runs import EventId
from holdfast.store import JournalStep, KeptText, TailRow
from holdfast.wire.events import decode
from holdfast_gateway.picture import Picture, ending_frame, in_order

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def step(position: str, finish_id: str | None, status: str = "completed", **known: Any) -> JournalStep:
    at = (position, "model", "chat", b"", status, 1, 1)
    return JournalStep(*at, None, None, position, finish_id, NOW, NOW, finish_id=finish_id, **known)


def test_the_order_is_that_of_finishing_and_what_is_unfinished_is_left_out() -> None:
    steps = [
        step("0", "1-4"),
        step("1.0", "1-9"),
        step("1.1", "1-7"),
        step("2", None, "started"),
        step("3", "10-2", "retry"),
    ]
    steps += [step("4", "10-2"), step("5", "2-30", "failed")]
    kept = [KeptText(1, "asked", "1-12", "1-12", None), KeptText(9, "again", "9-5", None, None)]
    found = [each.position if isinstance(each, JournalStep) else each.shown_text for each in in_order(steps, kept)]
    assert found == ["0", "1.1", "1.0", "asked", "5", "again", "4"]


def test_what_was_finished_with_the_same_event_stands_by_position_and_what_has_none_last() -> None:
    steps = [step("10", "2-3"), step("9", "2-3"), step("2", None), step("11", None)]
    kept = [KeptText(2, "text", "2-3", "2-3", None)]
    found = [each.position if isinstance(each, JournalStep) else each.shown_text for each in in_order(steps, kept)]
    assert found == ["text", "9", "10", "2", "11"]


def test_a_snapshot_leaves_out_texts_that_are_empty() -> None:
    row = TailRow(UUID(int=1), "running", 3, None, None, None, None, None)
    kept = [KeptText(1, "", "1-2", "1-2", None), KeptText(2, "said", "2-2", "2-2", None)]
    shown = decode(Picture(row, kept, EventId(2, 2), frozenset(), "").frame(EventId(2, 2))).data
    assert [(each["position"], each["kind"], each["text"], each["last_event_id"]) for each in shown["steps"]] == [
        (None, "text", "said", "2-2")
    ]
    assert "waiting" not in shown["run"]


def test_an_interruption_says_what_to_keep_unless_it_is_the_owners_own() -> None:
    other = TailRow(UUID(int=1), "interrupted", 2, "2-1", None, None, None, "1-4")
    own = TailRow(UUID(int=1), "interrupted", 1, "1-7", None, {"code": "diverged", "message": "…"}, None, "1-4")
    waiting = TailRow(UUID(int=1), "waiting", 1, None, None, None, None, "1-4")
    assert decode(ending_frame(other) or b"").data == {
        "reason": "owner_lost",
        "error": None,
        "keep_through": "1-4",
    }
    assert decode(ending_frame(own) or b"").data == {
        "reason": "diverged",
        "error": own.error,
    }
    assert ending_frame(waiting) is None
