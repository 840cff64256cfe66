"""``assistant``: a chat with any endpoint that speaks the OpenAI chat-completions protocol, streamed.

The SDK's own retries are off: each try is a try of the step, which the journal and the viewers see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, Timeout

from holdfast.errors import AgentFailed
from holdfast_agent.agent import agent
from holdfast_agent.builtin.chat_input import CHAT_INPUT, content_text
from holdfast_agent.run import Run, Said
from holdfast_agent.settings import ModelSettings

_WORTH_ANOTHER_TRY = frozenset({408, 409, 429})


@agent("assistant", input_schema=CHAT_INPUT)
async def assistant(run: Run) -> dict[str, str]:
    """Answers the user with a language model."""
    settings = ModelSettings()
    request = {"model": settings.model, "messages": _messages(await run.history(), run.input["messages"])}

    async def call() -> dict[str, str]:
        return {"text": await _stream(run, settings, request)}

    reply = await run.model("chat", request, call)
    return {"text": reply["text"]}


def _messages(history: Sequence[Said], asked: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The thread so far and this run's messages, as the provider wants them."""
    said = [{"role": each.role, "content": each.text} for each in history if each.role != "tool" and each.text]
    return said + [{"role": str(each["role"]), "content": content_text(each["content"])} for each in asked]


async def _stream(run: Run, settings: ModelSettings, request: Mapping[str, Any]) -> str:
    """Ask the model once, showing its text as it comes.

    Raises:
        AgentFailed: ``model_unavailable`` (worth another try) or ``model_refused`` (the same again would fail again).
    """
    timeout = Timeout(settings.silence_timeout_s, connect=settings.connect_timeout_s)
    try:
        async with AsyncOpenAI(
            base_url=settings.base_url, api_key=settings.api_key.get_secret_value(), timeout=timeout, max_retries=0
        ) as client:
            return await _read(run, client, request)
    except openai.APIStatusError as error:
        message = f"the model answered {error.status_code}: {error.message}"
        if error.status_code in _WORTH_ANOTHER_TRY or error.status_code >= 500:
            raise AgentFailed("model_unavailable", message, retryable=True) from error
        raise AgentFailed("model_refused", message) from error
    except openai.APIConnectionError as error:
        raise AgentFailed("model_unavailable", f"the model cannot be reached: {error}", retryable=True) from error
    except (
        openai.APIError,
        httpx2.HTTPError,
        json.JSONDecodeError,
    ) as error:  # the SDK lets a stream's own break pass as it is
        raise AgentFailed("model_unavailable", f"the model's answer broke off: {error}", retryable=True) from error


async def _read(run: Run, client: AsyncOpenAI, request: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    finished = False
    stream = await client.chat.completions.create(
        model=request["model"], messages=request["messages"], stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        for choice in chunk.choices:
            if choice.delta.content:
                piece = choice.delta.content.replace("\x00", "\ufffd")  # which no record can hold
                run.emit_text(piece)
                pieces.append(piece)
            finished = finished or choice.finish_reason is not None
        if chunk.usage is not None:
            run.emit_usage(input_tokens=chunk.usage.prompt_tokens, output_tokens=chunk.usage.completion_tokens)
    if not finished:
        raise AgentFailed("model_unavailable", "the model's answer broke off", retryable=True)
    return "".join(pieces)
