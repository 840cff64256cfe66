"""Agents for tests, loaded by runners from this file (``HOLDFAST_AGENTS``): ``script`` does what its input says, word by word.

A script is a list of words; ``tests.integration.runner.scripts`` has a function for each. It must give the same on every replay,
so words that look at the world (``wait``, ``mark``) belong into steps, where a test wants that to hold.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from holdfast_agent import AgentFailed, Retry, Run, agent
from holdfast_agent.settings import ModelSettings

Word = Mapping[str, Any]
_WAIT_INTERVAL_S = 0.01


@agent("script")
async def script(run: Run) -> Any:
    """Does what its input says."""
    return await _play(run, run.input["script"])


@agent("stubborn")
async def stubborn(run: Run) -> Any:
    """Does what its input says, and will not be cancelled before the file ``until`` is there."""
    inner = asyncio.ensure_future(_play(run, run.input["script"]))
    while not inner.done():
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            if _there(run.input["until"]):
                raise
    return inner.result()


@agent("deaf")
async def deaf(run: Run) -> str:
    """Takes whatever a script raises for an answer."""
    try:
        await _play(run, run.input["script"])
    except BaseException as error:  # what a careless author writes
        return type(error).__name__
    return "played"


async def _play(run: Run, words: Sequence[Word]) -> Any:
    value: Any = None
    for word in words:
        value = await _do(run, word, value)
    return value


async def _do(run: Run, word: Word, value: Any) -> Any:
    match word:
        case {"say": text}:
            run.emit_text(_value(text))
        case {"show": data}:
            run.emit("shown", _value(data))
        case {"chat": path}:
            while not _there(path):
                run.emit_text(".")
                await asyncio.sleep(_WAIT_INTERVAL_S)
        case {"step": words, "name": name, "tries": tries}:
            retry = Retry(tries=tries, first_delay_s=0.01)
            return await run.model(_value(name), {"words": words}, lambda: _play(run, words), retry=retry)
        case {"ask": text}:
            return await run.model("ask", {"text": text}, lambda: _ask(text))
        case {"both": pair}:
            return await asyncio.gather(*(_do(run, each, value) for each in pair))
        case _:
            return await _meddle(word, value)
    return value


async def _meddle(word: Word, value: Any) -> Any:
    """Words that touch the world outside the run."""
    match word:
        case {"wait": path}:
            while not _there(path):  # noqa: ASYNC110 - the test is another process
                await asyncio.sleep(_WAIT_INTERVAL_S)
        case {"mark": path}:
            _add_mark(path)
        case {"block": seconds, "unless": path} if _there(path):
            pass
        case {"block": seconds, "unless": path}:
            _add_mark(path)
            time.sleep(seconds)  # noqa: ASYNC251 - as below
        case {"block": seconds}:
            time.sleep(seconds)  # noqa: ASYNC251 - to block the event loop is what the test wants
        case {"thread_wait": path}:
            await asyncio.to_thread(_wait_in_thread, path)
        case {"fail_until": path, "code": code}:
            if not _there(path):
                raise AgentFailed(code, f"{path} is not there", retryable=True)
        case {"raise": "AgentFailed", "code": code}:
            raise AgentFailed(code, f"as told: {code}")
        case {"raise": "exit"}:
            sys.exit(3)
        case {"raise": message}:
            raise RuntimeError(_value(message))
        case {"give": kind}:
            return _value(kind)
        case _:
            raise ValueError(f"no such word: {word}")
    return value


def _there(path: str) -> bool:
    return Path(path).exists()


def _add_mark(path: str) -> None:
    with Path(path).open("a") as marks:
        marks.write("x")


def _wait_in_thread(path: str) -> None:
    while not _there(path):
        time.sleep(_WAIT_INTERVAL_S)


def _value(kind: Any) -> Any:
    """What a word cannot carry has a name here; anything else is itself."""
    return _VALUES.get(kind, kind) if isinstance(kind, str) else kind


_VALUES = {
    "object": object(),
    "nan": float("nan"),
    "nul": "a\x00b",
    "surrogate": "\ud800",
    "large": "x" * (1024 * 1024),
    "huge": "x" * (3 * 1024 * 1024),
    "unholdable": "a\x00b\ud800" * 10_000,
    "tuple": (1, {"2": "two"}),
}


async def _ask(text: str) -> str:
    """One whole answer of the mock model, not streamed."""
    settings = ModelSettings()
    body = {"model": settings.model, "messages": [{"role": "user", "content": text}]}
    async with httpx2.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{settings.base_url}/chat/completions", json=body)
    return str(answer.json()["choices"][0]["message"]["content"])
