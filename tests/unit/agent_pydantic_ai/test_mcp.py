"""Tools of an MCP server, which is a real process here."""

from __future__ import annotations

import sys
from pathlib import Path

import pydantic_ai
import pytest
from pydantic_ai.capabilities import SetToolMetadata

from holdfast_agent import Agent
from holdfast_agent.pydantic_ai import durable, tool_step
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results

SERVER = Path(__file__).with_name("mcp_server.py")


def _agent(notes: Path, *names: str) -> tuple[Agent, Script]:
    # imported late: seconds of computing time, which every process that collects tests would spend
    from fastmcp.client.transports import StdioTransport  # noqa: PLC0415
    from pydantic_ai.mcp import MCPToolset  # noqa: PLC0415

    script = Script(
        [
            [call(0, "shout", '{"text": "a"}', "c1"), call(1, "shout", '{"text": "b"}', "c2")],
            ["Loud enough."],
        ]
    )
    toolsets = [
        MCPToolset[object](
            StdioTransport(sys.executable, [str(SERVER), str(notes)], keep_alive=False), id=name, cache_tools=False
        )
        for name in names
    ]
    prefixed = [each if at == 0 else each.prefixed(f"other{at}") for at, each in enumerate(toolsets)]
    return durable(pydantic_ai.Agent(script.model(), toolsets=prefixed), "loud"), script


async def test_listing_and_calls_are_steps_and_a_replay_does_not_even_start_the_server(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    agent, script = _agent(notes, "loud")
    record = Record()
    assert (await attempt(agent, record, chat("shout"))).output == "Loud enough."
    assert sorted(notes.read_text().split("\n")) == ["", "call a", "call b", "list", "list", "start"]
    assert results(script.asked[1]) == [("shout", "success", "A"), ("shout", "success", "B")]
    assert [(row.spec.kind, row.spec.name, row.spec.idempotent) for row in record.rows.values()] == [
        ("tools", "mcp_server__loud.get_tools", True),
        ("model", "chat", True),
        ("tool", "shout", False),
        ("tool", "shout", False),
        ("tools", "mcp_server__loud.get_tools", True),
        ("model", "chat", True),
    ]
    notes.unlink()
    assert (await attempt(agent, record, chat("shout"), number=2)).output == "Loud enough."
    assert not notes.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kill_at", "finished"), [(6, 0), (8, 1)])
async def test_f50_killed_while_it_calls_it_starts_the_server_anew_and_makes_no_finished_call_again(
    tmp_path: Path, kill_at: int, finished: int
) -> None:
    notes = tmp_path / "notes"
    agent, _ = _agent(notes, "loud")
    record = Record()
    await attempt(agent, record, chat("shout"), kill_at=kill_at)
    assert sum(row.status == "completed" for row in record.steps("tool")) == finished
    before = notes.read_text().count("call")
    assert (await attempt(agent, record, chat("shout"), number=2)).output == "Loud enough."
    assert notes.read_text().count("call") - before == 2 - finished
    assert notes.read_text().count("start") == 2


@pytest.mark.slow
async def test_several_servers_are_listed_side_by_side(tmp_path: Path) -> None:
    agent, _ = _agent(tmp_path / "notes", "loud", "louder")
    record = Record()
    for number in (1, 2):
        assert (await attempt(agent, record, chat("shout"), number=number)).output == "Loud enough."
    assert len(record.steps("tools")) == 4


@pytest.mark.slow
async def test_tools_of_a_server_may_be_marked_as_repeatable(tmp_path: Path) -> None:
    from fastmcp.client.transports import StdioTransport  # noqa: PLC0415
    from pydantic_ai.mcp import MCPToolset  # noqa: PLC0415

    script = Script([[call(0, "shout", '{"text": "a"}', "c1")], ["Loud enough."]])
    server = StdioTransport(sys.executable, [str(SERVER), str(tmp_path / "notes")], keep_alive=False)
    agent = pydantic_ai.Agent(
        script.model(),
        toolsets=[MCPToolset[object](server, id="loud")],
        capabilities=[SetToolMetadata(**tool_step(idempotent=True))],
    )
    record = Record()
    await attempt(durable(agent, "loud"), record, chat("shout"))
    assert [row.spec.idempotent for row in record.steps("tool")] == [True]
