"""A followed run on a terminal, in a pipe, as JSON: what stands where, whatever was dropped on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from holdfast.runs import EventId, Fold
from holdfast.wire.events import Event
from holdfast_local.follow import Follower, Show, open_steps
from tests.unit.runs.scripted_run import ScriptedRun, scripted_runs

REPLACED = "what follows replaces the text above"


class Terminal:
    """What a follower has put where. ``screen`` has the notes in it too, as a terminal shows both."""

    def __init__(self, show: Show, *, from_start: bool = True) -> None:
        self.out = ""
        self.screen = ""
        self.notes: list[str] = []
        self.verdicts: list[str] = []
        self.follower = Follower(show, write=self._write, note=self._note, verdict=self._verdict, from_start=from_start)

    def _write(self, text: str) -> None:
        self.out += text
        self.screen += text

    def _note(self, words: str) -> None:
        assert self.screen == "" or self.screen.endswith("\n"), "a note begins its line"
        self.notes.append(words)
        self.screen += f"— {words} —\n"

    def _verdict(self, words: str) -> None:
        self.verdicts.append(words)

    def take(self, *events: tuple[str, str, dict[str, Any]]) -> Terminal:
        for event_id, event_type, data in events:
            self.follower.take(Event(EventId.parse(event_id), event_type, data))
        return self

    def end(self) -> int:
        outcome = self.follower.outcome
        assert outcome is not None
        return self.follower.end(outcome)


def _text(event_id: str, text: str, position: str = "0") -> tuple[str, str, dict[str, Any]]:
    return event_id, "text.delta", {"position": position, "text": text}


def _started(event_id: str, position: str = "0") -> tuple[str, str, dict[str, Any]]:
    return event_id, "step.started", {"position": position, "kind": "model", "name": "chat"}


def _resumed(event_id: str, keep_through: str | None, reason: str = "owner_lost") -> tuple[str, str, dict[str, Any]]:
    data = {"pod": "runner-2", "from_pod": "runner-1", "reason": reason, "keep_through": keep_through}
    return event_id, "run.resumed", data


LOST = [
    ("0-1", "run.queued", {"run_id": "r", "thread_id": "t", "position": 1}),
    ("1-1", "run.started", {"attempt": 1, "pod": "runner-1"}),
    _started("1-2"),
    _text("1-3", "one "),
    _text("1-4", "two "),
    _resumed("2-1", None),
    _started("2-2"),
    _text("2-3", "one "),
    _text("2-4", "two "),
    _text("2-5", "three"),
    ("2-6", "step.completed", {"position": "0", "output": {}}),
    ("2-7", "run.completed", {"output": {"text": "one two three"}}),
]


def test_a_terminal_shows_the_text_as_it_streams_and_the_whole_answer_below_the_line_that_drops_some() -> None:
    terminal = Terminal(Show.LIVE).take(*LOST)
    assert terminal.end() == 0
    assert terminal.screen == (
        f"one two \n— runner-1 was lost; runner-2 goes on from here; {REPLACED} —\none two three\n"
    )


def test_a_pipe_gets_the_answer_once_when_the_run_has_ended() -> None:
    terminal = Terminal(Show.HELD).take(*LOST)
    assert terminal.out == ""
    assert terminal.notes == ["runner-1 was lost; runner-2 goes on from here"]
    assert terminal.end() == 0
    assert terminal.out == "one two three\n"


def test_json_is_every_event_and_no_text() -> None:
    terminal = Terminal(Show.JSON).take(*LOST)
    assert terminal.end() == 0
    lines = [json.loads(line) for line in terminal.out.splitlines()]
    assert lines == [{"id": at, "type": kind, "data": data} for at, kind, data in LOST]


def test_what_is_kept_is_shown_again_and_nothing_is_said_of_replacing_when_nothing_was_dropped() -> None:
    kept = [_started("1-1"), _text("1-2", "kept\n"), ("1-3", "step.completed", {"position": "0"})]
    dropping = Terminal(Show.LIVE).take(*kept, _started("1-4", "1"), _text("1-5", "lost", "1"), _resumed("2-1", "1-3"))
    assert dropping.screen == f"kept\nlost\n— runner-1 was lost; runner-2 goes on from here; {REPLACED} —\nkept\n"
    keeping = Terminal(Show.LIVE).take(*kept, _resumed("2-1", "1-3", "released"), _text("2-3", "more", "1"))
    assert keeping.screen == "kept\n— runner-1 handed over; runner-2 goes on from here —\nmore"


def test_another_try_of_a_step_replaces_what_the_first_one_showed() -> None:
    failed = {"position": "0", "error": {"code": "model_unavailable", "message": "it broke off"}, "will_retry": True}
    terminal = Terminal(Show.LIVE).take(
        _started("1-1"), _text("1-2", "half"), ("1-3", "step.failed", failed), _started("1-4"), _text("1-5", "whole")
    )
    assert terminal.screen == (f"half\n— model_unavailable: it broke off; trying again —\n— {REPLACED} —\nwhole")


@pytest.mark.parametrize(
    ("event_type", "data", "code", "verdict"),
    [
        ("run.completed", {"output": None}, 0, []),
        ("run.failed", {"error": {"code": "crash_loop", "message": "5\x1b[2J times"}}, 1, ["failed: crash_loop: 5[2J times"]),
        ("run.cancelled", {"keep_through": None}, 3, ["cancelled"]),
        ("run.interrupted", {"reason": "owner_lost"}, 4, ["interrupted: owner_lost"]),
    ],
)  # fmt: skip
def test_the_exit_code_and_the_last_words_say_how_it_ended(
    event_type: str, data: dict[str, Any], code: int, verdict: list[str]
) -> None:
    terminal = Terminal(Show.HELD).take(("1-1", event_type, data))
    assert terminal.end() == code
    assert terminal.verdicts == verdict
    goes_on = ["`holdfast resume RUN` lets it go on from its last finished step"]
    assert terminal.notes == (goes_on if event_type == "run.interrupted" else [])


def _waiting(event_id: str, **data: Any) -> tuple[str, str, dict[str, Any]]:
    return event_id, "run.waiting", {"position": "1", "question_id": "q-1", **data}


def test_a_question_is_shown_with_the_command_that_answers_it_and_following_goes_on() -> None:
    terminal = Terminal(Show.LIVE).take(
        ("0-1", "run.queued", {"run_id": "the-run", "thread_id": "t", "position": 1}),
        _started("1-2"),
        _text("1-3", "let me ask"),
        ("1-4", "step.completed", {"position": "0"}),
        _waiting("1-5", kind="ask", question={"type": "question", "text": "Which\x1b[2J\none?"}, schema={}),
    )
    assert terminal.screen == (
        "let me ask\n— waits for an answer: Which[2J one?; answer with `holdfast answer the-run ANSWER` —\n"
    )
    assert terminal.follower.outcome is None
    terminal.take(_resumed("2-1", "1-4", "answered"), _text("2-2", ", thanks", "2"), ("2-3", "run.completed", {}))
    assert terminal.end() == 0
    assert terminal.screen.endswith("— it was answered; runner-2 goes on from here —\n, thanks\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"kind": "ask", "question": {"type": "approval", "text": "May rm be called?", "tool": "rm", "arguments": {"a": 1}}},
            'waits for an answer: May rm be called? rm {"a": 1}; answer with '
            "`holdfast answer RUN --approve` or `--deny REASON` or `--arguments JSON`",
        ),
        (
            {"kind": "unknown", "question": {"text": "Was mail sent?", "step": {"input": {"to": "a"}}}, "position": "3.1"},
            'waits for an answer: Was mail sent? {"to": "a"}; answer with '
            "`holdfast answer RUN --question q-1 --done JSON` or `--retry` or `--fail MESSAGE`",
        ),
        ({"kind": "ask", "question": {"type": "question", "text": "One?"}, "position": "2.0"},
         "waits for an answer: One?; answer with `holdfast answer RUN --question q-1 ANSWER`"),
        ({"kind": "sleep", "until": "2026-01-01T00:00:00Z"}, "waits for its timer, until 2026-01-01T00:00:00Z"),
        ({"kind": "child", "child_run_id": "c-1"}, "waits for its child run c-1"),
    ],
)  # fmt: skip
def test_what_a_run_waits_for_in_words(data: dict[str, Any], words: str) -> None:
    assert Terminal(Show.HELD).take(_waiting("1-1", **data)).notes == [words]


def test_an_end_that_keeps_nothing_says_so() -> None:
    terminal = Terminal(Show.LIVE).take(
        _started("1-1"), _text("1-2", "half"), ("2-1", "run.cancelled", {"keep_through": None})
    )
    assert terminal.end() == 3
    assert terminal.screen == "half\n— the text above was not kept —\n"
    piped = Terminal(Show.HELD).take(
        _started("1-1"), _text("1-2", "half"), ("2-1", "run.cancelled", {"keep_through": None})
    )
    assert piped.end() == 3
    assert piped.out == ""


@pytest.mark.parametrize(
    ("output", "shown"),
    [("a text", "a text\n"), ({"text": "hi"}, "hi\n"), ({"n": 1}, '{"n":1}\n'), (None, ""), ({"text": ""}, "")],
)
@pytest.mark.parametrize("show", [Show.LIVE, Show.HELD])
def test_an_agent_that_shows_no_text_is_known_by_its_output(show: Show, output: Any, shown: str) -> None:
    terminal = Terminal(show).take(("1-1", "run.completed", {"output": output}))
    terminal.end()
    assert terminal.out == shown


def test_steps_side_by_side_are_shown_when_they_finish_and_not_mixed() -> None:
    terminal = Terminal(Show.LIVE).take(
        _started("1-1", "0"), _text("1-2", "before "), ("1-3", "step.completed", {"position": "0"}),
        _started("1-4", "1.0"), _started("1-5", "1.1"), _text("1-6", "slow ", "1.0"), _text("1-7", "fast ", "1.1"),
    )  # fmt: skip
    assert terminal.screen == "before "
    terminal.take(("1-8", "step.completed", {"position": "1.1"}))
    assert terminal.screen == "before fast slow "  # the one that is left streams on
    terminal.take(_text("1-9", "on", "1.0"), ("1-10", "step.completed", {"position": "1.0"}))
    assert terminal.screen == "before fast slow on"


def test_text_that_another_step_overtakes_is_shown_again_behind_it() -> None:
    terminal = Terminal(Show.LIVE).take(
        _started("1-1", "0.0"), _text("1-2", "slow ", "0.0"), _started("1-3", "0.1"), _text("1-4", "fast ", "0.1"),
        _text("1-5", "on", "0.0"), ("1-6", "step.completed", {"position": "0.1"}),
    )  # fmt: skip
    assert terminal.screen == f"slow \n— {REPLACED} —\nfast slow on"


def test_what_was_held_back_is_shown_when_the_run_ends() -> None:
    terminal = Terminal(Show.LIVE).take(
        _started("1-1", "0.0"), _started("1-2", "0.1"), _text("1-3", "a", "0.0"), _text("1-4", "b", "0.1"),
        ("1-5", "run.failed", {"error": {"code": "c", "message": "m"}}),
    )  # fmt: skip
    assert terminal.end() == 1
    assert terminal.screen == "ab\n"


def test_who_joined_late_is_not_given_the_whole_output_in_place_of_the_rest() -> None:
    terminal = Terminal(Show.HELD, from_start=False).take(("1-9", "run.completed", {"output": {"text": "all"}}))
    terminal.end()
    assert terminal.out == ""


def test_a_model_cannot_move_the_terminals_cursor_and_a_pipe_gets_its_very_text() -> None:
    text = "\x1b]0;title\x07a\tb\r\nc\x9b2J"
    live = Terminal(Show.LIVE).take(_started("1-1"), _text("1-2", text))
    assert live.screen == "]0;titlea\tb\nc2J"
    held = Terminal(Show.HELD).take(_started("1-1"), _text("1-2", text), ("1-3", "run.completed", {"output": None}))
    held.end()
    assert held.out == text + "\n"


def test_a_word_in_between_begins_its_own_line() -> None:
    terminal = Terminal(Show.LIVE).take(_started("1-1"), _text("1-2", "half "))
    terminal.follower.say("the gateway is away")
    terminal.take(_text("1-3", "whole"))
    assert terminal.screen == "half \n— the gateway is away —\nwhole"


def test_a_snapshot_that_shows_the_same_text_is_not_noticed() -> None:
    snapshot = {"run": {}, "steps": [{"position": "0", "last_event_id": "1-3", "text": "kept "}]}
    terminal = Terminal(Show.LIVE).take(
        _started("1-1"),
        _text("1-2", "kept "),
        ("1-3", "step.completed", {"position": "0"}),
        ("1-4", "snapshot", snapshot),
    )
    assert terminal.screen == "kept "


@given(scripted_runs())
def test_whatever_happens_the_answer_stands_once(run: ScriptedRun) -> None:
    live, held, fold, open_now = Terminal(Show.LIVE), Terminal(Show.HELD), Fold(), set[str]()
    for line in run.log:
        for terminal in (live, held):
            terminal.take((str(line.id), line.type, line.data))
        if fold.apply(line.id, line.type, line.data):
            open_now = open_steps(open_now, Event(line.id, line.type, line.data))
        assert held.out == ""
        below = live.screen.rpartition(f"{REPLACED} —\n")[2]
        words = "".join(part for part in below.splitlines(keepends=True) if not part.startswith("— "))
        words = words.replace("\n", "")
        assert words == fold.text if len(open_now) < 2 or fold.ending else fold.text.startswith(words)
    held.end()
    assert held.out.removesuffix("\n") == run.text()
