"""A thread's messages as a strict provider takes them."""

from __future__ import annotations

from typing import Any

import pydantic_ai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart

from holdfast.errors import AgentFailed
from holdfast_agent import Said
from holdfast_agent.pydantic_ai import durable, messages_of
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, results


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _call(ident: str, name: str = "look") -> dict[str, Any]:
    return {"type": "tool-call", "tool_call_id": ident, "tool_name": name, "input": {"n": 1}}


def _result(ident: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": "tool-result", "tool_call_id": ident, "tool_name": "look", "status": status, **more}


def test_words_and_calls_by_turns() -> None:
    said = [
        Said("system", [_text("Be kind.")]),
        Said("user", [_text("go")]),
        Said("assistant", [_text("Let me see."), _call("c1"), _result("c1", output=3), _text("It is 3.")]),
        Said("assistant", []),
        Said("user", [_text("thanks")]),
    ]
    kinds = [[type(part).__name__ for part in message.parts] for message in messages_of(said)]
    assert kinds == [
        ["SystemPromptPart"],
        ["UserPromptPart"],
        ["TextPart", "ToolCallPart"],
        ["ToolReturnPart"],
        ["TextPart"],
        ["UserPromptPart"],
    ]


@pytest.mark.parametrize(
    ("result", "outcome", "content"),
    [
        (_result("c1", output={"a": 1}), "success", {"a": 1}),
        (_result("c1", output={"$pydantic_ai": {"kind": "model_retry", "message": "again"}}), "failed", "again"),
        (
            _result(
                "c1",
                output={"$pydantic_ai": {"kind": "tool_return", "result": {"kind": "tool-return", "return_value": 7}}},
            ),
            "success",
            7,
        ),
        (_result("c1", "failed", error={"code": "step_error", "message": "no disk"}), "failed", "no disk"),
        (_result("c1", "failed", error={"code": "denied", "message": "too much"}), "denied", "too much"),
        (_result("c1", "cancelled", error={"code": "cancelled", "message": "not run"}), "interrupted", "not run"),
        (_result("c1", "unknown", error={"code": "unknown", "message": "maybe"}), "interrupted", "maybe"),
    ],
)
def test_f61_each_way_in_which_a_call_ended_is_told(result: dict[str, Any], outcome: str, content: Any) -> None:
    assert results(messages_of([Said("assistant", [_call("c1"), result])])) == [("look", outcome, content)]


def test_f61_a_call_without_a_result_is_given_one_and_a_result_without_its_call_is_left_out() -> None:
    messages = messages_of([Said("assistant", [_result("c0", output=1), _call("c1"), _text("so")])])
    [(_, outcome, content)] = results(messages)
    assert outcome == "interrupted"
    assert "nobody knows" in content
    assert [part.content for message in messages for part in message.parts if isinstance(part, TextPart)] == ["so"]


PARTS = st.lists(
    st.one_of(
        st.builds(_text, st.text(max_size=3)),
        st.builds(_call, st.sampled_from("abc")),
        st.builds(_result, st.sampled_from("abcd"), st.sampled_from(["completed", "failed", "unknown", "cancelled"])),
    ),
    max_size=8,
)


@given(st.lists(st.builds(Said, st.sampled_from(["user", "assistant", "system", "tool"]), PARTS), max_size=4))
def test_f61_whatever_was_said_every_call_is_followed_by_its_result_and_nothing_else(said: list[Said]) -> None:
    awaited: list[str] = []
    for message in messages_of(said):
        assert message.parts
        found = [part.tool_call_id for part in message.parts if isinstance(part, ToolReturnPart)]
        assert found == awaited
        assert isinstance(message, ModelRequest) or not awaited
        awaited = [part.tool_call_id for part in message.parts if isinstance(part, ToolCallPart)]
    assert awaited == []


async def test_the_thread_comes_before_what_is_asked() -> None:
    script = Script([["a"], ["b"]])
    agent = durable(pydantic_ai.Agent(script.model()), "x")
    said = [Said("user", [_text("before")]), Said("assistant", [_text("yes")], "incomplete")]
    await attempt(agent, Record(), chat("first", "second"), said=said)
    asked = [
        part.content
        for message in script.asked[0]
        for part in message.parts
        if isinstance(part, UserPromptPart | TextPart)
    ]
    assert asked == ["before", "yes", "first", "second"]
    assert isinstance(script.asked[0][1], ModelResponse)


async def test_an_input_that_ends_with_a_system_message_is_asked_as_it_is() -> None:
    script = Script([["a"]])
    asked = {"messages": [*chat("hello")["messages"], {"role": "system", "content": "Be brief."}]}
    assert (await attempt(durable(pydantic_ai.Agent(script.model()), "x"), Record(), asked)).output == "a"
    # the library frames a system message that is not the first, for models that take none there
    [first, second] = [
        part.content for message in script.asked[0] for part in message.parts if isinstance(part, UserPromptPart)
    ]
    assert first == "hello"
    assert "Be brief." in str(second)


async def test_an_input_that_ends_with_the_assistants_words_asks_nothing() -> None:
    asked = {"messages": [*chat("hello")["messages"], {"role": "assistant", "content": "Hi."}]}
    with pytest.raises(AgentFailed) as failed:
        await attempt(durable(pydantic_ai.Agent(Script([]).model()), "x"), Record(), asked)
    assert failed.value.code == "nothing_asked"
