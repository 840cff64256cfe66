"""The pure parts: shapes of outputs, what is hashed, and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from pydantic_ai import exceptions
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from holdfast_agent.pydantic_ai import fingerprint, model_step, tool_result

_KEYS = st.text(max_size=2) | st.sampled_from(["kind", "$pydantic_ai"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=2),
    max_leaves=5,
)


@given(JSON)
def test_any_result_of_a_tool_comes_back_as_it_was(result: Any) -> None:
    payload = {"kind": "tool_return", "result": result}
    assert tool_result.from_output(tool_result.to_output(payload)) == payload


@pytest.mark.parametrize("kind", ["model_retry", "tool_failed", "approval_required", "tool_content_result"])
def test_what_is_no_plain_result_is_marked_as_such(kind: str) -> None:
    payload = {"kind": kind, "message": "m"}
    output = tool_result.to_output(payload)
    assert list(output) == ["$pydantic_ai"]
    assert tool_result.from_output(output) == payload


def _said(when: datetime, run_id: str, ident: str) -> list[ModelMessage]:
    return [
        ModelRequest(parts=[UserPromptPart("hi", timestamp=when)], timestamp=when, run_id=run_id),
        ModelResponse(parts=[ToolCallPart("look", {"timestamp": 1}, ident)], timestamp=when, run_id=run_id),
        ModelRequest(parts=[ToolReturnPart("look", "seen", ident, timestamp=when)], run_id=run_id),
    ]


def test_times_and_ids_of_a_replay_are_not_hashed_and_all_that_a_model_sees_is() -> None:
    tool = ToolDefinition(
        name="look", parameters_json_schema={"type": "object"}, description="Looks.", metadata={"a": object()}
    )
    parameters = ModelRequestParameters(function_tools=[tool])
    first = _said(datetime(2020, 1, 1, tzinfo=UTC), "one", "pyd_ai_1")
    second = _said(datetime(2021, 1, 1, tzinfo=UTC), "two", "pyd_ai_2")
    hashed = fingerprint.model_request(first, {"temperature": 0.5}, parameters)
    assert hashed == fingerprint.model_request(second, {"temperature": 0.5}, parameters)
    unseen = replace(parameters, function_tools=[replace(tool, metadata=None, kind="unapproved")])
    assert hashed == fingerprint.model_request(first, {"temperature": 0.5}, unseen)
    seen = replace(parameters, function_tools=[replace(tool, description="Looks away.")])
    real = _said(datetime(2020, 1, 1, tzinfo=UTC), "one", "call_1")
    others = {
        fingerprint.model_request(first, {"temperature": 0.6}, parameters),
        fingerprint.model_request(first[:2], {"temperature": 0.5}, parameters),
        fingerprint.model_request(first, {"temperature": 0.5}, seen),
        fingerprint.model_request(real, {"temperature": 0.5}, parameters),
    }
    assert hashed not in others
    assert len(others) == 4


@pytest.mark.parametrize(
    ("error", "code", "again"),
    [
        (exceptions.ModelConnectionError("m", "refused"), "model_unavailable", True),
        (exceptions.ModelQuotaExceededError("m", "no money"), "model_refused", False),
        (exceptions.ContentFilterError("no"), "model_refused", False),
        (exceptions.UnexpectedModelBehavior("empty stream"), "model_unavailable", True),
        (httpx2.RemoteProtocolError("cut"), "model_unavailable", True),
    ],
)
def test_failures_of_models(error: Exception, code: str, again: bool) -> None:
    failure = model_step.failure_of(error)
    assert failure is not None
    assert (failure.code, failure.retryable) == (code, again)


def test_an_error_of_somebody_else_is_none_of_the_models() -> None:
    assert model_step.failure_of(KeyError("x")) is None


async def test_the_sdks_own_retries_are_off_also_behind_others() -> None:
    clients = [AsyncOpenAI(base_url="http://127.0.0.1:1/v1", api_key="none") for _ in range(2)]
    models = [OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client)) for client in clients]
    model_step.without_own_retries(FallbackModel(*models))
    assert [client.max_retries for client in clients] == [0, 0]
    for client in clients:
        await client.close()


def test_a_persons_words_may_stand_for_a_models_answer() -> None:
    assert model_step.response_of("hello")["parts"] == [{"part_kind": "text", "content": "hello"}]


def test_importing_what_authors_import_loads_no_model_library() -> None:
    code = (
        "import sys, holdfast_agent; print([name for name in ('pydantic_ai', 'openai', 'mcp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
