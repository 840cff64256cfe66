"""Values that are made once: which of them a write carries, and what a replay gives back."""

from __future__ import annotations

from holdfast_runner.recorded_values import RecordedValues


def test_a_replay_gives_back_what_was_written_in_each_scope_s_order() -> None:
    first = RecordedValues([])
    assert [first.take("", lambda: "a"), first.take("3.0", lambda: "b"), first.take("", lambda: "c")] == ["a", "b", "c"]
    again = RecordedValues(first.unwritten())
    assert [again.take("3.0", lambda: "x"), again.take("", lambda: "x"), again.take("", lambda: "x")] == ["b", "a", "c"]
    assert again.unwritten() == []


def test_what_no_write_carried_is_made_anew() -> None:
    first = RecordedValues([])
    first.take("", lambda: "a")
    written = first.unwritten()
    first.take("", lambda: "lost")
    first.wrote(written)
    assert first.unwritten() == [["", 1, "lost"]]
    again = RecordedValues(written)
    assert [again.take("", lambda: "x"), again.take("", lambda: "new")] == ["a", "new"]


def test_a_value_that_two_writes_carried_counts_once() -> None:
    values = RecordedValues([["", 0, "first"], ["", 0, "first"], ["", 1, "second"]])
    assert [values.take("", lambda: "x") for _ in range(3)] == ["first", "second", "x"]
