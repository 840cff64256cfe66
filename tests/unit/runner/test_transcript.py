"""The text that viewers are shown, as its owner keeps it."""

from __future__ import annotations

from holdfast_runner.transcript import Transcript


def test_a_step_s_text_is_its_own_and_what_was_shown_outside_before_its_end() -> None:
    transcript = Transcript()
    transcript.show(None, "before ")
    transcript.show("0", "within ")
    assert transcript.open_text == "before within "
    assert transcript.finish("0") == "before within "
    transcript.show(None, "after")
    assert (transcript.open_text, transcript.text) == ("after", "before within after")


def test_a_new_try_drops_what_the_one_before_had_shown() -> None:
    transcript = Transcript()
    transcript.show(None, "a ")
    assert not transcript.begin("0")
    transcript.show("0", "first try ")
    assert transcript.begin("0")
    transcript.show("0", "second try")
    assert transcript.text == "a second try"
    assert transcript.chars == len(transcript.text)


def test_what_earlier_attempts_have_finished_is_kept_replayed_or_not() -> None:
    transcript = Transcript(["one ", "two "])
    assert (transcript.text, transcript.open_text) == ("one two ", "")
    transcript.show("2", "three")
    assert transcript.finish("2") == "three"
    assert transcript.text == "one two three"


def test_what_an_agent_gave_up_is_shown_and_belongs_to_no_later_step() -> None:
    transcript = Transcript()
    transcript.show("0", "given up ")
    transcript.show("1", "done ")
    assert transcript.finish("1") == "done "
    assert transcript.text == "given up done "
