"""The real AI SDK in a Node process, driven from a test: chats, transports, and the SDK's own checks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.support.node import node_command, stage
from tests.support.wait import wait_until

_LINE_BYTES_MAX = 64 * 1024 * 1024


class Driver:
    """``async with Driver() as driver``: one Node process for many chats."""

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-node-")
        script = await stage(Path(__file__).with_name("driver.mjs"), Path(self._folder.name))
        self._log = (Path(self._folder.name) / "stderr").open("w+")
        self._process = await asyncio.create_subprocess_exec(
            *node_command(),
            str(script),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            limit=_LINE_BYTES_MAX,
        )
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading
        self._log.close()
        self._folder.cleanup()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            answer = self._open.pop(told["n"])
            if answer.cancelled():
                continue
            if "error" in told:
                answer.set_exception(AssertionError(told["error"]))
            else:
                answer.set_result(told["result"])
        for answer in self._open.values():
            answer.set_exception(AssertionError(f"node has ended: {self._said()}"))

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-4000:]

    async def do(self, command: str, *, timeout_s: float = 30.0, **given: Any) -> Any:
        """Have a command carried out; its error is an ``AssertionError``."""
        number = next(self._numbers)
        self._open[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": number, "command": command, **given}).encode() + b"\n")
        async with asyncio.timeout(timeout_s):
            return await self._open[number]

    async def chat(self, api: str, **init: Any) -> Chat:
        """A chat of the SDK. ``transport`` is ``workflow`` (as it is by default) or ``default``."""
        chat = Chat(self, f"chat-{next(self._numbers)}")
        await self.do("open", chat=chat.name, api=api, **{"transport": "workflow", "id": chat.name, **init})
        return chat


class Chat:
    """One chat."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.name = name

    async def call(self, method: str, *args: Any, timeout_s: float = 30.0) -> None:
        """Call a method of the SDK's class, and wait for what it returns."""
        await self.driver.do("call", chat=self.name, method=method, args=list(args), timeout_s=timeout_s)

    async def say(self, text: str, *, ident: str | None = None, **options: Any) -> None:
        """Send a message, and wait for the answer's end."""
        message = {"text": text} if ident is None else {"id": ident, "parts": [{"type": "text", "text": text}]}
        await self.call("sendMessage", message, *([options] if options else []))

    async def state(self) -> dict[str, Any]:
        """``status``, ``messages``, ``error``, ``fetches`` and what was called back."""
        return dict(await self.driver.do("state", chat=self.name))

    async def until(self, predicate: Any, *, description: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until the chat's state is so."""
        held: dict[str, Any] = {}

        async def so() -> bool:
            held.update(await self.state())
            return bool(predicate(held))

        try:
            await wait_until(so, description=description, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the chat is {held}") from None
        return held

    async def until_said(self, words: str) -> dict[str, Any]:
        """Wait until the last message holds these words."""
        return await self.until(lambda state: words in text_of(state), description=f"the chat says {words!r}")


def text_of(state: dict[str, Any]) -> str:
    """The words of the last message, if it is the assistant's."""
    last = state["messages"][-1] if state["messages"] else None
    return words_of(last) if last is not None and last["role"] == "assistant" else ""


def words_of(message: dict[str, Any]) -> str:
    """The words of a message."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def tools_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool parts of a message."""
    return [part for part in message["parts"] if part["type"].startswith("tool-")]
