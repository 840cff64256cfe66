"""A model request as a step: what its output holds, and which of its failures are worth another try. Pure.

The output is ``{"response": <pydantic_ai's own form of the ModelResponse>, "tool_calls": [{id, name, input}]}``; the calls are
for the thread's transcript.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pydantic_ai
from pydantic_ai import exceptions

from holdfast.errors import AgentFailed
from holdfast_agent.failures import PermanentError, RetryableError
from holdfast_agent.pydantic_ai.journal_json import mended
from holdfast_agent.retry import Retry

CODES = frozenset({"model_unavailable", "model_refused"})
RETRY = Retry(on=())
"""Three tries, of failures that say that they are worth it."""

_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})
_REFUSED = (exceptions.ModelRequestRejectedError, exceptions.ModelQuotaExceededError)
_BROKEN_STREAM = (httpx2.HTTPError, httpx2.StreamError, json.JSONDecodeError)


class ModelFailedError(exceptions.ModelAPIError, AgentFailed):
    """A model request that failed for good: the run's failure, and one that pydantic_ai knows as a model's, to fall back from."""

    def __init__(self, model: str, failed: AgentFailed) -> None:
        super().__init__(model, failed.message)
        self.code = failed.code
        self.retryable = False


def output_of(payload: Any, not_tools: frozenset[str]) -> dict[str, Any]:
    """The step's output. ``payload`` is the response as JSON; ``not_tools`` are the names by which a model gives its output."""
    response = _short(mended(payload))
    for part in _calls(response):
        part["args"] = _mended_arguments(part.get("args"))
    calls = [
        {"id": part["tool_call_id"], "name": part["tool_name"], "input": arguments_of(part.get("args"))}
        for part in _calls(response)
        if part["tool_name"] not in not_tools
    ]
    return {"response": response, "tool_calls": calls}


def response_of(output: Any) -> Any:
    """The response that a step's output holds; of a plain text (a person gave the answer), the response that says it."""
    if isinstance(output, Mapping) and "response" in output:
        return output["response"]
    text = output if isinstance(output, str) else json.dumps(output)
    return {"kind": "response", "parts": [{"part_kind": "text", "content": text}]}


def with_prefix(payload: Any, prefix: str) -> Any:
    """A response that went on from a prefix, as if it had been given in one piece."""
    parts = list(payload["parts"])
    at = next((index for index, part in enumerate(parts) if part["part_kind"] == "text"), None)
    if at is None:
        parts.insert(0, {"part_kind": "text", "content": prefix})
    else:
        parts[at] = {**parts[at], "content": prefix + parts[at]["content"]}
    return {**payload, "parts": parts}


def arguments_of(arguments: Any) -> Any:
    """A tool call's arguments as JSON; as the text they are when they are no JSON."""
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments


def failure_of(error: Exception) -> RetryableError | PermanentError | None:
    """What a failed request means for its step: ``model_unavailable`` (try again), ``model_refused``, or None: neither."""
    if isinstance(error, exceptions.ModelHTTPError):
        message = f"the model answered {error.status_code}: {_said(error)}"
        again = error.status_code in _WORTH_ANOTHER_TRY or error.status_code >= 500
        if again and not isinstance(error, _REFUSED):
            return RetryableError(message, code="model_unavailable")
        return PermanentError(message, code="model_refused")
    if isinstance(error, _REFUSED):
        return PermanentError(f"the model refused: {error.message}", code="model_refused")
    if isinstance(error, exceptions.ModelAPIError):
        return RetryableError(f"the model gave no answer: {error.message}", code="model_unavailable")
    if isinstance(error, exceptions.ContentFilterError):
        return PermanentError(f"the model refused: {error.message}", code="model_refused")
    if isinstance(error, exceptions.UnexpectedModelBehavior):
        return RetryableError(f"the model's answer cannot be read: {error.message}", code="model_unavailable")
    if isinstance(error, _BROKEN_STREAM):
        return RetryableError(f"the model's answer broke off: {error}", code="model_unavailable")
    return None


def without_own_retries(model: pydantic_ai.models.Model) -> None:
    """Switch off the retries of the provider's SDK: each try is to be a try of the step, which the journal and viewers see."""
    seen: list[Any] = [model]
    while seen:
        each = seen.pop()
        seen += [each.wrapped] if hasattr(each, "wrapped") else []
        seen += list(getattr(each, "models", ()))
        client = getattr(each, "client", None)
        if isinstance(getattr(client, "max_retries", None), int):
            client.max_retries = 0  # type: ignore[union-attr]  # as the SDKs of OpenAI, Anthropic and Groq have it


def _short(response: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that say nothing: all of them have that for a default, and every viewer is sent the rest."""
    short = {key: value for key, value in response.items() if value is not None}
    short["parts"] = [{key: value for key, value in part.items() if value is not None} for part in response["parts"]]
    short["usage"] = {key: value for key, value in response["usage"].items() if value}
    return short


def _said(error: exceptions.ModelHTTPError) -> str:
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def _calls(response: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return (part for part in response["parts"] if part["part_kind"] == "tool-call")


def _mended_arguments(arguments: Any) -> Any:
    """Arguments come as JSON text, in which such a character is an escape."""
    if not isinstance(arguments, str) or "\\u" not in arguments:
        return arguments
    read = arguments_of(arguments)
    better = mended(read)
    return arguments if better == read else json.dumps(better)
