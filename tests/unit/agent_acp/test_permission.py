"""Permission requests as approvals."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from holdfast_agent.acp.permission import permission_of, question_of, request_of, schema_of
from holdfast_agent.acp.updates import ToolCall

_CALL = ToolCall("c1", title="Delete all", kind="delete", raw_input={"path": "/"})
_OPTIONS = [
    {"optionId": "a2", "name": "Always", "kind": "allow_always"},
    {"optionId": "a1", "name": "Yes", "kind": "allow_once"},
    {"optionId": "r1", "name": "No", "kind": "reject_once"},
]


def test_the_question_has_the_standard_shape_and_the_options() -> None:
    question = question_of(request_of(_CALL, _OPTIONS))
    assert question["type"] == "approval"
    assert (question["tool"], question["arguments"], question["call_id"]) == ("Delete all", {"path": "/"}, "c1")
    assert [option["id"] for option in question["options"]] == ["a2", "a1", "r1"]


@pytest.mark.parametrize(
    ("answer", "option", "always"),
    [
        ({"decision": "approve"}, "a1", False),
        ({"decision": "approve", "option": "a2"}, "a2", True),
        ({"decision": "deny", "reason": "no"}, "r1", False),
    ],
)
def test_an_answer_selects_an_option(answer: dict[str, Any], option: str, always: bool) -> None:
    request = request_of(_CALL, _OPTIONS)
    Draft202012Validator(schema_of(request)).validate(answer)
    permission = permission_of(request, answer)
    assert (permission.option_id, permission.always) == (option, always)


@pytest.mark.parametrize(
    "answer",
    [
        {"decision": "approve", "option": "r1"},
        {"decision": "deny", "option": "a1"},
        {"decision": "approve", "option": "zz"},
        {"decision": "approve", "arguments": {"path": "/tmp"}},
        {"decision": "maybe"},
        {},
    ],
)
def test_an_answer_that_does_not_fit_is_refused_by_the_schema(answer: dict[str, Any]) -> None:
    schema = schema_of(request_of(_CALL, _OPTIONS))
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid(answer)


def test_without_an_option_to_reject_a_denial_cancels_the_request() -> None:
    request = request_of(_CALL, _OPTIONS[:2])
    assert Draft202012Validator(schema_of(request)).is_valid({"decision": "deny"})
    assert permission_of(request, {"decision": "deny"}).option_id is None


def test_without_an_option_to_allow_nothing_can_be_approved() -> None:
    schema = schema_of(request_of(_CALL, _OPTIONS[2:]))
    assert not Draft202012Validator(schema).is_valid({"decision": "approve"})


def test_a_permission_is_for_the_same_tool_and_input_whatever_the_id() -> None:
    permission = permission_of(request_of(_CALL, _OPTIONS), {"decision": "approve"})
    assert permission.is_for(ToolCall("other", title="named anew", kind="delete", raw_input={"path": "/"}))
    assert not permission.is_for(ToolCall("c1", title="Delete all", kind="delete", raw_input={"path": "/tmp"}))
