"""What a reading of the agents' library has found: bounds of tools, replays that differ, answers that nobody sees."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pydantic
import pydantic_ai
import pytest
from pydantic_ai import TextOutput, ToolOutput
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_core import to_json

from holdfast_agent import Run
from holdfast_agent import agent as holdfast_agent
from holdfast_agent.builtin import fetch
from holdfast_agent.builtin.workspace import Workspace, WorkspaceError
from holdfast_agent.pydantic_ai import durable, run_agent
from tests.support.descriptors import open_descriptors
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results

ROOT = Path(__file__).resolve().parents[3]


def _in_a_process_of_its_own(code: str, *, timeout_s: float = 20, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- built-in tools --------------------------------------------------------------------------------------------------


def test_a_number_is_not_rounded_for_ever() -> None:
    # `round(5, -n)` computes 10**n, and holds the interpreter's lock: all of the pod stands still
    code = """
from holdfast_agent.builtin.arithmetic import calculate
try:
    print(calculate("round(5, -1000000000)"))
except ValueError as error:
    print(error)
"""
    _in_a_process_of_its_own(code, timeout_s=10)


async def _answering(head: bytes, body: bytes, use: Callable[[str], Awaitable[Any]]) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + head + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        return await use(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


@pytest.mark.parametrize("charset", ["no-such-charset", "hex", "idna", "undefined"])
async def test_a_charset_that_nobody_knows_does_not_fail_the_run(charset: str) -> None:
    allowed = fetch.AllowList.of(["127.0.0.1"])
    head = f"content-type: text/plain; charset={charset}".encode()
    try:
        await _answering(head, b"hi", lambda url: fetch.fetch(url, allowed))
    except fetch.FetchRefusedError:
        return


@pytest.mark.parametrize(("charset", "body"), [("unicode_escape", b"\\ud800"), ("utf-7", b"+2AA-")])
async def test_a_fetched_text_can_be_recorded(charset: str, body: bytes) -> None:
    allowed = fetch.AllowList.of(["127.0.0.1"])
    head = f"content-type: text/plain; charset={charset}".encode()
    to_json(await _answering(head, body, lambda url: fetch.fetch(url, allowed)))


@pytest.mark.parametrize(
    "url", [f"http://{'a' * 64}.example.org/", "http://a..example.org/", "http://127.0.0.1:99999/"]
)
async def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(fetch.FetchRefusedError):
        await fetch.fetch(url, fetch.AllowList.of(["*.example.org", "127.0.0.1"]))


@pytest.mark.parametrize("address", ["192.0.0.192", "::ffff:192.0.0.192", "fec0::1", "10.0.0.1", "169.254.169.254"])
def test_an_address_that_is_not_public_is_not_taken_for_one(address: str) -> None:
    assert not fetch._is_public(ipaddress.ip_address(address))


def test_an_offset_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(WorkspaceError):
        Workspace(tmp_path).read("a", 2**70)


def test_reading_a_folder_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    before = open_descriptors()
    for _ in range(5):
        with pytest.raises(WorkspaceError):
            Workspace(tmp_path).read("folder")
    assert open_descriptors() == before


# -- replay ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_f52_a_set_among_the_arguments_hashes_the_same_in_every_process() -> None:
    code = """
import asyncio, pydantic_ai
from holdfast_agent.pydantic_ai import durable
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results
script = Script([[call(0, "tag", '{"tags": ["a", "b", "c", "d", "e", "f"]}', "c1")], ["ok"]])
agent = pydantic_ai.Agent(script.model())
@agent.tool_plain
async def tag(tags: set[str]) -> str:
    return "done"
