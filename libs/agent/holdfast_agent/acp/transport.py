"""Messages to and from a child, one JSON object per line. Updates and permission requests are handed on in their order.

The library's connection is given what is left: answers to requests, and the file methods. So an update of a kind that the library
does not know is no error here, and nothing overtakes anything. What is not taken is not read: the child then waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from acp import CLIENT_METHODS

from holdfast.errors import AgentFailed
from holdfast_agent.acp.updates import cleaned

_READ_BYTES = 256 * 1024
_MESSAGE_BYTES_MAX = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Update:
    """A ``session/update``, as it came."""

    session_id: str
    update: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """``agent_message_chunk``, ``tool_call``, ``plan``, …"""
        return str(self.update.get("sessionUpdate", ""))


@dataclass(frozen=True, slots=True)
class Asked:
    """A ``session/request_permission``; the child waits for its answer."""

    request_id: Any
    tool_call: Mapping[str, Any]
    options: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The child says no more. ``why`` is given when that is not its own doing."""

    why: str | None = None


Said = Update | Asked | Closed


class LineTransport:
    """The library's ``Transport`` on a child's pipes.

    Args:
        reader: the child's stdout.
        writer: the child's stdin.
        deliver: awaited with each update and permission request, in order; while it waits, nothing is read.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deliver: Callable[[Said], Awaitable[None]]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._deliver = deliver
        self._lines: list[bytes] = []
        self._rest = bytearray()
        self._sending = asyncio.Lock()
        self.heard_at = asyncio.get_running_loop().time()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Write one message.

        Raises:
            ConnectionError: the child does not listen any more.
        """
        async with self._sending:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The next message for the library; None at the end."""
        try:
            while (line := await self._line()) is not None:
                message = _parsed(line)
                if message is None:
                    continue
                self.heard_at = asyncio.get_running_loop().time()
                if not await self._handed_on(message):
                    return message
        except AgentFailed as failed:
            await self._deliver(Closed(failed.message))
            return None
        except (OSError, RecursionError) as error:
            await self._deliver(Closed(f"its output cannot be read: {error}"))
            return None
        await self._deliver(Closed())
        return None

    async def close(self) -> None:
        """Nothing: the pipes are the process's."""

    async def answer(self, asked: Asked, option_id: str | None) -> None:
        """Answer a permission request; None: it is cancelled. Raises as :meth:`send` does."""
        outcome = {"outcome": "cancelled"} if option_id is None else {"outcome": "selected", "optionId": option_id}
        await self.send({"jsonrpc": "2.0", "id": asked.request_id, "result": {"outcome": outcome}})

    async def _line(self) -> bytes | None:
        while not self._lines:
            read = await self._reader.read(_READ_BYTES)
            if not read:
                return None
            self._rest += read
            if b"\n" in read:
                *whole, rest = bytes(self._rest).split(b"\n")
                self._lines, self._rest = whole[::-1], bytearray(rest)
            if len(self._rest) > _MESSAGE_BYTES_MAX:
                raise AgentFailed("acp_error", f"it sent a message of more than {_MESSAGE_BYTES_MAX} bytes")
        return self._lines.pop()

    async def _handed_on(self, message: Mapping[str, Any]) -> bool:
        params = message.get("params")
        if not isinstance(params, Mapping):
            return False
        if message.get("method") == CLIENT_METHODS["session_update"]:
            update = params.get("update")
            if isinstance(update, Mapping):
                await self._deliver(Update(str(params.get("sessionId")), cleaned(update)))
            return True
        if message.get("method") == CLIENT_METHODS["session_request_permission"] and "id" in message:
            tool_call, options = params.get("toolCall"), params.get("options")
            if not (isinstance(tool_call, Mapping) and tool_call.get("toolCallId") and isinstance(options, list)):
                error = {
                    "code": -32602,
                    "message": "Invalid params",
                    "data": {"details": "toolCall and options are needed"},
                }
                await self.send({"jsonrpc": "2.0", "id": message["id"], "error": error})
                return True
            usable = tuple(cleaned(each) for each in options if isinstance(each, Mapping) and each.get("optionId"))
            await self._deliver(Asked(message["id"], cleaned(tool_call), usable))
            return True
        return False


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The message in a line; None for what is none: some agents print a banner."""
    try:
        message = json.loads(line, parse_constant=lambda _: None)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
