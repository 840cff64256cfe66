"""A run and a real child process: a whole turn, permissions, failures, silence, ends. The journal is in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import AgentFailed
from holdfast_agent import Run
from holdfast_agent.acp import acp_agent
from tests.support.wait import wait_until
from tests.unit.agent_acp.journal_double import Backend, Died, Record, attempt
from tests.unit.agent_acp.play import Play

pytestmark = pytest.mark.slow  # two processes for each test

_TO_NEXT: list[dict[str, Any]] = [
    {"say": "Hello. "},
    {"call": {"title": "Write a"}},
    {"call": {"title": "Next", "hold": "go"}},
    {"say": "End."},
]
_NO = {"decision": "deny", "reason": "not on a Friday"}


def _journal(play: Play) -> list[str]:
    return [f"{row.position} {row.kind} {row.name} {row.status}" for row in play.record.steps()]


async def test_a_whole_turn_is_steps_and_events(tmp_path: Path) -> None:
    actions: list[dict[str, Any]] = [
        {"think": "hm"},
        {"say": "Hello. ", "pieces": 3},
        {"plan": ["one"]},
        {"raw": {"sessionUpdate": "from_the_future", "x": 1}},
        {"call": {"title": "Write a"}},
        {"together": [{"title": "Write b"}, {"title": "Write c", "fail": True, "result": "disk full"}]},
        {"say": "Done."},
    ]
    play = Play(tmp_path, actions)
    made = await play.attempt()
    assert made.output["text"] == "Done."
    assert made.output["stop_reason"] == "end_turn"
    assert _journal(play) == [
        "0 session session/new completed",
        "1.0 turn session/prompt completed",
        "1.1 message message completed",
        "1.2 tool Write a completed",
        "1.3 tool Write b completed",
        "1.4 tool Write c failed",
        "1.5 message message completed",
    ]
    session, turn = play.record.rows["0"], play.record.rows["1.0"]
    assert session.output["session_id"] == play.lines("new_sessions")[0]
    assert session.output["capabilities"]["loadSession"] is True
    assert turn.input == {"prompt": "do it"}
    call = play.record.rows["1.2"]
    assert (call.call_id, call.input["raw_input"], call.output["text"]) == ("call-1", {"of": "Write a"}, "did Write a")
    assert play.record.rows["1.4"].error == {"code": "tool_failed", "message": "disk full"}
    assert play.record.text == "Hello. Done."
    shown = [(at, kind, data) for at, kind, data in made.backend.events]
    assert ("1.1", "reasoning.delta", {"text": "hm"}) in shown
    names = {data["name"]: at for at, kind, data in shown if kind == "custom"}
    assert names["acp.plan"] == "1.1"
    assert names["acp.from_the_future"] == "1.0"
    assert not play.alive()


async def test_the_session_is_journalled_before_the_first_prompt(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "hi"}])
    seen: list[tuple[str, int]] = []
    play.record.on_write = lambda what, when: seen.append((f"{when} {what}", len(play.prompts())))
    await play.attempt()
    before_prompt = [what for what, prompts in seen if prompts == 0]
    assert "after finish session session/new" in before_prompt
    assert "after intend turn session/prompt" in before_prompt


# -- permissions -----------------------------------------------------------------------------------------------------


async def test_a_permission_is_an_ask_and_no_child_lives_while_a_person_is_asked(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "May I? "}, {"call": {"title": "Deploy", "permission": True}}, {"say": "Done."}])
    made = await play.attempt()
    assert made.waits
    assert not play.alive()
    assert play.record.open_ask is not None
    _, question, _ = play.record.open_ask
    assert (question["type"], question["tool"], question["arguments"]) == ("approval", "Deploy", {"of": "Deploy"})
    assert [option["kind"] for option in question["options"]] == ["allow_once", "allow_always", "reject_once"]
    play.record.answer({"decision": "approve"})
    assert (await play.attempt()).output["text"] == "Done."
    assert play.lines("effects") == ["Deploy"]
    assert play.lines("answers")[-1] == "Deploy: yes"
    assert len(play.lines("new_sessions")) == 1
    assert "granted" in play.prompts()[1]
    assert play.record.text == "May I? Done."


async def test_a_call_that_is_allowed_is_journalled_before_the_child_is_told(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"call": {"title": "Deploy", "permission": True}}])
    answers: dict[str, int] = {}

    def note(what: str, when: str) -> None:
        answers.setdefault(f"{when} {what}", len(play.lines("answers")))

    play.record.on_write = note
    await play.to_the_end(permissions="allow")
    assert answers["after intend tool Deploy"] == 0
    assert play.lines("answers") == ["Deploy: yes"]
    assert not play.record.asks


async def test_a_denial_with_its_reason_reaches_the_child(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"call": {"title": "Deploy", "permission": True}}, {"say": "Fine."}])
    assert (await play.to_the_end(_NO))["text"] == "Fine."
    assert play.lines("effects") == []
    assert "denied. The reason: not on a Friday" in play.prompts()[1]


async def test_allow_once_is_for_once(tmp_path: Path) -> None:
    twice = {"title": "Pay", "permission": True, "input": {"amount": 5}}
    play = Play(tmp_path, [{"call": twice}, {"call": {**twice, "title": "Pay again", "input": {"amount": 5}}}])
    await play.to_the_end()
    assert len(play.record.asks) == 2
    always = Play(tmp_path / "always", [{"call": twice}, {"call": {**twice, "title": "Pay again"}}])
    await always.to_the_end({"decision": "approve", "option": "always"})
    assert len(always.record.asks) == 1
    assert always.lines("effects") == ["Pay", "Pay again"]


async def test_calls_that_go_on_are_waited_for_before_a_person_is_asked(tmp_path: Path) -> None:
    together: list[dict[str, Any]] = [{"title": "Slow", "hold": "go"}, {"title": "Deploy", "permission": True}]
    play = Play(tmp_path, [{"together": together}, {"say": "Done."}])
    going = asyncio.create_task(play.attempt())
    await wait_until(lambda: play.lines("asked"), description="it has asked")
    await wait_until(
        lambda: "Slow" in [row.name for row in play.record.steps("tool")], description="the other is known"
    )
    assert not going.done()
    play.go("go")
    assert (await going).waits
    assert [(row.name, row.status) for row in play.record.steps("tool")] == [("Slow", "completed")]
    await play.to_the_end({"decision": "approve"})
    assert play.lines("effects") == ["Slow", "Deploy"]


async def test_two_side_by_side_that_ask_are_asked_one_after_the_other(tmp_path: Path) -> None:
    together: list[dict[str, Any]] = [{"title": "Left", "permission": True}, {"title": "Right", "permission": True}]
    play = Play(tmp_path, [{"together": together}, {"say": "Done."}])
    assert (await play.to_the_end())["text"] == "Done."
    assert len(play.record.asks) == 2
    assert sorted(play.lines("effects")) == ["Left", "Right"]


# -- sessions that disagree ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["other_text", "other_call", "stranger"])
async def test_f62_a_session_that_disagrees_with_the_journal_is_diverged_and_nothing_is_done(
    tmp_path: Path, how: str
) -> None:
    play = Play(
        tmp_path, [{"say": "Hello. "}, {"call": {"title": "Write a"}}, {"call": {"title": "Next", "hold": "go"}}]
    )
    writes = len(await _until_next(play))
    play.script["history"] = how
    with pytest.raises(AgentFailed) as failed:
        await play.to_the_end()
    assert failed.value.code == "diverged"
    assert "Journal:" in failed.value.message
    assert "Session:" in failed.value.message
    assert play.lines("effects") == ["Write a"]
    assert len(play.prompts()) == 1
    assert len(play.record.rows) == writes
    assert not play.alive()


async def _until_next(play: Play) -> dict[str, Any]:
    """Run until the call ``Next`` goes on, then kill runner and child."""

    def at_next(what: str, when: str) -> None:
        if when == "after" and what == "intend tool Next":
            play.die(0, "never")
            play.kill_children()
            raise Died(what)

    play.record.on_write = at_next
    await play.attempt()
    return play.record.rows


@pytest.mark.parametrize("how", ["exact", "no_prompts", "without_last"])
async def test_f62_a_replayed_history_is_matched_and_never_shown_again(tmp_path: Path, how: str) -> None:
    play = Play(tmp_path, _TO_NEXT)
    await _until_next(play)
    play.script["history"] = how
    play.go("go")
    made = await play.attempt()
    assert made.error is None, made.error
    shown = "".join(data["text"] for _, kind, data in made.backend.events if kind == "text.delta")
    assert shown == "End."
    assert play.record.text == "Hello. End."
    assert play.lines("effects") == ["Write a", "Next"]
    assert play.lines("loads") == play.lines("new_sessions")


async def test_f62_a_session_that_the_child_has_lost_is_begun_anew_with_what_was_done(tmp_path: Path) -> None:
    play = Play(tmp_path, _TO_NEXT)
    await _until_next(play)
    for file in (play.state / "sessions").iterdir():
        file.unlink()
    play.go("go")
    assert (await play.attempt()).output["text"] == "End."
    assert len(play.lines("new_sessions")) == 2
    told = play.prompts()[-1]
    for part in (
        "do it",
        "you said: Hello.",
        "tool call 'Write a'",
        "completed: did Write a",
        "'Next'",
        "may or may not",
    ):
        assert part in told, part
    assert play.record.text == "Hello. End."


async def test_f62_a_new_session_whose_runner_dies_before_it_is_asked_anything_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    play = Play(tmp_path, _TO_NEXT)
    await _until_next(play)
    for file in (play.state / "sessions").iterdir():
        file.unlink()

    def at_session(what: str, when: str) -> None:
        if (what, when) == ("finish session session/new", "after"):
            play.record.on_write = lambda what, when: None
            play.kill_children()
            raise Died(what)

    play.record.on_write = at_session
    assert isinstance((await play.attempt()).error, Died)
    play.go("go")
    assert (await play.attempt()).output["text"] == "End."
    assert play.lines("loads") == play.lines("new_sessions")[1:]
    assert "you said: Hello." in play.prompts()[-1]
    assert play.lines("effects") == ["Write a", "Next"]
    assert play.record.text == "Hello. End."


async def test_a_child_whose_doings_cannot_be_journalled_is_stopped_and_goes_on_later(tmp_path: Path) -> None:
    held = {"call": {"title": "Next", "hold": "on"}}
    actions: list[dict[str, Any]] = [
        {"say": "Hello. "},
        {"wait": "go"},
        {"call": {"title": "Write a"}},
        held,
        {"say": "End."},
    ]
    play = Play(tmp_path, actions)
    going = asyncio.create_task(play.attempt())
    await wait_until(lambda: play.record.steps("message"), description="it has said something")
    play.record.gate = asyncio.Event()
    play.go("go")
    await wait_until(
        lambda: play.lines("loads"), description="the first is stopped, a second takes over", timeout_s=15.0
    )
    assert len(play.prompts()) == 1, "nothing more is asked until there is a journal"
    play.go("on")
    play.record.gate.set()
    assert (await going).output["text"] == "End."
    assert play.record.text == "Hello. (interrupted)End.", "what it said when it was stopped is in its session"
    assert play.lines("effects") == ["Write a", "Next"]


async def test_a_fork_never_loads_its_originals_session(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "Hello. "}, {"call": {"title": "Write a"}}, {"say": "End."}])
    await play.to_the_end()
    fork = Record()
    fork.rows = {key: row for key, row in play.record.rows.items() if key in ("0", "1.0", "1.1", "1.2")}
    assert fork.rows["1.0"].output["outcome"] == "ended", "though what came last is not in the fork"
    made = await attempt(play.agent(), fork, {"prompt": "do it"})
    assert made.error is None, made.error
    assert play.lines("loads") == []
    assert len(play.lines("new_sessions")) == 2
    assert play.lines("effects") == ["Write a"]
    assert (made.output["text"], fork.text) == ("End.", "Hello. End.")


# -- a call of unknown outcome ---------------------------------------------------------------------------------------


async def _cut_in_call(play: Play, **options: Any) -> None:
    """Killed within the call, of which the session does not say how it ended."""
    going = asyncio.create_task(play.attempt(**options))
    await wait_until(lambda: play.lines("effects"), description="the effect was made")
    await wait_until(lambda: play.record.steps("tool"), description="the call is in the journal")
    play.record.on_write = _refuse
    play.kill_children()
    await going


def _refuse(what: str, when: str) -> None:
    raise Died(what)


_HELD: list[dict[str, Any]] = [{"call": {"title": "Push", "hold_after": "never"}}, {"say": "End."}]


async def test_f51_an_unknown_call_is_told_to_the_child_and_shown(tmp_path: Path) -> None:
    play = Play(tmp_path, _HELD)
    await _cut_in_call(play)
    play.record.on_write = lambda what, when: None
    assert (await play.attempt()).output["text"] == "End."
    error = play.record.steps("tool")[0].error
    assert error is not None
    assert error["code"] == "unknown"
    assert "'Push'" in play.prompts()[1]
    assert "may or may not have been done" in play.prompts()[1]
    assert play.lines("effects") == ["Push"], "it looked first"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"outcome": "done", "result": "pushed as 1234"}, None),
        ({"outcome": "retry"}, "do it again"),
        ({"outcome": "fail"}, None),
    ],
)
async def test_f51_an_unknown_call_is_asked_about_when_the_policy_says_so(
    tmp_path: Path, answer: dict[str, Any], told: str | None
) -> None:
    play = Play(tmp_path, _HELD)
    await _cut_in_call(play, on_unknown="ask")
    play.record.on_write = lambda what, when: None
    made = await play.attempt(on_unknown="ask")
    assert made.waits
    assert not play.alive()
    play.record.answer(answer)
    assert (await play.attempt(on_unknown="ask")).output["text"] == "End."
    if told is not None:
        assert told in play.prompts()[-1]


async def test_f51_an_unknown_call_fails_the_run_when_the_policy_says_so(tmp_path: Path) -> None:
    play = Play(tmp_path, _HELD)
    await _cut_in_call(play, on_unknown="fail")
    play.record.on_write = lambda what, when: None
    made = await play.attempt(on_unknown="fail")
    assert isinstance(made.error, AgentFailed)
    assert made.error.code == "unknown_outcome"


# -- failures --------------------------------------------------------------------------------------------------------


async def _failure(play: Play, **options: Any) -> AgentFailed:
    made = await play.attempt(**options)
    assert isinstance(made.error, AgentFailed), made
    assert not play.alive()
    return made.error


async def test_an_exit_without_a_result_is_a_failed_step_with_code_and_last_words(tmp_path: Path) -> None:
    stderr = "x" * 2_000_000 + "\n" + "\n".join(f"line {n}" for n in range(100)) + "\nout of memory\n"
    play = Play(tmp_path, [{"say": "Hello. "}, {"call": {"title": "Write a"}}, {"exit": 3, "stderr": stderr}])
    failed = await _failure(play)
    assert failed.code == "agent_exited"
    assert "exit code 3" in failed.message
    assert failed.message.endswith("out of memory")
    assert "line 98" in failed.message
    assert len(failed.message) < 12_000
    turn = play.record.steps("turn")[0]
    assert turn.status == "failed"
    assert play.record.text == "Hello. "


async def test_a_child_that_is_killed_is_said_to_be(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "Hello."}, {"hang": True}])
    going = asyncio.create_task(play.attempt())
    await wait_until(lambda: len(play.prompts()) == 1, description="it was asked")
    os.kill(play.pids()[0], signal.SIGKILL)
    made = await going
    assert isinstance(made.error, AgentFailed)
    assert "killed by signal 9" in made.error.message


async def test_silence_fails_the_turn_as_worth_another_try(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "Hello."}, {"hang": True}])
    failed = await _failure(play, silence_timeout_s=0.5)
    assert (failed.code, failed.retryable) == ("silent", True)


@pytest.mark.parametrize(
    ("script", "code"),
    [({"version": 99}, "acp_error"), ({"login": True}, "auth_required")],
)
async def test_what_a_child_cannot_do_is_said_clearly(tmp_path: Path, script: dict[str, Any], code: str) -> None:
    assert (await _failure(Play(tmp_path, [], **script))).code == code


@pytest.mark.parametrize(("reason", "code"), [("refusal", "refusal"), ("cancelled", "agent_cancelled")])
async def test_a_turn_that_ends_badly_fails(tmp_path: Path, reason: str, code: str) -> None:
    assert (await _failure(Play(tmp_path, [{"stop": reason}]))).code == code


async def test_a_turn_that_ends_at_a_limit_says_so(tmp_path: Path) -> None:
    assert (await Play(tmp_path, [{"stop": "max_tokens"}]).to_the_end())["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"command": ["no-such-agent-anywhere"]}, "no such command"),
        ({"command": [sys.executable, "-c", "print('hello, no protocol')"]}, "exit code 0"),
        ({"command": [sys.executable, "-c", "raise SystemExit('no key')"]}, "no key"),
        ({"cwd": "/nowhere/at/all"}, "no folder"),
    ],
)
async def test_a_wrong_command_is_a_clear_error(tmp_path: Path, options: dict[str, Any], word: str) -> None:
    failed = await _failure(Play(tmp_path, []), **options)
    assert word in failed.message


def test_no_command_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no command"):
        acp_agent("coder", command=[])
    with pytest.raises(ValueError, match="permissions"):
        acp_agent("coder", command=["x"], permissions="always")  # type: ignore[arg-type]  # the mistake that is tested


async def test_files_only_inside_the_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret").write_text("secret")
    actions: list[dict[str, Any]] = [
        {"write": str(work / "a.txt"), "text": "inside"},
        {"read": str(work / "a.txt")},
        {"read": str(tmp_path / "secret")},
    ]
    play = Play(tmp_path, actions)
    await play.to_the_end()
    written, read, refused = play.lines("files")
    assert (written, read) == ("written", "inside")
    assert refused.startswith("refused")


async def test_a_child_has_nothing_of_the_runners_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_POSTGRES_URL", "secret")
    code = "import os, sys; sys.exit('HOLDFAST' in str(os.environ) or 'no secrets here')"
    failed = await _failure(Play(tmp_path, []), command=[sys.executable, "-c", code])
    assert "no secrets here" in failed.message


# -- ends ------------------------------------------------------------------------------------------------------------


async def _cancelled(play: Play) -> None:
    run = asyncio.ensure_future(play.agent().function(_run(play)))
    await wait_until(lambda: len(play.prompts()) == 1, description="it was asked")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def _run(play: Play) -> Any:
    return Run(play.record.run_id, "thread", "coder", 1, {"prompt": "do it"}, {}, Backend(play.record, None))


async def test_a_cancel_is_told_to_the_child_first(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"hang": True}])
    await _cancelled(play)
    assert play.lines("prompts")[-1] == "cancelled"
    assert not play.alive()


async def test_a_deaf_child_is_interrupted_then_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"hang": True}], deaf=True, grandchild=True)
    began = asyncio.get_running_loop().time()
    await _cancelled(play)
    assert play.lines("signals") == ["SIGINT"]
    assert len(play.pids()) == 2
    assert not play.alive()
    assert asyncio.get_running_loop().time() - began < 5.0, "a runner waits no longer"


async def test_what_a_child_leaves_behind_is_killed_after_a_good_end_too(tmp_path: Path) -> None:
    play = Play(tmp_path, [{"say": "hi"}], grandchild=True)
    await play.to_the_end()
    assert len(play.pids()) == 2
    assert not play.alive()
