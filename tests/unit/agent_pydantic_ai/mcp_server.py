"""A real MCP server for the tests, on standard input and output. It appends a line to a file at each start, listing and call."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

NOTES = Path(sys.argv[1])


def note(what: str) -> None:
    """Say that something happened."""
    with NOTES.open("a") as notes:
        notes.write(what + "\n")


async def list_tools(*_: Any) -> types.ListToolsResult:
    """One tool."""
    note("list")
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return types.ListToolsResult(tools=[types.Tool(name="shout", description="Says it loud.", input_schema=schema)])


async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Say it loud."""
    text = str((params.arguments or {})["text"])
    note(f"call {text}")
    return types.CallToolResult(content=[types.TextContent(type="text", text=text.upper())])


async def main() -> None:
    """Serve until the input ends."""
    note("start")
    server: Server[Any] = Server("loud", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
