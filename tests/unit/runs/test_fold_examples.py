"""The folding rule of a stream, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.runs import EventId, Fold

Line = tuple[str, str, dict[str, Any]]


def fold(*lines: Line) -> Fold:
    """A viewer that has read these lines."""
    viewer = Fold()
    for event_id, event_type, data in lines:
        viewer.apply(EventId.parse(event_id), event_type, data)
    return viewer


def started(event_id: str, position: str) -> Line:
    return event_id, "step.started", {"position": position, "kind": "model", "name": "chat"}


def text(event_id: str, said: str, position: str | None = "0") -> Line:
    return event_id, "text.delta", {"position": position, "text": said}


def completed(event_id: str, position: str) -> Line:
    return event_id, "step.completed", {"position": position, "output": None}


def failed(event_id: str, position: str, *, will_retry: bool) -> Line:
    return event_id, "step.failed", {"position": position, "error": {}, "will_retry": will_retry}


def resumed(event_id: str, keep_through: str | None) -> Line:
    return event_id, "run.resumed", {"reason": "owner_lost", "keep_through": keep_through}


QUEUED: Line = ("0-1", "run.queued", {"run_id": "r", "thread_id": "t", "position": 1})
STARTED: Line = ("1-1", "run.started", {"run_id": "r", "attempt": 1, "pod": "a"})
FINISHED_STEP = (QUEUED, STARTED, started("1-2", "0"), text("1-3", "one "), completed("1-4", "0"))


def test_text_is_what_the_deltas_say_in_order() -> None:
    viewer = fold(*FINISHED_STEP, started("1-5", "1"), text("1-6", "two", "1"))
    assert viewer.text == "one two"
    assert viewer.last_id == EventId(1, 6)


def test_an_id_not_above_the_last_one_is_a_duplicate() -> None:
    viewer = fold(*FINISHED_STEP)
    assert not viewer.apply(EventId(1, 3), "text.delta", {"position": "0", "text": "again"})
    assert not viewer.apply(EventId(1, 4), "text.delta", {"position": "0", "text": "another's"})
    assert viewer.text == "one "


def test_what_a_zombie_writes_after_the_takeover_is_not_shown() -> None:
    viewer = fold(*FINISHED_STEP, resumed("2-1", "1-4"), text("1-5", "zombie"))
    assert viewer.text == "one "


def test_resumed_drops_what_came_after_keep_through() -> None:
    viewer = fold(*FINISHED_STEP, started("1-5", "1"), text("1-6", "lost", "1"), resumed("2-1", "1-4"))
    assert viewer.text == "one "
    assert [item.type for item in viewer.items] == ["step.started", "text.delta", "step.completed"]


def test_resumed_drops_everything_when_nothing_is_kept() -> None:
    assert fold(*FINISHED_STEP, resumed("2-1", None)).items == []


def test_resumed_drops_a_parallel_step_that_was_not_completed() -> None:
    viewer = fold(
        STARTED,
        started("1-2", "0.0"), text("1-3", "half ", "0.0"), started("1-4", "0.1"), text("1-5", "whole", "0.1"),
        completed("1-6", "0.1"),
        resumed("2-1", "1-6"),
    )  # fmt: skip
    assert viewer.text == "whole"


def test_a_parallel_step_completed_after_keep_through_is_dropped_whole() -> None:
    viewer = fold(
        STARTED,
        started("1-2", "0.0"), text("1-3", "late ", "0.0"), started("1-4", "0.1"), text("1-5", "whole", "0.1"),
        completed("1-6", "0.1"), completed("1-7", "0.0"),
        resumed("2-1", "1-6"),
    )  # fmt: skip
    assert viewer.text == "whole"


def test_resumed_keeps_what_was_said_outside_any_step() -> None:
    viewer = fold(
        STARTED, text("1-2", "hello ", None), started("1-3", "0"), completed("1-4", "0"), text("1-5", "x", None),
        resumed("2-1", "1-4"),
    )  # fmt: skip
    assert viewer.text == "hello "


def test_a_step_that_failed_for_good_is_finished_and_one_that_will_be_tried_again_is_not() -> None:
    begun = (STARTED, started("1-2", "0"), text("1-3", "oops"))
    assert fold(*begun, failed("1-4", "0", will_retry=False), resumed("2-1", "1-4")).text == "oops"
    assert fold(*begun, failed("1-4", "0", will_retry=True), resumed("2-1", "1-4")).text == ""


def test_step_started_begins_a_known_position_anew() -> None:
    viewer = fold(
        STARTED, started("1-2", "0"), text("1-3", "first try"), failed("1-4", "0", will_retry=True),
        started("1-5", "0"), text("1-6", "second try"),
    )  # fmt: skip
    assert viewer.text == "second try"


def test_step_started_begins_anew_even_what_the_log_shows_as_completed() -> None:
    """Its checkpoint had not landed when its parallel sister's had, so the new owner does it again."""
    viewer = fold(
        STARTED, started("1-2", "0.0"), text("1-3", "unrecorded ", "0.0"), started("1-4", "0.1"), text("1-5", "kept ", "0.1"),
        completed("1-6", "0.0"), completed("1-7", "0.1"),
        resumed("2-1", "1-7"), started("2-2", "0.0"), text("2-3", "anew", "0.0"),
    )  # fmt: skip
    assert viewer.text == "kept anew"


