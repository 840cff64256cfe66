"""What a reading has found: permissions asked for again or left over, descriptors left open, words that cannot be kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from acp import RequestError

from holdfast.errors import AgentFailed
from holdfast_agent import Agent
from holdfast_agent.acp import acp_agent, launcher, process
from holdfast_agent.acp.continuation import first_prompt
from holdfast_agent.acp.workspace import Workspace
from holdfast_agent.backend import Said
from tests.support.descriptors import open_descriptors
from tests.unit.agent_acp.journal_double import Record, attempt

# A child that cannot load a session. Each of its calls asks for a permission, once it was announced, and leaves a line in `done`.
_CHILD = """
import json, sys, time, pathlib
how = json.loads(sys.argv[1])
DONE = pathlib.Path("done")
OPTIONS = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}, {"optionId": "no", "name": "No", "kind": "reject_once"}]
def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def tell(**update):
    send(method="session/update", params={"sessionId": "s", "update": update})
def call(number):
    return {"toolCallId": f"c{number}", "title": "Deploy", "kind": "execute"}
def done():
    return len(DONE.read_text().splitlines()) if DONE.exists() else 0
def ask(number):
    request = {**call(number), "rawInput": how["input"]}
    send(id=77, method="session/request_permission", params={"sessionId": "s", "toolCall": request, "options": OPTIONS})
def begin(number):
    told = {} if how["late"] else {"rawInput": how["input"]}
    tell(sessionUpdate="tool_call", status=how["first"], **call(number), **told)
    time.sleep(how["delay_s"])
    ask(number)
for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            send(id=message["id"], result={"protocolVersion": 1, "agentCapabilities": {"loadSession": False}})
        case "session/new":
            send(id=message["id"], result={"sessionId": "s"})
        case "session/prompt":
            prompt, number, asked = message["id"], done(), 1
            begin(number)
    if message.get("id") == 77:
        may = message["result"]["outcome"].get("optionId") == "yes"
        if may and asked < how["asks"]:
            asked += 1
            ask(number)
            continue
        if may:
            with DONE.open("a") as file:
                file.write("done\\n")
        tell(sessionUpdate="tool_call_update", toolCallId=f"c{number}", status="completed" if may else "failed")
        if may and done() < how["calls"]:
            number, asked = done(), 1
            begin(number)
        else:
            send(id=prompt, result={"stopReason": "end_turn"})
"""
_INPUT = {"to": "production"}


def _child(
    folder: Path,
    first: str,
    delay_s: float = 0.0,
    *,
    late: bool = False,
    told: object = _INPUT,
    calls: int = 1,
    asks: int = 1,
) -> Agent:
    (folder / "child.py").write_text(_CHILD)
    how = {"first": first, "delay_s": delay_s, "late": late, "calls": calls, "asks": asks, "input": told}
    return acp_agent("x", command=[sys.executable, "child.py", json.dumps(how)], cwd=folder)


async def _questions(agent: Agent, *, decision: str = "approve") -> int:
    """How often a person is asked until the run has ended."""
    record, asked = Record(), 0
    while (made := await attempt(agent, record, {"prompt": "go"})).waits:
        record.answer({"decision": decision})
        asked += 1
        assert asked < 10
    assert made.error is None
    return asked


_WAYS = pytest.mark.parametrize(
    ("first", "delay_s"), [("pending", 0.0), pytest.param("pending", 0.9, marks=pytest.mark.slow), ("in_progress", 0.0)]
)


@_WAYS
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_a_permission_that_was_given_is_not_asked_for_again(
    tmp_path: Path, first: str, delay_s: float, decision: str
) -> None:
    assert await _questions(_child(tmp_path, first, delay_s), decision=decision) == 1
    assert (tmp_path / "done").exists() == (decision == "approve")


@_WAYS
async def test_a_permission_for_once_lets_one_call_begin(tmp_path: Path, first: str, delay_s: float) -> None:
    assert await _questions(_child(tmp_path, first, delay_s, calls=3)) == 3


@_WAYS
async def test_a_permission_is_used_up_by_a_call_that_tells_its_input_when_it_asks(
    tmp_path: Path, first: str, delay_s: float
) -> None:
    assert await _questions(_child(tmp_path, first, delay_s, late=True, calls=3)) == 3


@_WAYS
async def test_a_permission_is_used_up_by_a_call_whose_input_is_long(
    tmp_path: Path, first: str, delay_s: float
) -> None:
    assert await _questions(_child(tmp_path, first, delay_s, told={"text": "x" * 50_000}, calls=3)) == 3


@_WAYS
async def test_a_call_that_asks_a_second_time_asks_a_person(tmp_path: Path, first: str, delay_s: float) -> None:
    assert await _questions(_child(tmp_path, first, delay_s, asks=2)) == 2
    assert (tmp_path / "done").read_text() == "done\n"


async def test_an_input_with_the_journal_s_own_word_can_be_asked_for(tmp_path: Path) -> None:
    assert await _questions(_child(tmp_path, "pending", told={"$holdfast": "bytes", "value": "?"})) == 1


async def test_last_words_can_be_recorded(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('lost\\x00it'); sys.exit(3)"
    made = await attempt(acp_agent("x", command=[sys.executable, "-c", code], cwd=tmp_path), Record(), {"prompt": "go"})
    assert isinstance(made.error, AgentFailed)
    assert "lost\ufffdit" in made.error.message


def test_the_launcher_is_given_the_time_that_it_takes() -> None:
    assert process._SWEEP_S_MAX > launcher._SWEEP_S_MAX


async def test_a_child_that_reads_a_folder_leaves_nothing_open(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(RequestError):
        await workspace.read(str(tmp_path))  # the thread pool has its thread now
    before = open_descriptors()
    for _ in range(5):
        with pytest.raises(RequestError, match="Invalid params") as refused:
            await workspace.read(str(tmp_path))
        assert refused.value.data == {"path": str(tmp_path), "details": "Is a directory"}
    assert open_descriptors() == before


async def test_lines_are_what_an_editor_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\x0c1\u20281\r\n2\n\n4\n", newline="")
    workspace = Workspace(tmp_path)
    assert await workspace.read(str(tmp_path / "a"), line=2, limit=2) == "2\n\n"
    assert await workspace.read(str(tmp_path / "a"), limit=1) == "1\x0c1\u20281\r\n"
    assert await workspace.read(str(tmp_path / "a"), line=4) == "4\n"
    assert await workspace.read(str(tmp_path / "a"), line=5) == ""


def test_f61_the_next_turn_is_told_what_became_of_calls() -> None:
    error = {"code": "unknown", "message": "nobody knows how it ended"}
    said = Said(
        "assistant",
        [
            {"type": "text", "text": "Let me look."},
            {"type": "tool-call", "tool_call_id": "c", "tool_name": "build", "input": {}},
            {"type": "tool-result", "tool_call_id": "c", "tool_name": "build", "status": "unknown", "error": error},
        ],
        "incomplete",
    )
    assert "assistant: Let me look. [build: unknown, nobody knows how it ended]" in first_prompt("go on", [said])
