"""``clerk``: a pydantic_ai agent whose tools leave their marks in a folder (``HOLDFAST_TEST_MARKS``), for runners to load."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pydantic_ai
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from holdfast_agent import Retry
from holdfast_agent.pydantic_ai import current_run, durable, tool_step
from tests.support.wait import wait_until

_MODEL = OpenAIChatModel("mock", provider=OpenAIProvider())
_clerk = pydantic_ai.Agent(_MODEL, retries={"tools": 3})


def _mark(what: str) -> None:
    """Say that a tool was called: one line per call."""
    marks = Path(os.environ["HOLDFAST_TEST_MARKS"])
    with (marks / what).open("a") as file:
        file.write(current_run().idempotency_key + "\n")


@_clerk.tool_plain
async def note(text: str) -> str:
    """Note something."""
    _mark(f"note-{text}")
    return f"noted {text}"


@_clerk.tool_plain
async def hang(text: str) -> str:
    """Never come back."""
    _mark(f"hang-{text}")
    await asyncio.get_running_loop().create_future()
    return "never"


@_clerk.tool_plain(metadata=tool_step(idempotent=True))
async def look(text: str) -> str:
    """Look until there is a file that says to stop."""
    _mark(f"look-{text}")
    go = Path(os.environ["HOLDFAST_TEST_MARKS"]) / f"go-{text}"
    await wait_until(go.exists, description=f"{go} is there", timeout_s=60)
    return f"saw {text}"


@_clerk.tool_plain(requires_approval=True)
async def pay(to: str, cents: int) -> str:
    """Pay somebody."""
    _mark(f"pay-{to}-{cents}")
    return f"paid {to} {cents}"


clerk = durable(_clerk, "clerk", model_retry=Retry(tries=3, first_delay_s=0.05, on=()))
patient_clerk = durable(_clerk, "patient-clerk", seamless=True)
