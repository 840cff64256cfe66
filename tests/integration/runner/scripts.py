"""The words of the agent ``script``, one function each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Word = dict[str, Any]


def say(text: str) -> Word:
    """Show text."""
    return {"say": text}


def step(*words: Word, name: str = "step", tries: int = 3) -> Word:
    """A durable step in which these are done."""
    return {"step": list(words), "name": name, "tries": tries}


def ask(text: str) -> Word:
    """A step that asks the mock model."""
    return {"ask": text}


def both(one: Word, other: Word) -> Word:
    """Two words at once."""
    return {"both": [one, other]}


def show(data: Any) -> Word:
    """A custom event."""
    return {"show": data}


def wait(path: Path) -> Word:
    """Wait until the file is there."""
    return {"wait": str(path)}


def chat(path: Path) -> Word:
    """Show text, bit by bit, until the file is there."""
    return {"chat": str(path)}


def thread_wait(path: Path) -> Word:
    """The same in a thread, which cannot be cancelled."""
    return {"thread_wait": str(path)}


def mark(path: Path) -> Word:
    """Add one character to a file: how often was this done?"""
    return {"mark": str(path)}


def marks(path: Path) -> int:
    """How often :func:`mark` was done."""
    return len(path.read_text()) if path.exists() else 0


def block(seconds: float) -> Word:
    """Block the event loop."""
    return {"block": seconds}


def block_once(path: Path, seconds: float) -> Word:
    """Block the event loop, if nobody has done so before: the file tells."""
    return {"block": seconds, "unless": str(path)}


def fail_until(path: Path, code: str = "model_unavailable") -> Word:
    """Fail, retryably, until the file is there."""
    return {"fail_until": str(path), "code": code}


def fail(code: str) -> Word:
    """Raise ``AgentFailed``."""
    return {"raise": "AgentFailed", "code": code}


def raise_error(message: str) -> Word:
    """Raise ``RuntimeError``; ``exit`` calls ``sys.exit``."""
    return {"raise": message}


def give(kind: str) -> Word:
    """The value that the step or the script returns, by its name in ``scripted_agents``."""
    return {"give": kind}
