"""The client's commands as a shell sees them, against a gateway that the test scripts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner

from holdfast_local.__main__ import SECTIONS, main
from holdfast_local.ports import free_ports
from tests.unit.local.stub_gateway import (
    RUN_ID,
    Connection,
    Event,
    Shell,
    StubGateway,
    deltas,
    listening,
    problem,
    run_shown,
)

ANSWER: list[Event] = [
    ("1-1", "run.started", {"pod": "runner-1"}),
    ("1-2", "step.started", {"position": "0"}),
    ("1-3", "text.delta", {"position": "0", "text": "lost"}),
    ("2-1", "run.resumed", {"pod": "runner-2", "from_pod": "runner-1", "reason": "owner_lost", "keep_through": None}),
    ("2-2", "step.started", {"position": "0"}),
    *deltas("hel", "lo", attempt=2, first=3),
    ("2-5", "run.completed", {"output": {"text": "hello"}}),
]
NOBODY = f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
async def holdfast() -> AsyncIterator[Shell]:
    stub = StubGateway()
    async with listening(stub) as url:
        yield Shell(stub, url)


async def test_run_prints_the_answer_once_and_notes_beside_it(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/runs"] = run_shown(status="queued")
    holdfast.stub.connections = [Connection(ANSWER[:3], cut=True), Connection(ANSWER[3:])]
    ran = await holdfast("run", "say hello", "--agent", "echo", "--thread", "chat")
    assert (ran.exit_code, ran.stdout) == (0, "hello\n")
    assert ran.stderr == f"— run {RUN_ID} —\n— runner-1 was lost; runner-2 goes on from here —\n"
    assert holdfast.stub.requests[0][2] == {
        "agent": "echo",
        "input": {"messages": [{"role": "user", "content": "say hello"}]},
        "thread_id": "chat",
    }


async def test_run_reads_standard_input_and_need_not_follow(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/runs"] = run_shown(status="queued")
    ran = await holdfast("run", "-", "--detach", stdin="long text\n")
    assert (ran.exit_code, ran.stdout) == (0, f"{RUN_ID}\n")
    assert holdfast.stub.requests[0][2]["input"]["messages"][0]["content"] == "long text\n"
    assert json.loads((await holdfast("run", "x", "--detach", "--json")).stdout)["id"] == RUN_ID


async def test_run_takes_the_whole_input_of_an_agent_that_takes_no_chat(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/runs"] = run_shown(status="queued")
    assert (await holdfast("run", "--agent", "quotes", "--detach", "--input", '{"city": "Bern"}')).exit_code == 0
    assert holdfast.stub.requests[0][2]["input"] == {"city": "Bern"}
    for wrong, told in ((("x", "--input", "{}"), "give either"), ((), "give either"), (("--input", "{"), "not JSON")):
        refused = await holdfast("run", *wrong)
        assert (refused.exit_code, told in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (("2-5", "run.failed", {"error": {"code": "model_unavailable", "message": "m"}}), 1, "failed: model_unavailable: m\n"),
        (("2-5", "run.cancelled", {}), 3, "cancelled\n"),
        (
            ("2-5", "run.interrupted", {"reason": "owner_lost"}), 4,
            f"interrupted: owner_lost\n— `holdfast resume {RUN_ID}` lets it go on from its last finished step —\n",
        ),
    ],
)  # fmt: skip
async def test_the_exit_code_tells_how_the_run_ended(
    holdfast: Shell, ending: tuple[str, str, dict[str, Any]], code: int, said: str
) -> None:
    holdfast.stub.connections = [Connection([*ANSWER[4:-1], ending])]
    holdfast.stub.answers[f"GET /v1/runs/{RUN_ID}"] = run_shown(status=ending[1].removeprefix("run."))
    tailed = await holdfast("tail", RUN_ID)
    assert (tailed.exit_code, tailed.stdout, tailed.stderr) == (code, "hello\n", said)


async def test_tail_goes_on_after_an_event_and_prints_json(holdfast: Shell) -> None:
    holdfast.stub.connections = [Connection(ANSWER[5:])]
    tailed = await holdfast("tail", RUN_ID, "--after", "2-2", "--json")
    assert tailed.exit_code == 0
    assert [json.loads(line)["id"] for line in tailed.stdout.splitlines()] == ["2-3", "2-4", "2-5"]
    assert holdfast.stub.cursors == ["2-2"]


async def test_tail_of_what_is_over_tells_how_it_ended(holdfast: Shell) -> None:
    error = {"code": "crash_loop", "message": "five times"}
    holdfast.stub.connections = [Connection(), Connection()]
    holdfast.stub.answers[f"GET /v1/runs/{RUN_ID}"] = run_shown(status="failed", output=None, error=error)
    tailed = await holdfast("tail", RUN_ID, "--after", "2-5")
    assert (tailed.exit_code, tailed.stdout, tailed.stderr) == (1, "", "failed: crash_loop: five times\n")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("tail", RUN_ID, "--after", "three"), "'three' is not an event id"),
        (("tail", "the-first-one"), "'the-first-one' is not a valid UUID"),
        (("ps", "--status", "sleeping"), "'sleeping' is not one of"),
        (("keys", "create", "--tenant", "a b"), "1 to 64 letters"),
        (("shw", RUN_ID), "Did you mean 'show'?"),
        (("keys", "creat"), "Did you mean 'create'?"),
        (("run", "x", "--deadline", "soon"), "'soon' is not a time such as 90, 15m, 2h or 1d"),
        (("run", "x", "--deadline", "0"), "is not between 0.001 s and 365 d"),
        (("run", "x", "--idle-timeout", "8d"), "is not between 1 s and 7 d"),
        (("run", "x", "--max-crashes", "0"), "1<=x<=100"),
        (("run", "x", "--on-unknown", "guess"), "'guess' is not one of"),
        (("answer", RUN_ID, "yes", "--retry"), "give one answer, not --retry and ANSWER"),
        (("answer", RUN_ID, "--deny", "no", "--arguments", "{}"), "give one answer, not --deny and --arguments"),
        (("answer", RUN_ID, "--arguments", "[1]"), "a tool's arguments are a JSON object"),
        (("answer", RUN_ID, "yes", "--question", "1"), "'1' is not a valid UUID"),
        (("queue", "edit", "chat", RUN_ID), "give a TEXT, or --input JSON"),
        (("queue", "edit", "chat", RUN_ID, "x", "--input", "{}"), "give a TEXT, or --input JSON"),
        (("queue", "edit", "chat", RUN_ID, "--input", "{"), "it is not JSON"),
        (("queue", "chat", "remove"), "unexpected extra argument"),
    ],
)
async def test_wrong_words_are_met_before_anything_is_asked(
    holdfast: Shell, arguments: tuple[str, ...], wrong: str
) -> None:
    asked = await holdfast(*arguments)
    assert asked.exit_code == 2
    assert wrong in asked.stderr
    assert not holdfast.stub.requests


@pytest.mark.parametrize(
    "command",
    [
        ("run", "x"),
        ("tail", RUN_ID),
        ("ps",),
        ("show", RUN_ID),
        ("pods",),
        ("cancel", RUN_ID),
        ("answer", RUN_ID, "x"),
        ("resume", RUN_ID),
        ("fork", RUN_ID),
        ("queue", "chat"),
        ("queue", "now", "chat", RUN_ID),
    ],
)
async def test_no_gateway_is_one_line(holdfast: Shell, command: tuple[str, ...]) -> None:
    asked = await holdfast(*command, "--url", NOBODY)
    assert asked.exit_code == 1
    assert asked.stderr == f"Error: no gateway at {NOBODY}: is `holdfast up` running?\n"


async def test_refusals_are_one_line_and_the_key_is_sent(holdfast: Shell) -> None:
    holdfast.stub.answers["GET /v1/pods"] = problem(401, "key_invalid", "this API key is not known, or was revoked")
    asked = await holdfast("pods", "--key", "hf_wrong")
    assert asked.exit_code == 1
    assert asked.stderr == (
        f"Error: the gateway at {holdfast.url} refuses this key: this API key is not known, or was revoked\n"
    )
    assert holdfast.stub.requests[0][1]["authorization"] == "Bearer hf_wrong"
    holdfast.stub.answers[f"POST /v1/runs/{RUN_ID}/cancel"] = problem(409, "run_ended", "the run is completed")
    asked = await holdfast("cancel", RUN_ID)
    assert (asked.exit_code, asked.stderr) == (1, "Error: the run is completed\n")


@pytest.mark.parametrize("key", ["é", "bad\nkey", "hf_key\r", "two words", "\udce9"])
async def test_a_key_that_cannot_be_sent_is_one_line_and_nothing_is_asked(holdfast: Shell, key: str) -> None:
    asked = await holdfast("ps", "--key", key)
    assert asked.exit_code == 1
    assert asked.stderr.startswith("Error: the API key of --key or HOLDFAST_KEY has a space, a line break")
    assert asked.stderr.count("\n") == 1
    assert key not in asked.stderr
    assert not holdfast.stub.requests


async def test_cancel_says_who_ends_it(holdfast: Shell) -> None:
    running = run_shown(status="running", run_owner_pod="runner-1")
    holdfast.stub.answers[f"POST /v1/runs/{RUN_ID}/cancel"] = [run_shown(status="cancelled"), running, running]
    assert (await holdfast("cancel", RUN_ID)).stdout == "cancelled\n"
    assert (await holdfast("cancel", RUN_ID)).stdout == "runner-1 is told to end it\n"
    assert json.loads((await holdfast("cancel", RUN_ID, "--json")).stdout) == running


def _run_id(n: int) -> str:
    return f"0198c0de-0000-7000-8000-{n:012}"


async def test_ps_lists_the_active_ones_and_the_last_few(holdfast: Shell) -> None:
    active = [run_shown(id=_run_id(9), status="running", run_owner_pod="runner-2", finished_at=None)]
    failed = run_shown(id=_run_id(8), status="failed", error={"code": "stalled", "message": "no progress"})
    holdfast.stub.answers["GET /v1/runs"] = [
        {"items": active, "next_cursor": None},
        {"items": [failed], "next_cursor": None},
    ]
    listed = await holdfast("ps")
    assert listed.exit_code == 0
    titles, first, second = listed.stdout.splitlines()
    assert titles.split() == ["RUN", "STATUS", "AGENT", "RUNNER", "ATTEMPT", "CREATED", "LASTED", "THREAD"]
    assert first.split()[:5] == [_run_id(9), "running", "assistant", "runner-2", "2"]
    assert second.split()[:5] == [_run_id(8), "failed", "(stalled)", "assistant", "-"]
    assert second.endswith("3.0s    chat")
    assert holdfast.stub.requests[0][2].startswith(
        "status=queued&status=running&status=waiting&status=interrupted&limit="
    )
    assert holdfast.stub.requests[1][2] == "status=completed&status=failed&status=cancelled&limit=5"


async def test_ps_with_filters_is_one_list(holdfast: Shell) -> None:
    items = [run_shown(id=_run_id(n)) for n in range(3)]
    holdfast.stub.answers["GET /v1/runs"] = {"items": items, "next_cursor": None}
    listed = await holdfast(
        "ps", "--status", "failed", "--status", "cancelled", "--agent", "echo", "--limit", "2", "--json"
    )
    assert [run["id"] for run in json.loads(listed.stdout)] == [_run_id(0), _run_id(1)]
    await holdfast("ps", "--all", "--status", "failed")
    assert (await holdfast("ps", "--all", "--limit", "2")).stderr == "— there are more: see --limit —\n"
    assert [asked for _, _, asked in holdfast.stub.requests] == [
        "status=failed&status=cancelled&agent=echo&limit=3", "status=failed&limit=21", "limit=3",
    ]  # fmt: skip
    holdfast.stub.answers["GET /v1/runs"] = {"items": [], "next_cursor": None}
    assert (await holdfast("ps")).stdout == "no runs\n"


async def test_pods(holdfast: Shell) -> None:
    pod = {
        "pod": "runner-1", "boot": "b", "pool": "default", "slots": 16, "running": 3, "draining": True, "version": "0.1.0",
        "started_at": "2026-01-01T00:00:00Z", "host": None, "pid": None,
    }  # fmt: skip
    holdfast.stub.answers["GET /v1/pods"] = {"items": [pod], "next_cursor": None}
    assert (await holdfast("pods")).stdout.splitlines()[1].split()[:7] == [
        "runner-1", "default", "draining", "3/16", "0.1.0", "-", "-",
    ]  # fmt: skip
    assert json.loads((await holdfast("pods", "--json")).stdout) == [pod]
    holdfast.stub.answers["GET /v1/pods"] = {"items": [], "next_cursor": None}
    assert (await holdfast("pods")).stdout == "no runner is alive: `holdfast up` or `holdfast runner` starts one\n"


async def test_show(holdfast: Shell) -> None:
    path = f"GET /v1/runs/{RUN_ID}"
    attempt = {
        "attempt": 1,
        "pod": "runner-1",
        "boot": "b",
        "started_at": "2026-01-01T00:00:01Z",
        "ended_at": None,
        "ended_why": None,
    }
    step = {
        "position": "0", "kind": "model", "name": "chat", "status": "completed", "tries": 1, "attempt": 1, "error": None,
        "started_at": "2026-01-01T00:00:01Z", "finished_at": "2026-01-01T00:00:03Z",
    }  # fmt: skip
    run = run_shown(input={"long": "x" * 1000}, error={"code": "agent_error", "message": "two\nlines"})
    holdfast.stub.answers |= {
        path: run,
        f"{path}/attempts": {"items": [attempt], "next_cursor": None},
        f"{path}/steps": {"items": [step], "next_cursor": None},
    }
    shown = await holdfast("show", RUN_ID)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert f"run        {RUN_ID}" in lines
    assert "error      agent_error: two lines" in lines
    assert next(line for line in lines if line.startswith("input")).endswith("… (1012 characters)")
    assert lines[lines.index("attempts:") + 2].split()[:2] == ["1", "runner-1"]
    assert lines[lines.index("journal:") + 2].split()[:6] == ["0", "model", "chat", "completed", "1", "1"]
    whole = json.loads((await holdfast("show", RUN_ID, "--json")).stdout)
    assert whole == {"run": run, "attempts": [attempt], "steps": [step]}


async def test_ctrl_c_stops_following_and_says_how_to_go_on(holdfast: Shell) -> None:
    """As a process of its own: the signal is one of a terminal."""
    holdfast.stub.answers["POST /v1/runs"] = run_shown(status="queued")
    holdfast.stub.answers[f"GET /v1/runs/{RUN_ID}"] = run_shown(status="running")
    holdfast.stub.connections = [Connection(ANSWER[:3])] + [Connection()] * 50
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast_local", "run", "x", "--url", holdfast.url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(20):
        assert await process.stderr.readline() == f"— run {RUN_ID} —\n".encode()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert out == b""
    said = f"— detached; the run goes on: `holdfast tail {RUN_ID}` or `holdfast cancel {RUN_ID}` —\n"
    assert err.decode() == said


def test_every_command_has_its_section() -> None:
    listed = CliRunner().invoke(main, ["--help"]).stdout
    assert "Other:" not in listed
    for section, commands in SECTIONS.items():
        assert f"\n{section}:\n" in listed
        assert all(f"\n  {command} " in listed for command in commands)


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "tail",
        "ps",
        "show",
        "cancel",
        "answer",
        "resume",
        "fork",
        "queue",
        "queue list",
        "queue edit",
        "queue remove",
        "queue now",
        "pods",
        "doctor",
        "keys",
        "keys create",
        "keys list",
        "keys revoke",
    ],
)
def test_every_option_is_explained(command: str) -> None:
    asked = CliRunner().invoke(main, [*command.split(), "--help"])
    assert asked.exit_code == 0
    options = asked.stdout.partition("Options:")[2].partition("Commands:")[0]
    for line in options.splitlines():
        if line.startswith("  --"):
            assert len(line.split("  ")) > 2 or len(line) > 25, line
