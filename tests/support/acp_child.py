"""A real child process that speaks the Agent Client Protocol, on the agent's side of the same library, scripted by a JSON file.

``python -m tests.support.acp_child``, with two variables: ``ACP_SCRIPT`` (the file) and ``ACP_STATE`` (a folder for what
outlives the process: its sessions, its pids, what it has done in the world). It plays a model that knows its session: a prompt
has it do what the script holds and its session, or the prompt, does not tell of as done. When it is told to look first, it looks
at the world.

The script is an object: ``actions``; ``load`` (can it load sessions?); ``deaf`` (to a cancel and to SIGINT); ``version`` of the
protocol; ``login`` (it wants one); ``grandchild`` (a process in a session of its own); ``start`` (a file to wait for);
``greeting`` (on stderr); and ``history``, how a session is replayed: ``exact``, ``no_prompts``, ``other_text``, ``other_call``,
``without_last`` (what came last was not saved), ``stranger`` (somebody else has used the session). Actions:

- ``{"say": text, "pieces"?, "wait"?}``, ``{"think": text}``, ``{"plan": [entry]}``, ``{"raw": update}``
- ``{"call": {"title", "input"?, "result"?, "fail"?, "permission"?, "quiet"?, "hold"?, "hold_after"?}}``: one effect in the world;
  a ``quiet`` call never says in_progress; ``hold`` waits for a file before the effect, ``hold_after`` behind it
- ``{"together": [call, call]}``: side by side
- ``{"wait": file}``, ``{"hang": true}``, ``{"exit": code, "stderr"?}``, ``{"stop": stop reason}``, ``{"read": path}``,
  ``{"write": path, "text"}``
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from acp import (
    PROTOCOL_VERSION,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptResponse,
    RequestError,
    run_agent,
)
from acp.agent.connection import AgentSideConnection
from acp.schema import AgentCapabilities, Implementation, PermissionOption, ToolCallUpdate

OPTIONS = [
    PermissionOption(option_id="yes", name="Allow", kind="allow_once"),
    PermissionOption(option_id="always", name="Always allow", kind="allow_always"),
    PermissionOption(option_id="no", name="Reject", kind="reject_once"),
]


class World:
    """What outlives the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sessions").mkdir(parents=True, exist_ok=True)

    def note(self, file: str, line: str) -> None:
        """Add a line, whole or not at all."""
        with (self.folder / file).open("a") as opened:
            opened.write(line + "\n")
            opened.flush()

    def lines(self, file: str) -> list[str]:
        """The lines of a file."""
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []

    async def until(self, file: str) -> None:
        """Wait for a file."""
        while not (self.folder / file).exists():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.005)


class Stopped(Exception):
    """The client has cancelled the turn."""