record = Record()
asyncio.run(attempt(durable(agent, "x"), record, chat("go")))
print(record.rows["1[c1]"].asked)
"""
    asked = {_in_a_process_of_its_own(code, PYTHONHASHSEED=seed) for seed in ("1", "2", "3")}
    assert len(asked) == 1


class _Booking(pydantic.BaseModel):
    seat: int
    reference: str = pydantic.Field(default_factory=lambda: os.urandom(4).hex())


async def test_f52_arguments_that_a_validator_fills_in_replay() -> None:
    script = Script([[call(0, "book", '{"seat": 1}', "c1")], ["ok"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    async def book(booking: _Booking) -> str:
        return booking.reference

    record, wrapped = Record(), durable(agent, "x")
    assert (await attempt(wrapped, record, chat("go"))).output == "ok"
    assert (await attempt(wrapped, record, chat("go"))).backend.done == []


async def test_an_output_function_is_not_called_again_by_a_replay() -> None:
    script = Script([[call(0, "final_result", '{"seat": 1}', "c1")]])
    booked: list[int] = []

    async def book(seat: int) -> int:
        booked.append(seat)
        return seat

    clerk: pydantic_ai.Agent[None, int] = pydantic_ai.Agent(script.model(), output_type=book)

    @holdfast_agent("desk")
    async def desk(run: Run) -> Any:
        seat = (await run_agent(run, clerk, "a seat")).output
        await run.ask("Is that all?")
        return seat

    record = Record()
    assert (await attempt(desk, record, {})).how == "suspended"
    record.answer_all("yes")
    assert (await attempt(desk, record, {})).output == 1
    assert booked == [1]


class _Seat(pydantic.BaseModel):
    number: int


async def test_an_output_function_that_asks_for_something_better_replays() -> None:
    script = Script([[call(0, "final_result", '{"seat": 1}', "c1")], [call(0, "final_result", '{"seat": 2}', "c2")]])
    asked_for: list[int] = []

    async def book(seat: int) -> _Seat:
        asked_for.append(seat)
        if seat == 1:
            raise pydantic_ai.ModelRetry("that one is taken")
        return _Seat(number=seat)

    clerk: pydantic_ai.Agent[None, _Seat] = pydantic_ai.Agent(script.model(), output_type=book)
    outputs: list[_Seat] = []

    @holdfast_agent("desk")
    async def desk(run: Run) -> Any:
        outputs.append((await run_agent(run, clerk, "a seat")).output)

    record = Record()
    await attempt(desk, record, {})
    assert (await attempt(desk, record, {})).backend.done == []
    assert asked_for == [1, 2]
    assert outputs == [_Seat(number=2), _Seat(number=2)]
    assert results(script.asked[1]) == [("final_result", "retried", "that one is taken")]


async def test_an_output_function_of_the_text_is_a_step() -> None:
    script, told = Script([["one two"]]), list[str]()

    def words(text: str) -> list[str]:
        told.append(text)
        return text.split()

    agent = durable(pydantic_ai.Agent(script.model(), output_type=TextOutput(words)), "x")
    record = Record()
    for _ in range(2):
        assert (await attempt(agent, record, chat("?"))).output == ["one", "two"]
    assert told == ["one two"]


async def test_what_a_tool_takes_and_gives_may_have_the_journals_own_key() -> None:
    given = {"$holdfast": "bytes", "$$holdfast": [{"$holdfast": 1}]}
    script = Script([[call(0, "echo", to_json({"value": given}).decode(), "c1")], ["ok"]])
    agent, echoed = pydantic_ai.Agent(script.model()), list[Any]()

    @agent.tool_plain
    async def echo(value: dict[str, Any]) -> dict[str, Any]:
        echoed.append(value)
        return value

    record, wrapped = Record(), durable(agent, "x")
    assert (await attempt(wrapped, record, chat("go"))).output == "ok"
    assert (await attempt(wrapped, record, chat("go"))).backend.done == []
    assert echoed == [given]
    assert results(script.asked[1]) == [("echo", "success", given)]


async def test_what_a_tool_gives_is_mended_where_no_record_can_hold_it() -> None:
    script = Script([[call(0, "read", "{}", "c1")], ["ok"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    async def read() -> dict[str, str]:
        return {"nul\x00": "a\x00b"}

    record = Record()
    assert (await attempt(durable(agent, "x"), record, chat("go"))).output == "ok"
    assert record.rows["1[c1]"].output == {"nul\ufffd": "a\ufffdb"}


async def test_half_a_character_in_a_tools_result_is_mended() -> None:
    script = Script([[call(0, "read", "{}", "c1")], ["ok"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    async def read() -> str:
        return "a\ud800b"

    record = Record()
    assert (await attempt(durable(agent, "x"), record, chat("go"))).output == "ok"
    assert record.rows["1[c1]"].output == "a\ufffdb"


# -- what is shown ---------------------------------------------------------------------------------------------------


async def test_a_text_that_the_model_gives_by_a_call_is_shown() -> None:
    script = Script([[call(0, "final_result", '{"response": "forty-two"}', "c1")]])
    ended = await attempt(
        durable(pydantic_ai.Agent(script.model(), output_type=ToolOutput(str)), "x"), Record(), chat("?")
    )
    assert ended.output == "forty-two"
    assert "forty-two" in ended.backend.text


async def test_a_cut_answer_of_a_model_that_cannot_stream_is_shown_once() -> None:
    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart(" and a half" if messages[-1].kind == "response" else "One")])

    agent = durable(pydantic_ai.Agent(FunctionModel(answer)), "x", seamless=True, stream=False)
    record = Record()
    assert (await attempt(agent, record, chat("?"), kill_at=2)).how == "killed"
    ended = await attempt(agent, record, chat("?"))
    assert ended.backend.text == ended.output == "One and a half"
