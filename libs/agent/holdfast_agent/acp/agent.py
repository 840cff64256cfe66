"""``acp_agent``: an agent whose work a child process does, by the Agent Client Protocol."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from holdfast_agent.acp.child import Child, Command
from holdfast_agent.acp.story import SaidItem, Story, ask_permission, replayed
from holdfast_agent.acp.taking_up import take_up
from holdfast_agent.acp.turn import Turn
from holdfast_agent.agent import Agent, agent
from holdfast_agent.backend import OnUnknown
from holdfast_agent.builtin.chat_input import CHAT_INPUT
from holdfast_agent.run import Run

_INPUT: Mapping[str, Any] = {
    "anyOf": [
        CHAT_INPUT,
        {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string", "minLength": 1}}},
        {"type": "string", "minLength": 1},
    ]
}


def acp_agent(
    name: str,
    *,
    command: Sequence[str],
    cwd: str | Path | Callable[[Run], str | Path] = ".",
    env: Mapping[str, str] | None = None,
    permissions: Literal["ask", "allow", "deny"] = "ask",
    on_unknown: OnUnknown | str = OnUnknown.RETRY,
    silence_timeout_s: float = 540.0,
    start_timeout_s: float = 60.0,
    cancel_grace_s: float = 1.0,
    interrupt_grace_s: float = 1.0,
    mcp_servers: Sequence[Any] = (),
    auth_method: str | None = None,
    description: str = "",
    version: str | None = None,
) -> Agent:
    """Make an agent of a command that speaks the Agent Client Protocol on its stdin and stdout.

        coder = acp_agent("coder", command=["my-coding-agent", "--acp"], cwd=lambda run: f"/srv/work/{run.thread_id}")

    Its run's input is a chat (``{"messages": [...]}``), ``{"prompt": text}`` or a text; its output
    ``{"text": what it said last, "stop_reason", "session_id"}``.

    Args:
        name: what clients ask for.
        command: the program and its arguments. No shell is involved.
        cwd: the folder that it works in, which must exist, or a function that says it for a run. Every runner of the pool has to
            see the same files there, for a run may go on elsewhere.
        env: variables for it, besides HOME, LOGNAME, PATH, SHELL, TERM and USER. It has no others of the runner's.
        permissions: ``ask`` a person when it asks, or always ``allow`` or ``deny`` for this once.
        on_unknown: a tool call that was going on when its runner died, and of which its session does not say how it ended.
            ``retry``: the child is told, and told to look before it does it again; ``ask``: a person is asked first; ``fail``:
            the run fails. What the run was submitted with goes before.
        silence_timeout_s: how long it may say nothing during a turn, before the run fails with ``silent``. A run that is to bear
            more than ten minutes needs a longer ``idle_timeout_s``, too.
        start_timeout_s: for each of its answers before the first prompt.
        cancel_grace_s: how long it has after ``session/cancel``.
        interrupt_grace_s: how long it has after SIGINT, before SIGKILL. A runner waits 5 s in all.
        mcp_servers: of ``acp.schema``, handed on to the session.
        auth_method: the id of the login method to use.
        description: one line for people.
        version: of the agent; a hash of the command when left out.

    Raises:
        ValueError: the name is not usable, there is no command, or ``permissions`` is another word.
    """
    if not command:
        raise ValueError(f"agent {name!r} has no command")
    if permissions not in ("ask", "allow", "deny"):
        raise ValueError(f"agent {name!r}: permissions is {permissions!r}, and may be 'ask', 'allow' or 'deny'")

    async def function(run: Run) -> Any:
        folder = cwd(run) if callable(cwd) else cwd
        settings = Command(
            command=tuple(command),
            cwd=Path(os.path.abspath(folder)),  # noqa: PTH100, ASYNC240 - a name only: links are followed where files are opened
            env=dict(env or {}),
            mcp_servers=tuple(mcp_servers),
            auth_method=auth_method,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            interrupt_grace_s=interrupt_grace_s,
        )
        return await _converse(run, settings, permissions=permissions, silence_timeout_s=silence_timeout_s)

    return agent(
        name,
        description=description or f"{Path(command[0]).name}, by the Agent Client Protocol",
        input_schema=_INPUT,
        version=version or hashlib.sha256(json.dumps(list(command)).encode()).hexdigest()[:12],
        on_unknown=on_unknown,
    )(function)


async def _converse(run: Run, command: Command, *, permissions: str, silence_timeout_s: float) -> Any:
    """Replay what was done; then prompt, and prompt again after each permission, until a turn ends."""
    story = await replayed(run)
    while story.ended is None:
        if story.request is not None:
            await ask_permission(run, story)
            continue
        await _sit(run, story, command, permissions=permissions, silence_timeout_s=silence_timeout_s)
    return {"text": _last_words(story), "stop_reason": story.ended["stop_reason"], "session_id": _session_id(story)}


async def _sit(run: Run, story: Story, command: Command, *, permissions: str, silence_timeout_s: float) -> None:
    """One life of a child: it is gone when this returns, however it does."""
    children: list[Child] = []
    try:
        prompt = await take_up(run, story, command, children.append)
        turn = Turn(run, story, children[0], permissions=permissions, silence_timeout_s=silence_timeout_s)
        await turn.go(prompt)
    finally:
        for child in children:
            await child.stop()


def _last_words(story: Story) -> str:
    """What it said since its last tool call."""
    words: list[str] = []
    for item in reversed([item for sitting in story.all_sittings for item in sitting.items]):
        if not isinstance(item, SaidItem):
            break
        words.append(item.text)
    return "".join(reversed(words))


def _session_id(story: Story) -> str:
    assert story.session is not None
    return str(story.session["session_id"])
