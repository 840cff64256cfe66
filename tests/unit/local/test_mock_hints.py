"""The hints that tell the mock model what to do, and the protocol's rules about messages."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_local.mock_model.hints import CHUNKS_MAX, Failure, Plan, ToolRequest, read_hints
from holdfast_local.mock_model.protocol import BadRequest, beginning, check_messages, last_user_text, turns_done


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("hello", Plan()),
        ("slow:30x200", Plan(chunks=30, interval_s=0.2)),
        ("please many:10 stamp", Plan(chunks=10, interval_s=0.05, stamp=True)),
        ("stamps and rubber-stamp change nothing", Plan()),
        ("fail:503", Plan(fail=Failure(503, None))),
        ("fail:429x2 many:1", Plan(chunks=1, interval_s=0.05, fail=Failure(429, 2))),
        ("fail:200 is no failure", Plan()),
        ("fail-after:3", Plan(fail_after=Failure(3, None))),
        ("many:4\nfail-after:3x1", Plan(chunks=4, interval_s=0.05, fail_after=Failure(3, 1))),
        ("hang", Plan(hang=True)),
        ('talk tool:a({})', Plan(talk=True, tools=(ToolRequest("a", "{}"),))),
        ("many:999999", Plan(chunks=CHUNKS_MAX, interval_s=0.05)),
        ('tool:add({"a": 1, "b": [2]})', Plan(tools=(ToolRequest("add", '{"a": 1, "b": [2]}'),))),
        ('tool:a({}) tool:b({"x": ")"}) stamp', Plan(stamp=True, tools=(ToolRequest("a", "{}"), ToolRequest("b", '{"x": ")"}')))),
        ('tool:say({"text": "hang fail:500 stamp"})', Plan(tools=(ToolRequest("say", '{"text": "hang fail:500 stamp"}'),))),
        ("tool:add(not json)", Plan()),
        ('tool:add({"a": 1}', Plan()),
    ],
)  # fmt: skip
def test_hints(text: str, plan: Plan) -> None:
    assert read_hints(text) == plan


def test_chunks_are_numbered_from_1_and_stamped_with_the_call() -> None:
    assert Plan().text(1, 7) == "chunk-1 "
    assert Plan(stamp=True).text(2, 7) == "chunk-2@7 "


def test_a_counted_failure_ends() -> None:
    assert [Failure(500, 2).applies(call) for call in (1, 2, 3)] == [True, True, False]
    assert Failure(500, None).applies(1000)


USER: dict[str, Any] = {"role": "user", "content": "q"}
ASKS: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function"}, {"id": "c2"}],
}


def _result(ident: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "content": "r"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, {"role": "assistant", "content": "a"}, USER],
        [USER, ASKS, _result("c2"), _result("c1")],
        [USER, ASKS, _result("c2"), _result("c1"), USER],
    ],
)
def test_whole_conversations_pass(messages: list[dict[str, Any]]) -> None:
    assert check_messages({"messages": messages}) == messages


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        (None, "at least one message"),
        ([], "at least one message"),
        (["q"], "is not a message"),
        ([{"role": "robot", "content": "q"}], "its role"),
        ([USER, ASKS, _result("c1")], "did not have response messages: c2"),
        ([USER, ASKS, _result("c1"), USER, _result("c2")], "did not have response messages: c2"),
        ([USER, ASKS], "c1, c2"),
        ([USER, _result("c1")], "must be a response to a preceding message"),
        ([USER, ASKS, _result("c1"), _result("c1"), _result("c2")], "must be a response"),
    ],
)
def test_broken_conversations_are_refused(messages: object, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        check_messages({"messages": messages})


def test_the_last_user_message_counts_and_its_parts_are_joined() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "many:2"}, {"type": "text", "text": "stamp"}]}
    assert last_user_text([USER, parts, {"role": "assistant", "content": "x"}]) == "many:2 stamp"
    assert last_user_text("nonsense") == ""


def test_tools_count_as_asked_only_since_the_last_user_message() -> None:
    done: list[dict[str, Any]] = [USER, ASKS, _result("c1"), _result("c2")]
    assert [turns_done([USER]), turns_done(done), turns_done([*done, *done[1:]]), turns_done([*done, USER])] == [
        0,
        1,
        2,
        0,
    ]


def test_tools_behind_a_then_are_asked_for_in_a_later_turn() -> None:
    plan = read_hints('tool:a({}) tool:b({"x": " then "}) then tool:c({}) many:1 then')
    assert [[tool.name for tool in plan.tools_of(turn)] for turn in range(3)] == [["a", "b"], ["c"], []]
    assert read_hints("then and then").tools_of(0) == ()


def test_only_a_trailing_message_of_the_assistant_is_a_beginning() -> None:
    answer = {"role": "assistant", "content": "chunk-1 "}
    assert beginning([USER, answer]) == "chunk-1 "
    assert beginning([USER, answer, USER]) == beginning([USER, ASKS, _result("c1")]) == ""


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        ("", ["chunk-1@7 ", "chunk-2@7 ", "chunk-3@7 "]),
        ("chunk-1@4 ", ["chunk-2@7 ", "chunk-3@7 "]),
        ("chunk-1@4 chunk-2@5 ", ["chunk-3@7 "]),
        ("chunk-1@4 chu", ["nk-2@7 ", "chunk-3@7 "]),
        ("chunk-1@4 chunk-2@4", ["chunk-2@7 ", "chunk-3@7 "]),
        ("chunk-2@4 ", ["chunk-1@7 ", "chunk-2@7 ", "chunk-3@7 "]),
        ("chunk-1 chunk-2 chunk-3 ", []),
        ("something else", ["chunk-1@7 ", "chunk-2@7 ", "chunk-3@7 "]),
    ],
)
def test_an_answer_goes_on_after_its_beginning(said: str, rest: list[str]) -> None:
    assert list(Plan(chunks=3, stamp=True).pieces(7, said)) == rest
