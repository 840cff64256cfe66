"""An answer that was cut goes on where it was cut, when that is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pydantic_ai
import pytest
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from holdfast_agent import Retry
from holdfast_agent.pydantic_ai import durable
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat

AGAIN = Retry(tries=3, first_delay_s=0, on=())


def _counts_to_five(asked: list[list[ModelMessage]], breaks: int) -> FunctionModel:
    """Says 1 to 5, goes on after a trailing message of its own, and breaks off in the middle so many times."""

    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str]:
        asked.append(messages)
        said = messages[-1].parts[-1].content if isinstance(messages[-1], ModelResponse) else ""  # type: ignore[union-attr]
        assert isinstance(said, str)
        rest = "12345"[len(said) :]
        for number, each in enumerate(rest):
            if len(asked) <= breaks and number == 2:
                raise ModelHTTPError(503, "m", None)
            yield each

    return FunctionModel(stream_function=stream)


async def _count(seamless: bool | None, breaks: int) -> tuple[Any, list[str], list[list[ModelMessage]], Record]:
    asked: list[list[ModelMessage]] = []
    agent = durable(pydantic_ai.Agent(_counts_to_five(asked, breaks)), "x", seamless=seamless, model_retry=AGAIN)
    record = Record()
    ended = await attempt(agent, record, chat("count"))
    again = await attempt(agent, record, chat("count"), number=2)
    assert (again.output, again.backend.done) == (ended.output, [])
    return ended.output, [data["text"] for kind, _, data in ended.backend.events if kind == "text.delta"], asked, record


@pytest.mark.parametrize("breaks", [1, 2])
async def test_it_goes_on_from_what_was_shown_and_the_answer_is_in_one_piece(breaks: int) -> None:
    output, shown, asked, record = await _count(True, breaks)
    assert output == "12345"
    assert shown[-(5 - 2 * breaks) :] == list("12345"[2 * breaks :])
    assert shown[-(5 - 2 * breaks) - 1] == "12345"[: 2 * breaks]
    assert [part.content for part in asked[-1][-1].parts if isinstance(part, TextPart)] == ["12345"[: 2 * breaks]]
    [row] = record.steps("model")
    assert [part["content"] for part in row.output["response"]["parts"]] == ["12345"]


async def test_off_it_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for seamless in (False, None):
        output, shown, asked, _ = await _count(seamless, 1)
        assert (output, "".join(shown)) == ("12345", "12" + "12345")
        assert len(asked[-1]) == 1
    monkeypatch.setenv("HOLDFAST_SEAMLESS", "true")
    _, shown, asked, _ = await _count(None, 1)
    assert len(asked[-1]) == 2
    assert "".join(shown) == "12" + "12" + "345"
