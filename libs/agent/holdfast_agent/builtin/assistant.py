"""``assistant``: a chat with any endpoint that speaks the OpenAI chat-completions protocol, with a few tools.

What it does stands in :mod:`holdfast_agent.builtin.chat`, which is slow to import: a runner does that beside its first runs.
"""

from __future__ import annotations

import asyncio
import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from holdfast_agent.agent import agent
from holdfast_agent.builtin.chat_input import CHAT_INPUT
from holdfast_agent.run import Run

_FILES = ("assistant.py", "chat.py", "tools.py", "arithmetic.py", "fetch.py", "workspace.py")


def _version() -> str:
    """As :func:`holdfast_agent.agent.code_version`, of all the files that it is made of."""
    found = hashlib.sha256()
    for name in _FILES:
        found.update(Path(__file__).with_name(name).read_bytes())
    return found.hexdigest()[:12]


def _load() -> Any:
    return import_module("holdfast_agent.builtin.chat")


@agent("assistant", input_schema=CHAT_INPUT, version=_version(), warm_up=_load)
async def assistant(run: Run) -> dict[str, str]:
    """Answers the user with a language model."""
    answered: dict[str, str] = await (await asyncio.to_thread(_load)).answer(run)
    return answered
