"""The text that viewers are shown, as its owner keeps it, and what a replay must not show again."""

from __future__ import annotations

from holdfast_runner.transcript import Outside, Transcript


def test_a_step_s_text_is_its_own_and_what_was_shown_outside_before_its_end() -> None:
    transcript = Transcript()
    transcript.show(None, "before ")
    transcript.show("0", "within ")
    assert transcript.open_text == "before within "
    assert transcript.finish("0") == "before within "
    transcript.show(None, "after")
    assert transcript.open_text == "after"


def test_a_new_try_drops_what_the_one_before_had_shown() -> None:
    transcript = Transcript()
    transcript.show(None, "a ")
    transcript.begin("0")
    transcript.show("0", "first try ")
    transcript.begin("0")
    transcript.show("0", "second try")
    assert transcript.open_text == "a second try"
    assert transcript.chars == len(transcript.open_text)


def test_what_earlier_attempts_have_shown_counts_and_is_not_open() -> None:
    transcript = Transcript(["one ", "two "])
    assert (transcript.chars, transcript.open_text) == (8, "")


def test_steps_side_by_side_keep_their_texts_apart() -> None:
    transcript = Transcript()
    for position, text in [("0.0", "a"), ("0.1", "x"), (None, "-"), ("0.0", "b"), ("0.1", "y")]:
        transcript.show(position, text)
    assert transcript.finish("0.1") == "x-y"
    assert transcript.finish("0.0") == "ab"


def test_a_suspension_takes_what_was_shown_outside() -> None:
    transcript = Transcript()
    transcript.show(None, "before the question")
    transcript.show("0", "given up")
    assert transcript.finish(None) == "before the question"
    assert transcript.open_text == "given up"


def test_what_an_agent_gave_up_is_shown_and_belongs_to_no_later_step() -> None:
    transcript = Transcript()
    transcript.show("0", "given up ")
    transcript.show("1", "done ")
    assert transcript.finish("1") == "done "
    assert transcript.open_text == "given up "


def test_a_replay_is_silent_for_just_what_was_committed_in_each_scope() -> None:
    def shown(outside: Outside, scope: str) -> bool:
        new = outside.is_new(scope)
        outside.count(scope)
        return new

    first = Outside([])
    assert [shown(first, scope) for scope in ("", "3.0", "3.0")] == [True, True, True]
    committed = first.take()
    assert shown(first, "3.1"), "shown, and never committed to"
    again = Outside([committed, None])
    assert [shown(again, scope) for scope in ("", "3.0", "3.1", "3.0", "3.0", "")] == [
        False, False, True, False, True, True,
    ]  # fmt: skip
    assert again.take() == {"3.1": 1, "3.0": 1, "": 1}
    assert again.take() is None