def test_a_step_begun_anew_is_unfinished_until_it_completes_again() -> None:
    """Like the one before, and then the second owner dies too, after another sister was finished."""
    viewer = fold(
        STARTED, started("1-2", "0.0"), completed("1-3", "0.0"), started("1-4", "0.1"), completed("1-5", "0.1"),
        resumed("2-1", "1-5"), started("2-2", "0.0"), text("2-3", "half", "0.0"), started("2-4", "0.2"), completed("2-5", "0.2"),
        resumed("3-1", "2-5"),
    )  # fmt: skip
    assert viewer.text == ""


def test_step_started_leaves_other_positions_alone() -> None:
    viewer = fold(*FINISHED_STEP, started("1-5", "00"), started("1-6", "0.0"), started("1-7", "1"))
    assert viewer.text == "one "


def test_a_snapshot_replaces_everything() -> None:
    steps = [
        {"position": "0", "last_event_id": "1-4", "text": "one "},
        {"position": "1", "last_event_id": None, "text": "two "},
    ]
    snapshot: Line = ("2-1", "snapshot", {"run": {}, "steps": steps, "partial_text": "thr"})
    viewer = fold(*FINISHED_STEP, text("1-5", "gone", None), snapshot)
    assert viewer.text == "one two thr"
    assert viewer.apply(EventId(2, 2), "text.delta", {"position": "2", "text": "ee"})
    assert viewer.text == "one two three"


def test_a_snapshot_can_be_truncated_like_what_it_stands_for() -> None:
    steps = [{"position": "0", "last_event_id": "1-4", "text": "one "}]
    viewer = fold(("1-9", "snapshot", {"run": {}, "steps": steps, "partial_text": "half"}), resumed("2-1", "1-4"))
    assert viewer.text == "one "


@pytest.mark.parametrize("ending", ["run.completed", "run.failed", "run.cancelled", "run.interrupted"])
def test_an_ending_of_the_owner_drops_nothing_and_a_strangers_what_was_not_kept(ending: str) -> None:
    begun = (*FINISHED_STEP, started("1-5", "1"), text("1-6", "two", "1"))
    assert fold(*begun, ("1-7", ending, {})).text == "one two"
    assert fold(*begun, ("2-1", ending, {"keep_through": "1-4"})).text == "one "
    assert fold(*begun, ("2-1", ending, {"keep_through": None})).text == ""


def test_an_interruption_ends_only_while_it_is_the_last_event() -> None:
    viewer = fold(*FINISHED_STEP, ("2-1", "run.interrupted", {"reason": "owner_lost", "keep_through": "1-4"}))
    assert viewer.ending is not None
    assert viewer.ending.type == "run.interrupted"
    viewer.apply(EventId(3, 1), "run.resumed", {"keep_through": "1-4"})
    assert viewer.ending is None


def test_a_duplicate_does_not_take_the_ending_back() -> None:
    viewer = fold(*FINISHED_STEP, ("1-5", "run.completed", {"output": None}))
    viewer.apply(EventId(1, 3), "text.delta", {"position": "0", "text": "again"})
    assert viewer.ending is not None


def test_text_of_steps_side_by_side_counts_where_each_was_finished() -> None:
    viewer = fold(
        STARTED,
        started("1-2", "0.0"), started("1-3", "0.1"),
        text("1-4", "a1 ", "0.0"), text("1-5", "b1 ", "0.1"), text("1-6", "a2 ", "0.0"), text("1-7", "b2 ", "0.1"),
        completed("1-8", "0.1"),
    )  # fmt: skip
    assert viewer.text == "b1 b2 a1 a2 "
    viewer.apply(EventId(1, 9), "step.failed", {"position": "0.0", "error": {}, "will_retry": True})
    assert viewer.text == "b1 b2 a1 a2 "
    viewer.apply(EventId(1, 10), "text.delta", {"position": None, "text": "outside "})
    viewer.apply(EventId(1, 11), "step.failed", {"position": "0.0", "error": {}, "will_retry": False})
    assert viewer.text == "b1 b2 a1 a2 outside "


def test_text_outside_any_step_goes_with_the_one_that_finishes_next() -> None:
    viewer = fold(
        STARTED,
        started("1-2", "0.0"), started("1-3", "0.1"),
        text("1-4", "slow ", "0.0"), text("1-5", "outside ", None), text("1-6", "fast ", "0.1"),
        completed("1-7", "0.1"),
    )  # fmt: skip
    assert viewer.text == "outside fast slow "


def test_a_takeover_keeps_what_a_suspended_attempt_had_shown_outside() -> None:
    viewer = fold(
        *FINISHED_STEP,
        text("1-5", "outside ", None),
        ("1-6", "run.waiting", {"position": "1", "kind": "ask"}),
        resumed("2-1", "1-6"),
        started("2-2", "1"), completed("2-3", "1"),
        text("2-4", "after", None),
    )  # fmt: skip
    assert viewer.text == "one outside after"


def test_a_snapshots_entry_without_a_position_holds_only_text() -> None:
    steps = [
        {"position": "0.1", "last_event_id": "1-4", "text": "second "},
        {"position": None, "last_event_id": "1-6", "text": "outside "},
        {"position": "0.0", "last_event_id": "1-8", "text": "first "},
    ]
    viewer = fold(("1-8", "snapshot", {"run": {}, "steps": steps, "partial_text": "open "}))
    assert viewer.text == "second outside first open "
    viewer.apply(EventId(1, 9), "step.completed", {"position": "1", "output": None})
    assert viewer.text == "second outside first open "
    viewer.apply(EventId(2, 1), "run.resumed", {"keep_through": "1-6"})
    assert viewer.text == "second outside "
