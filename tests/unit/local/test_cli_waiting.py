"""The commands for runs that wait, stopped or queue, and how others show such runs. The gateway is scripted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast_local.questions import value_of
from tests.unit.local.stub_gateway import RUN_ID, Connection, Shell, StubGateway, listening, problem, run_shown

ASK_ID, APPROVAL_ID, UNKNOWN_ID = (f"00000000-0000-5000-8000-00000000000{n}" for n in range(3))
FORK_ID = "0198c0de-0000-7000-8000-000000000009"
RUN, ANSWER = f"GET /v1/runs/{RUN_ID}", f"POST /v1/runs/{RUN_ID}/answer"
QUEUE = "/v1/threads/chat/queue"
SINCE = "2026-01-01T00:00:02Z"

ASK = {
    "kind": "ask", "position": "4", "question_id": ASK_ID, "question": {"type": "question", "text": "Which colour?"},
    "schema": {"type": "string", "enum": ["red", "5"]}, "until": None, "child_run_id": None, "since": SINCE,
}  # fmt: skip
APPROVAL = {
    "kind": "ask", "position": "5.0", "question_id": APPROVAL_ID, "schema": {"type": "object"}, "since": SINCE,
    "question": {"type": "approval", "text": "May rm be called?", "tool": "rm", "arguments": {"path": "x"}},
}  # fmt: skip
UNKNOWN = {
    "kind": "unknown", "position": "5.1", "question_id": UNKNOWN_ID, "schema": {"type": "object"}, "since": SINCE,
    "question": {"type": "unknown", "text": "Was the mail sent?"},
}  # fmt: skip
SLEEP = {"kind": "sleep", "position": "6", "question_id": ASK_ID, "until": "2026-02-01T00:00:00Z", "since": SINCE}


@pytest.fixture
async def holdfast() -> AsyncIterator[Shell]:
    stub = StubGateway()
    async with listening(stub) as url:
        yield Shell(stub, url)


def _waits_for(shell: Shell, *waits: dict[str, Any], status: str = "waiting") -> None:
    shell.stub.answers[RUN] = run_shown(status=status, waiting=list(waits))
    shell.stub.answers[ANSWER] = run_shown(status="queued", waiting=[])


def _sent(shell: Shell) -> Any:
    """The body of the only answer that was posted."""
    [body] = [body for called, _, body in shell.stub.requests if called == ANSWER]
    return body


@pytest.mark.parametrize(
    ("wait", "typed", "answer"),
    [
        (ASK, ["red"], "red"),
        (ASK, ["5"], "5"),
        (ASK, ['"red"'], "red"),
        ({**ASK, "schema": None}, ["5"], 5),
        ({**ASK, "schema": None}, ['{"a": [1]}'], {"a": [1]}),
        (APPROVAL, ["--approve"], {"decision": "approve"}),
        (APPROVAL, ["--deny", "too dear"], {"decision": "deny", "reason": "too dear"}),
        (APPROVAL, ["--arguments", '{"path": "y"}'], {"decision": "approve", "arguments": {"path": "y"}}),
        (APPROVAL, ["--approve", "--arguments", "{}"], {"decision": "approve", "arguments": {}}),
        (APPROVAL, ['{"decision": "deny"}'], {"decision": "deny"}),
        (UNKNOWN, ["--done", '{"id": 7}'], {"outcome": "done", "result": {"id": 7}}),
        (UNKNOWN, ["--done", "sent"], {"outcome": "done", "result": "sent"}),
        (UNKNOWN, ["--retry"], {"outcome": "retry"}),
        (UNKNOWN, ["--fail", "it was not"], {"outcome": "fail", "message": "it was not"}),
    ],
)
async def test_the_only_question_needs_no_name(
    holdfast: Shell, wait: dict[str, Any], typed: list[str], answer: Any
) -> None:
    _waits_for(holdfast, SLEEP, wait)
    said = await holdfast("answer", RUN_ID, *typed)
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == f"answered; the run is queued: `holdfast tail {RUN_ID}` follows it\n"
    assert _sent(holdfast) == {"question_id": wait["question_id"], "answer": answer}


async def test_an_answer_may_come_from_standard_input(holdfast: Shell) -> None:
    _waits_for(holdfast, ASK)
    said = await holdfast("answer", RUN_ID, "-", "--json", stdin="red\n")
    assert json.loads(said.stdout)["status"] == "queued"
    assert _sent(holdfast)["answer"] == "red"


async def test_several_questions_are_listed_and_one_is_to_be_named(holdfast: Shell) -> None:
    _waits_for(holdfast, APPROVAL, UNKNOWN)
    said = await holdfast("answer", RUN_ID, "--approve")
    assert said.exit_code == 1
    assert said.stderr == (
        "Error: the run asks 2 questions: say which one with --question\n"
        f'  --question {APPROVAL_ID}  May rm be called? rm {{"path": "x"}}\n'
        f"  --question {UNKNOWN_ID}  Was the mail sent?\n"
    )
    holdfast.stub.answers[ANSWER] = run_shown(status="waiting", waiting=[APPROVAL])
    named = await holdfast("answer", RUN_ID, "--retry", "--question", UNKNOWN_ID)
    assert named.exit_code == 0
    assert named.stderr == f"— it asks 1 more: see `holdfast answer {RUN_ID}` —\n"
    assert _sent(holdfast) == {"question_id": UNKNOWN_ID, "answer": {"outcome": "retry"}}


async def test_a_named_question_that_is_not_open_yet_is_left_to_the_gateway(holdfast: Shell) -> None:
    """A question is seen a moment before the run waits for it: the gateway, not the command, knows when to say no."""
    _waits_for(holdfast, status="running")
    assert (await holdfast("answer", RUN_ID, "red", "--question", ASK_ID)).exit_code == 0
    assert _sent(holdfast) == {"question_id": ASK_ID, "answer": "red"}


async def test_without_an_answer_it_shows_what_is_asked_and_what_to_type(holdfast: Shell) -> None:
    _waits_for(holdfast, ASK, SLEEP)
    said = await holdfast("answer", RUN_ID)
    assert said.exit_code == 0
    first, question, schema, way = said.stdout.splitlines()
    assert first.startswith(f"question {ASK_ID} (step 4, asked ")
    assert question == "  Which colour?"
    assert schema == '  schema: {"type": "string", "enum": ["red", "5"]}'
    assert way == f"  holdfast answer {RUN_ID} ANSWER"
    _waits_for(holdfast, APPROVAL, UNKNOWN)
    both = (await holdfast("answer", RUN_ID)).stdout.splitlines()
    assert [line.strip() for line in both if "holdfast answer" in line] == [
        f"holdfast answer {RUN_ID} --question {question} {way}"
        for question, ways in (
            (APPROVAL_ID, ("--approve", "--deny REASON", "--arguments JSON")),
            (UNKNOWN_ID, ("--done JSON", "--retry", "--fail MESSAGE")),
        )
        for way in ways
    ]
    assert json.loads((await holdfast("answer", RUN_ID, "--json")).stdout) == [APPROVAL, UNKNOWN]
    assert not [called for called, _, _ in holdfast.stub.requests if called == ANSWER]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"status": "completed"}, "has ended: it is completed"),
        ({"status": "interrupted"}, f"`holdfast resume {RUN_ID}` lets it go on"),
        ({"status": "running", "waiting": []}, "asks nothing now: it is running\n"),
        ({"status": "waiting", "waiting": [SLEEP]}, "it is waiting, for its timer, until 2026-02-01T00:00:00Z\n"),
    ],
)
@pytest.mark.parametrize("typed", [[], ["yes"]])
async def test_nothing_to_answer(holdfast: Shell, run: dict[str, Any], words: str, typed: list[str]) -> None:
    holdfast.stub.answers[RUN] = run_shown(**run)
    said = await holdfast("answer", RUN_ID, *typed)
    assert said.exit_code == 1
    assert words in said.stderr
    assert ANSWER not in [called for called, _, _ in holdfast.stub.requests]


@pytest.mark.parametrize(
    ("wait", "typed", "words"),
    [
        (ASK, ["--approve"], f"--approve is no answer to this: Which colour?; answer with `holdfast answer {RUN_ID} ANSWER`"),
        (UNKNOWN, ["--deny", "no"], f"Was the mail sent?; answer with `holdfast answer {RUN_ID} --done JSON` or `--retry`"),
        (APPROVAL, ["yes"], "'yes' is no answer to this: May rm be called? rm {\"path\": \"x\"}; answer with `holdfast answer "),
    ],
)  # fmt: skip
async def test_an_answer_of_another_kind_is_refused_with_those_there_are(
    holdfast: Shell, wait: dict[str, Any], typed: list[str], words: str
) -> None:
    _waits_for(holdfast, wait)
    said = await holdfast("answer", RUN_ID, *typed)
    assert (said.exit_code, said.stderr.count("\n")) == (1, 1)
    assert words in said.stderr
    assert ANSWER not in [called for called, _, _ in holdfast.stub.requests]


async def test_f57_a_second_answer_is_refused_in_words(holdfast: Shell) -> None:
    _waits_for(holdfast, ASK)
    holdfast.stub.answers[ANSWER] = problem(409, "already_answered", "the question is answered already")
    said = await holdfast("answer", RUN_ID, "red")
    assert said.exit_code == 1
    assert said.stderr == "Error: the question is answered already; `holdfast show` tells what it does now\n"


async def test_an_answer_that_does_not_fit_is_refused_with_every_reason(holdfast: Shell) -> None:
    _waits_for(holdfast, ASK)
    refused = problem(422, "invalid_answer", "the answer does not fit")
    body = {
        **json.loads(refused.text),
        "errors": [{"loc": ["body", "answer", 0], "msg": "is no colour"}, {"loc": [], "msg": "too long"}],
    }
    holdfast.stub.answers[ANSWER] = type(refused)(422, json=body, headers={"content-type": "application/problem+json"})
    said = await holdfast("answer", RUN_ID, "blue")
    assert said.stderr == "Error: the answer does not fit; answer.0: is no colour; too long\n"


async def test_resume_follows_the_run_to_its_end(holdfast: Shell) -> None:
    holdfast.stub.answers[f"POST /v1/runs/{RUN_ID}/resume"] = run_shown(status="queued")
    holdfast.stub.connections = [
        Connection(
            [
                ("1-1", "run.started", {"run_id": RUN_ID, "pod": "a"}),
                ("1-2", "text.delta", {"text": "one "}),
                ("2-1", "run.interrupted", {"reason": "owner_lost", "keep_through": "1-2"}),
                ("3-1", "run.resumed", {"pod": "b", "reason": "resumed", "keep_through": "1-2"}),
                ("3-2", "text.delta", {"text": "two"}),
                ("3-3", "run.completed", {"output": None}),
            ]
        )
    ]
    ran = await holdfast("resume", RUN_ID)
    assert (ran.exit_code, ran.stdout) == (0, "one two\n")
    assert ran.stderr == "— it was resumed; b goes on from here —\n"
    assert (await holdfast("resume", RUN_ID, "--detach")).stdout == f"{RUN_ID}\n"
    assert json.loads((await holdfast("resume", RUN_ID, "--detach", "--json")).stdout)["status"] == "queued"
    holdfast.stub.answers[f"POST /v1/runs/{RUN_ID}/resume"] = problem(409, "not_interrupted", "it is running")
    refused = await holdfast("resume", RUN_ID)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: it is running; `holdfast fork` is for runs that have ended\n"


async def test_fork_follows_the_new_run(holdfast: Shell) -> None:
    fork = f"POST /v1/runs/{RUN_ID}/fork"
    holdfast.stub.answers[fork] = run_shown(id=FORK_ID, status="queued")
    detached = await holdfast("fork", RUN_ID, "--from-position", "3.1", "--thread", "other", "--detach")
    assert (detached.exit_code, detached.stdout) == (0, f"{FORK_ID}\n")
    assert holdfast.stub.requests[-1][2] == {"from_position": "3.1", "thread_id": "other"}
    holdfast.stub.answers[fork] = run_shown(status="queued")
    holdfast.stub.connections = [Connection([("0-2", "text.delta", {"text": "hi"}), ("1-1", "run.completed", {})])]
    followed = await holdfast("fork", RUN_ID)
    assert (followed.exit_code, followed.stdout, followed.stderr) == (0, "hi\n", f"— run {RUN_ID} —\n")
    assert [body for called, _, body in holdfast.stub.requests if called == fork][-1] == {}
    for code, advice in (("run_active", "`holdfast cancel` ends it"), ("unknown_position", "lists the positions")):
        holdfast.stub.answers[fork] = problem(409, code, "no")
        refused = await holdfast("fork", RUN_ID)
        assert refused.exit_code == 1
        assert advice in refused.stderr


async def test_the_queue_of_a_thread_is_listed_in_order(holdfast: Shell) -> None:
    long = {"messages": [{"role": "user", "content": "no"}, {"role": "user", "content": "y" * 200}]}
    runs = [run_shown(id=FORK_ID, status="queued", input=long), run_shown(status="queued", input={"n": 1})]
    holdfast.stub.answers[f"GET {QUEUE}"] = {"items": runs, "next_cursor": None}
    listed = await holdfast("queue", "chat")
    titles, first, second = listed.stdout.splitlines()
    assert titles.split() == ["PLACE", "RUN", "AGENT", "CREATED", "INPUT"]
    assert first.split()[:3] == ["1", FORK_ID, "assistant"]
    assert first.endswith("y" * 80 + "…")
    assert second.startswith(f"2      {RUN_ID}")
    assert second.endswith('{"n": 1}')
    assert json.loads((await holdfast("queue", "--json", "chat")).stdout) == runs
    holdfast.stub.answers["GET /v1/threads/edit/queue"] = {"items": [], "next_cursor": None}
    assert (await holdfast("queue", "list", "edit")).stdout == "nothing is queued on thread edit\n"


async def test_the_queue_of_a_thread_is_changed(holdfast: Shell) -> None:
    one = f"{QUEUE}/{RUN_ID}"
    holdfast.stub.answers |= {
        f"PATCH {one}": run_shown(status="queued"),
        f"DELETE {one}": run_shown(status="cancelled"),
        f"POST {one}/now": run_shown(status="queued"),
    }
    assert (await holdfast("queue", "edit", "chat", RUN_ID, "better")).stdout == "changed\n"
    assert holdfast.stub.requests[-1][2] == {"input": {"messages": [{"role": "user", "content": "better"}]}}
    await holdfast("queue", "edit", "chat", RUN_ID, "-", stdin="long\n")
    assert holdfast.stub.requests[-1][2]["input"]["messages"][0]["content"] == "long\n"
    await holdfast("queue", "edit", "chat", RUN_ID, "--input", '{"n": 2}')
    assert holdfast.stub.requests[-1][2] == {"input": {"n": 2}}
    assert (await holdfast("queue", "now", "chat", RUN_ID)).stdout == "it is the next\n"
    assert (await holdfast("queue", "remove", "chat", RUN_ID)).stdout == "removed\n"
    assert json.loads((await holdfast("queue", "remove", "chat", RUN_ID, "--json")).stdout)["status"] == "cancelled"


async def test_f59_a_run_that_was_claimed_meanwhile_is_not_edited(holdfast: Shell) -> None:
    holdfast.stub.answers[f"PATCH {QUEUE}/{RUN_ID}"] = problem(409, "not_queued", "the run is running")
    refused = await holdfast("queue", "edit", "chat", RUN_ID, "x")
    assert refused.exit_code == 1
    assert refused.stderr == "Error: the run is running; `holdfast queue THREAD` lists what is queued\n"


async def test_run_sends_the_policies_that_were_chosen_and_no_others(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/runs"] = run_shown(status="queued")
    await holdfast(
        "run", "x", "--detach", "--deadline", "1.5h", "--idle-timeout", "15m", "--max-crashes", "2",
        "--on-owner-lost", "interrupt", "--on-unknown", "ask",
    )  # fmt: skip
    sent = holdfast.stub.requests[-1][2]
    assert {name: value for name, value in sent.items() if name not in ("agent", "input")} == {
        "deadline_s": 5400.0, "idle_timeout_s": 900, "max_crashes": 2, "on_owner_lost": "interrupt", "on_unknown": "ask",
    }  # fmt: skip
    assert isinstance(sent["idle_timeout_s"], int)
    await holdfast("run", "x", "--detach")
    assert holdfast.stub.requests[-1][2].keys() == {"agent", "input"}


async def test_ps_says_what_a_run_waits_for(holdfast: Shell) -> None:
    waiting = run_shown(status="waiting", waiting=[ASK, SLEEP, APPROVAL], finished_at=None)
    holdfast.stub.answers["GET /v1/runs"] = {"items": [waiting], "next_cursor": None}
    assert f"{RUN_ID}  waiting (ask, sleep)  assistant" in (await holdfast("ps", "--all")).stdout


async def test_show_tells_of_waits_unknown_steps_failed_tries_and_relatives(holdfast: Shell) -> None:
    step = {
        "position": "0", "kind": "tool", "name": "mail", "status": "started", "tries": 2, "attempt": 1, "error": None,
        "started_at": SINCE, "finished_at": None, "unknown": True, "call_id": "c", "input": {"to": "a"}, "code_version": "1",
        "errors": [{"try": 1, "code": "timeout", "message": "too\nslow", "at": SINCE}],
    }  # fmt: skip
    again = {**step, "position": "1", "status": "retry", "unknown": False, "errors": []}
    holdfast.stub.answers |= {
        RUN: run_shown(
            status="waiting", waiting=[UNKNOWN, SLEEP], parent_run_id=FORK_ID, forked_from=FORK_ID, deadline_at=SINCE
        ),
        f"{RUN}/attempts": {"items": [], "next_cursor": None},
        f"{RUN}/steps": {"items": [step, again], "next_cursor": None},
    }
    lines = (await holdfast("show", RUN_ID)).stdout.splitlines()
    about = {line.split("  ")[0]: line for line in lines[: lines.index("")]}
    assert {name: about[name].split()[-1] for name in ("parent", "fork of", "deadline")} == {
        "parent": FORK_ID, "fork of": FORK_ID, "deadline": SINCE,
    }  # fmt: skip
    waits = lines[lines.index("waiting:") :]
    assert waits[2].split()[:2] == ["5.1", "unknown"]
    assert waits[2].endswith("Was the mail sent?")
    assert waits[3].endswith("its timer, until 2026-02-01T00:00:00Z")
    assert waits[4:7] == [f"  holdfast answer {RUN_ID} {way}" for way in ("--done JSON", "--retry", "--fail MESSAGE")]
    journal = lines[lines.index("journal:") :]
    assert journal[2].split()[:4] == ["0", "tool", "mail", "unknown"]
    assert "mail  to be run again  2" in journal[3]
    tries = lines[lines.index("failed tries:") :]
    assert tries[2].split()[:5] == ["0", "1", "timeout", "too", "slow"]


async def test_show_of_an_interrupted_run_says_how_it_goes_on(holdfast: Shell) -> None:
    page: dict[str, Any] = {"items": [], "next_cursor": None}
    holdfast.stub.answers |= {
        RUN: run_shown(status="interrupted", error={"code": "diverged", "message": "expected a, found b"}),
        f"{RUN}/attempts": page,
        f"{RUN}/steps": page,
    }
    assert (
        f"bring back the agent's old code, then `holdfast resume {RUN_ID}` lets it go on"
        in (await holdfast("show", RUN_ID)).stdout
    )


@pytest.mark.parametrize(
    ("typed", "schema", "value"),
    [
        ("yes", None, "yes"), ("true", None, True), ("true", {"type": "string"}, "true"), ('"a"', {"type": "string"}, "a"),
        ("[1", None, "[1"), ("null", {"type": ["string", "null"]}, None), ("", None, ""),
    ],
)  # fmt: skip
def test_what_was_typed_is_json_or_a_text(typed: str, schema: dict[str, Any] | None, value: Any) -> None:
    assert value_of(typed, schema) == value
