"""Agents that wait, call each other, and count what they do to the world outside (``HOLDFAST_TEST_COUNTER``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2

from holdfast_agent import Run, agent


async def count(run: Run, name: str) -> str:
    """One effect in the world outside."""
    async with httpx2.AsyncClient(timeout=10) as client:
        url = f"{os.environ['HOLDFAST_TEST_COUNTER']}/{run.input.get('counts_as', run.id)}/{name}"
        (await client.post(url, json=None)).raise_for_status()
    return name


@agent("parent")
async def parent(run: Run) -> Any:
    """Calls a child, which calls its own, and so on."""
    depth = run.input["depth"]
    if depth == 0:
        return "leaf"
    return [depth, await run.call("parent", {"depth": depth - 1})]


@agent("two-children")
async def two_children(run: Run) -> Any:
    """Two at once, and something of its own beside them."""
    return await run.gather(
        run.call("parent", {"depth": 0}), run.call("parent", {"depth": 1}), run.step("own", lambda: "own")
    )


@agent("asks-in-child")
async def asks_in_child(run: Run) -> Any:
    """A child that waits for a person."""
    return await run.call("asks", {"counts_as": str(run.id)})


@agent("asks")
async def asks(run: Run) -> Any:
    """Two effects, a question between them."""
    first = await run.step("before", _counter(run, "before"))
    run.emit_text(f"{first}; ")
    answer = await run.ask("go on?", schema={"type": "boolean"})
    run.emit_text(f"answered {answer}; ")
    last = await run.step("after", _counter(run, "after"))
    return [first, answer, last]


@agent("sleeps")
async def sleeps(run: Run) -> str:
    """Sleeps as long as its input says."""
    run.emit_text("sleeping")
    await run.sleep(run.input["seconds"])
    return "slept"


@agent("fails-at-last")
async def fails_at_last(run: Run) -> str:
    """Two effects, then a failure, unless the world has changed."""
    await run.step("first", _counter(run, "first"))
    await run.step("second", _counter(run, "second"))
    await run.step("third", _fail_unless_mended)
    return "mended"


def _fail_unless_mended() -> None:
    if not Path(os.environ["HOLDFAST_TEST_MENDED"]).exists():
        raise RuntimeError("broken")


def _counter(run: Run, name: str) -> Any:
    async def work() -> str:
        return await count(run, name)

    return work
