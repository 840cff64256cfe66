"""What ``assistant`` does: its model requests and tool calls are steps; see :mod:`holdfast_agent.pydantic_ai`.

It takes a second of computing time to import, so ``assistant`` does it late.
"""

from __future__ import annotations

import ssl
from functools import cache

import httpx2
import pydantic_ai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from holdfast_agent.builtin.tools import tools_of
from holdfast_agent.pydantic_ai.calling import run_agent
from holdfast_agent.pydantic_ai.chat import asked_of
from holdfast_agent.run import Run
from holdfast_agent.settings import ModelSettings, ToolSettings

_TOOL_RETRIES = 3
_PROFILE = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
"""A stream that ends without a word of its end has broken off."""


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: to read them takes longer than all the rest of a client."""
    return httpx2.create_ssl_context()


async def answer(run: Run) -> dict[str, str]:
    """Answer the user with a language model."""
    settings = ModelSettings()
    tools = tools_of(ToolSettings())
    history, prompt = await asked_of(run)
    timeout = Timeout(settings.silence_timeout_s, connect=settings.connect_timeout_s)
    async with AsyncOpenAI(
        base_url=settings.base_url,
        api_key=settings.api_key.get_secret_value(),
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(timeout=timeout, verify=_certificates()),
    ) as client:
        model = OpenAIChatModel(settings.model, provider=OpenAIProvider(openai_client=client), profile=_PROFILE)
        chat = pydantic_ai.Agent(model, tools=tools, retries={"tools": _TOOL_RETRIES})
        result = await run_agent(run, chat, prompt, history=history)
    return {"text": result.output}