class ScriptedAgent:
    """The agent's side of the protocol."""

    def __init__(self, script: Mapping[str, Any], world: World) -> None:
        self.script = script
        self.world = world
        self.cancelled = asyncio.Event()
        self.prompt_text = ""

    def on_connect(self, connection: AgentSideConnection) -> None:
        self.connection = connection

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        if "start" in self.script:
            await self.world.until(self.script["start"])
        return InitializeResponse(
            protocol_version=self.script.get("version", PROTOCOL_VERSION),
            agent_capabilities=AgentCapabilities(load_session=self.script.get("load", True)),
            agent_info=Implementation(name="scripted", version="1"),
        )

    async def new_session(self, cwd: str, **_: Any) -> NewSessionResponse:
        if self.script.get("login"):
            raise RequestError.auth_required()
        self.session = f"session-{uuid4()}"
        self._session_file.touch()
        self.world.note("new_sessions", self.session)
        return NewSessionResponse(session_id=self.session)

    async def load_session(self, cwd: str, session_id: str, **_: Any) -> LoadSessionResponse:
        self.session = session_id
        if not self._session_file.exists():
            raise RequestError.resource_not_found(session_id)
        self.world.note("loads", session_id)
        for update in replayed(self.saved(), self.script.get("history", "exact")):
            await self.send(update)
        return LoadSessionResponse()

    async def cancel(self, session_id: str, **_: Any) -> None:
        if not self.script.get("deaf"):
            self.cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        self.prompt_text = "".join(block.text for block in prompt)
        self.world.note("prompts", json.dumps(self.prompt_text))
        self.save({"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": self.prompt_text}})
        self.cancelled.clear()
        work = asyncio.create_task(self.act())
        stop = asyncio.create_task(self.cancelled.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            return PromptResponse(stop_reason=work.result())
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        self.world.note("prompts", "cancelled")
        await self.tell({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "(interrupted)"}})
        return PromptResponse(stop_reason="cancelled")

    # -- the session -------------------------------------------------------------------------------------------------

    @property
    def _session_file(self) -> Path:
        return self.world.folder / "sessions" / self.session

    def saved(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._session_file.read_text().splitlines()]

    def save(self, update: Mapping[str, Any]) -> None:
        self.world.note(f"sessions/{self.session}", json.dumps(update))

    async def send(self, update: Mapping[str, Any]) -> None:
        await self.connection._conn.send_notification("session/update", {"sessionId": self.session, "update": update})

    async def tell(self, update: Mapping[str, Any]) -> None:
        """Save an update, then send it."""
        self.save(update)
        await self.send(update)

    # -- the script --------------------------------------------------------------------------------------------------

    async def act(self) -> Any:
        for action in self.script["actions"]:
            match action:
                case {"say": text}:
                    if not self.was_said(text):
                        await self.say(text, action.get("pieces", 1), action.get("wait"))
                case {"think": text}:
                    await self.tell({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": text}})
                case {"plan": entries}:
                    plan = [{"content": entry, "priority": "medium", "status": "pending"} for entry in entries]
                    await self.tell({"sessionUpdate": "plan", "entries": plan})
                case {"raw": update}:
                    await self.tell(update)
                case {"call": call}:
                    await self.call(call)
                case {"together": calls}:
                    await asyncio.gather(*(self.call(call) for call in calls))
                case {"wait": file}:
                    await self.world.until(file)
                case {"hang": True}:
                    await asyncio.Event().wait()
                case {"exit": code}:
                    sys.stderr.write(action.get("stderr", ""))
                    sys.stderr.flush()
                    os._exit(code)
                case {"stop": reason}:
                    return reason
                case {"read": path}:
                    await self.file(self.connection.read_text_file(session_id=self.session, path=path))
                case {"write": path, "text": text}:
                    await self.file(self.connection.write_text_file(session_id=self.session, path=path, content=text))
        return "end_turn"

    async def say(self, text: str, pieces: int, wait: str | None) -> None:
        text = text[self.begun(text) :]
        size = max(len(text) // pieces, 1)
        for start in range(0, len(text), size):
            piece = text[start : start + size]
            await self.tell({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": piece}})
            if wait is not None and start == 0:
                await self.world.until(wait)

    async def file(self, request: Any) -> None:
        """A file method: what came of it is said."""
        try:
            answer = await request
            text = getattr(answer, "content", "written")
        except RequestError as error:
            text = f"refused: {error.data}"
        self.world.note("files", text)

    async def call(self, call: Mapping[str, Any]) -> None:
        title = call["title"]
        if self.was_done(title) or f"{title!r}: denied" in self.prompt_text:
            return
        if "look whether" in self.prompt_text and title in self.world.lines("effects"):
            return  # it looked, and it was done
        ident = f"call-{sum(1 for each in self.saved() if each['sessionUpdate'] == 'tool_call') + 1}"
        known = {"toolCallId": ident, "title": title, "kind": "edit", "rawInput": call.get("input", {"of": title})}
        await self.tell({"sessionUpdate": "tool_call", "status": "pending", **known})
        if call.get("permission") and not await self.permitted(known):
            await self.end(ident, "failed", "denied")
            return
        if not call.get("quiet"):
            await self.tell({"sessionUpdate": "tool_call_update", "toolCallId": ident, "status": "in_progress"})
        if "hold" in call:
            await self.world.until(call["hold"])
        self.world.note("effects", title)
        if "hold_after" in call:
            await self.world.until(call["hold_after"])
        await self.end(ident, "failed" if call.get("fail") else "completed", call.get("result", f"did {title}"))

    async def permitted(self, known: Mapping[str, Any]) -> bool:
        update = ToolCallUpdate.model_validate(known)
        self.world.note("asked", known["title"])
        answer = await self.connection.request_permission(session_id=self.session, tool_call=update, options=OPTIONS)
        option = getattr(answer.outcome, "option_id", "cancelled")
        self.world.note("answers", f"{known['title']}: {option}")
        if option == "cancelled":  # with the turn, a moment before or after this
            await asyncio.wait({asyncio.create_task(self.cancelled.wait())}, timeout=0.5)
            await asyncio.sleep(0)
        return option in ("yes", "always")

    async def end(self, ident: str, status: str, text: str) -> None:
        content = [{"type": "content", "content": {"type": "text", "text": text}}]
        await self.tell(
            {"sessionUpdate": "tool_call_update", "toolCallId": ident, "status": status, "content": content}
        )

    def was_said(self, text: str) -> bool:
        said = "".join(
            each["content"]["text"] for each in self.saved() if each["sessionUpdate"] == "agent_message_chunk"
        )
        told = [line for line in self.prompt_text.splitlines() if line.startswith("- you said:")]
        return text in said or any(text.strip() in line for line in told)

    def begun(self, text: str) -> int:
        """How much of a text its session ends with: it goes on from there."""
        chunks = [each for each in self.saved() if each["sessionUpdate"] != "user_message_chunk"]
        said = ""
        for each in reversed(chunks):
            if each["sessionUpdate"] != "agent_message_chunk":
                break
            said = each["content"]["text"] + said
        return max((size for size in range(len(text)) if said.endswith(text[:size])), default=0)

    def was_done(self, title: str) -> bool:
        saved = self.saved()
        ids = {each["toolCallId"] for each in saved if each["sessionUpdate"] == "tool_call" and each["title"] == title}
        ended = {
            each["toolCallId"]
            for each in saved
            if each["sessionUpdate"] == "tool_call_update" and each.get("status") in ("completed", "failed")
        }
        told = any(f"tool call {title!r}" in line and " completed" in line for line in self.prompt_text.splitlines())
        return bool(ids & ended) or told


def replayed(saved: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
    """A session as a child replays it."""
    if how == "no_prompts":
        return [each for each in saved if each["sessionUpdate"] != "user_message_chunk"]
    if how == "other_text":
        return [_with_text(each) if each["sessionUpdate"] == "agent_message_chunk" else each for each in saved]
    if how == "other_call":
        return [
            {**each, "toolCallId": "call-x", "rawInput": {"of": "something else"}, "title": "Something else"}
            if each["sessionUpdate"] == "tool_call"
            else each
            for each in saved
        ]
    if how == "without_last":
        return saved[:-1]
    if how == "stranger":
        return [*saved, {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "now for me"}}]
    return saved


def _with_text(update: dict[str, Any]) -> dict[str, Any]:
    return {**update, "content": {"type": "text", "text": "what the journal does not have"}}


def begin() -> ScriptedAgent:
    """What is done before the protocol begins."""
    world = World(Path(os.environ["ACP_STATE"]))
    script = json.loads(Path(os.environ["ACP_SCRIPT"]).read_text())
    world.note("pids", str(os.getpid()))
    if script.get("deaf"):
        signal.signal(signal.SIGINT, lambda *_: world.note("signals", "SIGINT"))
    if script.get("grandchild"):
        sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL)
        world.note("pids", str(sleeper.pid))
    sys.stderr.write(script.get("greeting", ""))
    sys.stderr.flush()
    return ScriptedAgent(script, world)


if __name__ == "__main__":
    asyncio.run(run_agent(begin()))  # type: ignore[arg-type]  # it has what the tests need
