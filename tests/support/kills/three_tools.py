"""A pydantic_ai agent whose model asks for three tools at once; they count what they do to the world outside."""

from __future__ import annotations

import os

import httpx2
import pydantic_ai
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from holdfast_agent.pydantic_ai import current_run, durable, tool_step
from tests.support.kills.points import Point, reach
from tests.support.kills.twelve_steps import COUNTER_ENV

_agent = pydantic_ai.Agent(OpenAIChatModel("mock", provider=OpenAIProvider()))


@_agent.tool_plain
async def charge(to: str) -> str:
    """Charge a card."""
    return await _count("charge", to)


@_agent.tool_plain
async def ship(to: str) -> str:
    """Ship something."""
    return await _count("ship", to)


@_agent.tool_plain(metadata=tool_step(idempotent=True))
async def look_up(to: str) -> str:
    """Look something up."""
    return await _count("look_up", to)


async def _count(name: str, argument: str) -> str:
    run = current_run()
    here = run.backend.here
    assert here is not None
    async with httpx2.AsyncClient(timeout=10) as client:
        key = {"Idempotency-Key": run.idempotency_key} if name == "look_up" else {}
        (await client.post(f"{os.environ[COUNTER_ENV]}/{run.id}/{name}", json=argument, headers=key)).raise_for_status()
    reach(run.id, here.position, Point.IN_WORK)
    return f"{name} done for {argument}"


three_tools = durable(_agent, "three-tools")
