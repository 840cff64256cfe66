"""The agent whose owner is killed at every boundary: twelve steps of every kind."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from holdfast_agent import Run, agent
from holdfast_agent.settings import ModelSettings
from tests.support.kills.points import Point, reach

COUNTER_ENV = "HOLDFAST_TEST_COUNTER"


@agent("twelve-steps")
async def twelve_steps(run: Run) -> dict[str, Any]:
    """Model calls, idempotent and other tools, parallel steps, an ask, a sleep, a child run."""
    order = str(run.uuid())
    run.emit_text("Let me see. ")
    plan = await run.model("plan", {"ask": "slow:2x1"}, lambda: _ask_model(run, "slow:2x1"))
    await run.step("reserve", _tool(run), "reserve", order)
    price = await run.step("price", _tool(run), "price", "list", idempotent=True)
    run.emit_text("Both at once: ")
    charged, shipped, said = await run.gather(
        run.step("charge", _tool(run), "charge", order),
        run.step("ship", _tool(run), "ship", order, idempotent=True),
        run.model("remark", {"ask": "slow:3x1"}, lambda: _ask_model(run, "slow:3x1")),
    )
    run.emit_text("Which size? ")
    size = await run.ask("Which size?", schema={"enum": ["S", "M", "L"]})
    await run.sleep(0.05)
    child = await run.call("one-step", {"name": "wrap", **_handed_on(run)})
    summary = await run.model("summary", {"size": size}, lambda: _ask_model(run, "slow:2x1"))
    notified = await run.step("notify", _sync_tool(run), "notify", size)
    await run.step("log", _tool(run), "log", size, idempotent=True)
    run.emit_text("Done.")
    return {
        "plan": plan, "price": price, "charged": charged, "shipped": shipped, "said": said, "size": size, "child": child,
        "summary": summary, "notified": notified,
    }  # fmt: skip


@agent("one-step")
async def one_step(run: Run) -> str:
    """The child: one tool."""
    return await run.step("wrap", _tool(run), run.input["name"], "child")


def _handed_on(run: Run) -> dict[str, Any]:
    """The child's own kill, and whose child it is."""
    return {"kill": run.input.get("child_kill"), "counts_as": _counts_as(run)}


def _counts_as(run: Run) -> str:
    return str(run.input.get("counts_as") or run.id)


def _tool(run: Run) -> Callable[[str, str], Awaitable[str]]:
    """Does something to the world outside that can be counted."""

    async def tool(name: str, argument: str) -> str:
        return await _count(run, name, argument)

    return tool


async def _count(run: Run, name: str, argument: str) -> str:
    async with httpx2.AsyncClient(timeout=10) as client:
        key = {"Idempotency-Key": run.idempotency_key} if name in ("price", "ship", "log") else {}
        url = f"{os.environ[COUNTER_ENV]}/{_counts_as(run)}/{name}"
        (await client.post(url, json=argument, headers=key)).raise_for_status()
    _in_work(run)
    if key:  # what is shown by work that a person says was done is not shown again
        run.emit_text(f"[{name}] ")
    return f"{name} done"


def _sync_tool(run: Run) -> Callable[[str, str], str]:
    """The same, in a thread."""
    return lambda name, argument: _count_in_thread(run, name, argument)


def _count_in_thread(run: Run, name: str, argument: str) -> str:
    request = urllib.request.Request(
        f"{os.environ[COUNTER_ENV]}/{_counts_as(run)}/{name}", json.dumps(argument).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
    _in_work(run)
    return f"{name} done"


async def _ask_model(run: Run, text: str) -> str:
    """A streamed answer of the mock model."""
    settings = ModelSettings()
    body = {"model": settings.model, "stream": True, "messages": [{"role": "user", "content": text}]}
    pieces = []
    url = f"{settings.base_url}/chat/completions"
    async with httpx2.AsyncClient(timeout=30) as client, client.stream("POST", url, json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if piece := choice["delta"].get("content"):
                        run.emit_text(piece)
                        pieces.append(piece)
                        _in_work(run)
    return "".join(pieces)


def _in_work(run: Run) -> None:
    here = run.backend.here
    assert here is not None
    reach(run.id, here.position, Point.IN_WORK)
