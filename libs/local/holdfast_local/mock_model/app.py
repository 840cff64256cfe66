"""The mock model over HTTP (starlette): counts its calls, then does what the hints say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from holdfast_local.mock_model.hints import Plan, read_hints
from holdfast_local.mock_model.protocol import (
    MODELS,
    Answer,
    BadRequest,
    Json,
    beginning,
    check_messages,
    count_input_tokens,
    error,
    last_user_text,
    turns_done,
    usage,
)

_TEXTS_MAX = 10_000
_TEXT_CHARS_MAX = 2_000
_BODY_BYTES_MAX = 32 * 1024 * 1024
_HANG_MAX_S = 3600.0
_ARGUMENT_FRAGMENT_CHARS = 8


class ConnectionCut(Exception):
    """Raised inside a body, so that the server drops the connection instead of ending the answer."""


class Calls:
    """How often the model was called, in all and by the last user message (cut to 2000 characters)."""

    def __init__(self) -> None:
        self.total = 0
        self.by_text: OrderedDict[str, int] = OrderedDict()

    def count(self, text: str) -> tuple[int, int]:
        """Note one call; its number in all, and with this text, both from 1."""
        key = text[:_TEXT_CHARS_MAX]
        self.total += 1
        self.by_text[key] = self.by_text.get(key, 0) + 1
        self.by_text.move_to_end(key)
        if len(self.by_text) > _TEXTS_MAX:
            self.by_text.popitem(last=False)
        return self.total, self.by_text[key]


class MockModel:
    """One model with counters of its own. Setting ``stopping`` cuts what is still being answered."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._calls = Calls()
        self._stopping = stopping

    async def show_calls(self, _: Request) -> Response:
        """``{"calls": N, "by_text": {last user message: n}}``."""
        return JSONResponse({"calls": self._calls.total, "by_text": dict(self._calls.by_text)})

    async def forget_calls(self, _: Request) -> Response:
        """Count from 0 again."""
        self._calls = Calls()
        return Response(status_code=204)

    async def complete(self, request: Request) -> Response:
        """One chat completion."""
        try:
            body = await _body(request)
            # Counted although it may be refused: what a test asks is how often somebody called.
            text = last_user_text(body.get("messages"))
            call, call_with_text = self._calls.count(text)
            messages = check_messages(body)
        except BadRequest as bad:
            return JSONResponse(error(bad.message, param=bad.param), status_code=400)
        plan = read_hints(text)
        if plan.fail is not None and plan.fail.applies(call_with_text):
            return _failed(plan.fail.value)
        if plan.hang:
            await self._hang(request)
            return _failed(503)
        cuts = plan.fail_after is not None and plan.fail_after.applies(call_with_text)
        plan = replace(
            plan,
            fail_after=plan.fail_after if cuts else None,
            tools=plan.tools_of(turns_done(messages)),
        )
        answer = Answer(call, time.time_ns() // 1_000_000, str(body.get("model") or MODELS[0]))
        tokens = usage(count_input_tokens(messages), len(plan.tools) or plan.chunks)
        if not body.get("stream"):
            return await self._whole(answer, plan, tokens, beginning(messages))
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        frames = self._frames(answer, plan, tokens if wants_usage else None, beginning(messages))
        return StreamingResponse(frames, media_type="text/event-stream", headers={"cache-control": "no-cache"})

    async def _pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ConnectionCut: the server is stopping.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            raise ConnectionCut

    async def _hang(self, request: Request) -> None:
        """Say nothing for as long as the caller listens and the server lives."""
        tasks = {asyncio.create_task(_gone(request)), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait(tasks, timeout=_HANG_MAX_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _whole(self, answer: Answer, plan: Plan, tokens: Json, said: str) -> Response:
        """The answer at once, after the time that streaming it would take."""
        text = "".join(plan.pieces(answer.call, said))
        if plan.tools:
            content = text if plan.talk else None
            message: Json = {"role": "assistant", "content": content, "tool_calls": answer.tool_calls(plan.tools)}
            return JSONResponse(answer.completion(message, finish_reason="tool_calls", tokens=tokens))
        shown = plan.chunks if plan.fail_after is None else min(plan.fail_after.value, plan.chunks)
        if plan.interval_s:
            await self._pause(shown * plan.interval_s)
        done = answer.completion({"role": "assistant", "content": text}, finish_reason="stop", tokens=tokens)
        if plan.fail_after is None:
            return JSONResponse(done)
        return StreamingResponse(_cut(json.dumps(done)), media_type="application/json")

    async def _frames(self, answer: Answer, plan: Plan, tokens: Json | None, said: str) -> AsyncIterator[str]:
        """Server-sent events. With usage asked for, every chunk but the last has ``usage: null``, as the protocol says."""
        sent = 0
        async for chunk in self._chunks(answer, plan, said):
            if plan.fail_after is not None and sent >= plan.fail_after.value:
                raise ConnectionCut
            yield _frame(chunk if tokens is None else {**chunk, "usage": None})
            sent += 1
        if tokens is not None:
            yield _frame(answer.usage_chunk(tokens))
        yield "data: [DONE]\n\n"

    async def _chunks(self, answer: Answer, plan: Plan, said: str) -> AsyncIterator[Json]:
        """The first chunk carries the role and the first words: a client that sees it knows the call."""
        role: Json = {"role": "assistant"}
        if plan.talk or not plan.tools:
            for piece in plan.pieces(answer.call, said):
                if plan.interval_s:
                    await self._pause(plan.interval_s)
                yield answer.chunk({**role, "content": piece})
                role = {}
        if plan.tools:
            for chunk in self._asked_chunks(answer, plan, {**role, "content": None} if role else {}):
                yield chunk
        yield answer.chunk({}, finish_reason="tool_calls" if plan.tools else "stop")

    def _asked_chunks(self, answer: Answer, plan: Plan, role: Json) -> Iterator[Json]:
        """Each call's head with its id and name, then its arguments in fragments."""
        for index, call in enumerate(answer.tool_calls(plan.tools)):
            head = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
            yield answer.chunk({**role, "tool_calls": [head]})
            role = {}
            arguments = call["function"]["arguments"]
            for start in range(0, len(arguments), _ARGUMENT_FRAGMENT_CHARS):
                fragment = arguments[start : start + _ARGUMENT_FRAGMENT_CHARS]
                yield answer.chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})


def build(stopping: asyncio.Event) -> Starlette:
    """The application around a new model."""
    model = MockModel(stopping)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", model.complete, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/calls", model.show_calls, methods=["GET"]),
            Route("/calls", model.forget_calls, methods=["DELETE"]),
            Route("/healthz", _healthy),
            Route("/readyz", _healthy),
        ]
    )


async def _models(_: Request) -> Response:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "holdfast"} for name in MODELS]
    return JSONResponse({"object": "list", "data": data})


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _failed(status: int) -> Response:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse(error(f"failing with {status}, as told", kind=kind), status_code=status)


async def _body(request: Request) -> Json:
    if int(request.headers.get("content-length") or 0) > _BODY_BYTES_MAX:
        raise BadRequest(f"the request is larger than {_BODY_BYTES_MAX} bytes")
    try:
        body = json.loads(await request.body())
    except ValueError as bad:
        raise BadRequest("We could not parse the JSON body of your request.") from bad
    if not isinstance(body, dict):
        raise BadRequest("the body has to be a JSON object")
    return body


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cut(text: str) -> AsyncIterator[str]:
    yield text[: len(text) // 2]
    raise ConnectionCut


def _frame(chunk: Json) -> str:
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
