"""The mock model as its callers meet it: its own process, and the openai library on the other side."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from holdfast_local.child import Child
from holdfast_local.ports import free_ports
from tests.support.wait import wait_until


@dataclass(frozen=True)
class Mock:
    url: str
    process: Child

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=10)

    async def calls(self) -> dict[str, Any]:
        async with httpx2.AsyncClient() as client:
            answer: dict[str, Any] = (await client.get(f"{self.url}/calls")).json()
            return answer

    async def post(self, **body: object) -> httpx2.Response:
        async with httpx2.AsyncClient() as client:
            return await client.post(f"{self.url}/v1/chat/completions", json=body)


@pytest.fixture
async def mock(tmp_path: Path) -> AsyncIterator[Mock]:
    port = free_ports(1)[0]
    process = Child(
        [sys.executable, "-m", "holdfast_local.mock_model"],
        log_path=tmp_path / "mock.log",
        env={**os.environ, "HOLDFAST_MOCK_PORT": str(port)},
    )
    mock = Mock(f"http://127.0.0.1:{port}", process)

    def ready() -> bool:
        try:
            return httpx2.get(f"{mock.url}/readyz").is_success
        except httpx2.TransportError:
            return False

    await wait_until(ready, description="the mock model to serve")
    yield mock
    process.kill()


def _user(text: str) -> Any:
    return {"role": "user", "content": text}


async def _streamed(mock: Mock, text: str, **options: Any) -> list[Any]:
    stream = await mock.client().chat.completions.create(model="mock", messages=[_user(text)], stream=True, **options)
    return [chunk async for chunk in stream]


async def test_streaming_and_usage(mock: Mock) -> None:
    before_ms = time.time() * 1000
    chunks = await _streamed(mock, "hello there stamp", stream_options={"include_usage": True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "chunk-1@1 chunk-2@1 chunk-3@1 chunk-4@1 chunk-5@1 "
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 5)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    _, called_ms, call = chunks[0].id.split("-")
    assert call == "1"
    assert before_ms - 1 <= int(called_ms) <= time.time() * 1000


async def test_without_usage_asked_for_there_is_none(mock: Mock) -> None:
    chunks = await _streamed(mock, "hello")
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_not_streaming(mock: Mock) -> None:
    done = await mock.client().chat.completions.create(model="some-model", messages=[_user("many:2 stamp")])
    assert done.choices[0].message.content == "chunk-1@1 chunk-2@1 "
    assert done.choices[0].finish_reason == "stop"
    assert done.model == "some-model"
    assert done.usage is not None
    assert done.usage.total_tokens == 4


async def test_slow_takes_its_time_and_arrives_piece_by_piece(mock: Mock) -> None:
    started = time.monotonic()
    stream = await mock.client().chat.completions.create(model="mock", messages=[_user("slow:4x100")], stream=True)
    arrived = [time.monotonic() - started async for chunk in stream if chunk.choices[0].delta.content]
    assert len(arrived) == 4
    assert arrived[0] < 0.3
    assert arrived[-1] - arrived[0] >= 0.25


async def test_tools_are_asked_for_and_answered_after_their_results(mock: Mock) -> None:
    client = mock.client()
    text = 'tool:add({"a": 1, "b": 2}) tool:look({"where": "here"})'
    chunks = await _streamed(mock, text)
    arguments = {0: "", 1: ""}
    names: dict[int, str] = {}
    idents: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            names.setdefault(call.index, call.function.name)
            idents.setdefault(call.index, call.id)
            arguments[call.index] += call.function.arguments
    assert names == {0: "add", 1: "look"}
    assert arguments == {0: '{"a": 1, "b": 2}', 1: '{"where": "here"}'}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

    asked = await client.chat.completions.create(model="mock", messages=[_user(text)])
    message = asked.choices[0].message
    assert asked.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    conversation: Any = [_user(text), message.model_dump(exclude_none=True)]
    with pytest.raises(openai.BadRequestError, match="did not have response messages"):
        await client.chat.completions.create(model="mock", messages=conversation)

    conversation += [{"role": "tool", "tool_call_id": call.id, "content": "3"} for call in message.tool_calls]
    answered = await client.chat.completions.create(model="mock", messages=conversation)
    assert (answered.choices[0].message.content or "").startswith("chunk-1 ")

    again = await client.chat.completions.create(model="mock", messages=[*conversation, _user(text)])
    assert again.choices[0].finish_reason == "tool_calls"


async def test_calls_side_by_side_and_turn_by_turn_with_words_before_them(mock: Mock) -> None:
    """As a real one streams them: each call by its index, the id and the name only in its first chunk."""
    text = 'talk many:2 tool:a({"n": 1}) tool:a({"n": 2}) then tool:b({})'
    chunks = [chunk.choices[0].delta for chunk in await _streamed(mock, text)]
    assert "".join(delta.content or "" for delta in chunks) == "chunk-1 chunk-2 "
    heads = [call for delta in chunks for call in delta.tool_calls or [] if call.id]
    assert [(call.index, call.function.name) for call in heads] == [(0, "a"), (1, "a")]
    assert len({call.id for call in heads}) == 2

    conversation: Any = [_user(text)]
    asked: list[list[str]] = []
    for _ in range(3):
        answer = await mock.client().chat.completions.create(model="mock", messages=conversation)
        message = answer.choices[0].message
        calls = message.tool_calls or []
        asked.append([call.function.name for call in calls if call.type == "function"])
        results = [{"role": "tool", "tool_call_id": call.id, "content": "1"} for call in calls]
        conversation += [message.model_dump(exclude_none=True), *results]
    assert asked == [["a", "a"], ["b"], []]


async def test_a_beginning_of_the_answer_is_gone_on_with(mock: Mock) -> None:
    conversation: Any = [_user("many:4"), {"role": "assistant", "content": "chunk-1 chunk-2 chu"}]
    answer = await mock.client().chat.completions.create(model="mock", messages=conversation)
    assert answer.choices[0].message.content == "nk-3 chunk-4 "
    stream = await mock.client().chat.completions.create(model="mock", messages=conversation, stream=True)
    assert [chunk.choices[0].delta.content async for chunk in stream][:-1] == ["nk-3 ", "chunk-4 "]


async def test_failures(mock: Mock) -> None:
    client = mock.client()
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="mock", messages=[_user("fail:429")])
    with pytest.raises(openai.InternalServerError):
        await _streamed(mock, "fail:503x2")
    with pytest.raises(openai.InternalServerError):
        await _streamed(mock, "fail:503x2")
    assert await _streamed(mock, "fail:503x2")


async def test_fail_after_cuts_the_connection(mock: Mock) -> None:
    received: list[str | None] = []

    async def read() -> None:
        stream = await mock.client().chat.completions.create(
            model="mock", messages=[_user("many:9 fail-after:3")], stream=True
        )
        async for chunk in stream:
            received.append(chunk.choices[0].delta.content)

    with pytest.raises((openai.APIError, httpx2.TransportError)):
        await read()
    assert received == ["chunk-1 ", "chunk-2 ", "chunk-3 "]
    with pytest.raises(httpx2.RemoteProtocolError):
        await mock.post(messages=[_user("fail-after:3")])


async def test_hang_answers_nothing_and_the_server_goes_on(mock: Mock) -> None:
    with pytest.raises(openai.APITimeoutError):
        await mock.client().with_options(timeout=0.3).chat.completions.create(model="mock", messages=[_user("hang")])
    assert await _streamed(mock, "hello")


async def test_calls_are_counted_and_forgotten(mock: Mock) -> None:
    await asyncio.gather(*(_streamed(mock, "one") for _ in range(3)), _streamed(mock, "two"))
    with pytest.raises(openai.APIError):
        await _streamed(mock, "fail:500")
    assert await mock.calls() == {"calls": 5, "by_text": {"one": 3, "two": 1, "fail:500": 1}}
    async with httpx2.AsyncClient() as client:
        assert (await client.delete(f"{mock.url}/calls")).status_code == 204
    assert await mock.calls() == {"calls": 0, "by_text": {}}


async def test_nonsense_is_a_400_that_says_why(mock: Mock) -> None:
    assert (await mock.post(messages=[])).status_code == 400
    assert (await mock.post()).json()["error"]["type"] == "invalid_request_error"
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            f"{mock.url}/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert "parse" in answer.json()["error"]["message"]


async def test_models_are_listed(mock: Mock) -> None:
    assert "mock" in [model.id async for model in mock.client().models.list()]


async def test_sigterm_ends_it_at_once_while_it_streams(mock: Mock) -> None:
    stream = await mock.client().chat.completions.create(model="mock", messages=[_user("slow:100x1000")], stream=True)
    reading = asyncio.ensure_future(anext(aiter(stream)))
    await wait_until(lambda: httpx2.get(f"{mock.url}/calls").json()["calls"] == 1, description="the call to have begun")
    mock.process.signal(signal.SIGTERM)
    assert await asyncio.wait_for(mock.process.exited(), 5) == 0
    with pytest.raises((openai.APIError, httpx2.TransportError)):
        await reading
