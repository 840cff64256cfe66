"""A run's waits as its agent sees them: questions and their types, approvals, sleeps, children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, field_validator

from holdfast.errors import AgentFailed
from holdfast_agent import Approval, ChildFailedError
from holdfast_agent.approval import APPROVAL_SCHEMA, approval_question
from holdfast_agent.backend import ChildEnd
from tests.unit.agent.recorded_types import Address, Word
from tests.unit.agent.scripted_backend import ScriptedBackend, run_over


@dataclass
class Size:
    width: int
    unit: Literal["cm", "in"] = "cm"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    word: Word
    pair: tuple[int, int]

    @field_validator("pair")
    @classmethod
    def rises(cls, pair: tuple[int, int]) -> tuple[int, int]:
        if pair[0] > pair[1]:
            raise ValueError("it falls")
        return pair


async def test_a_question_is_a_text_or_an_object_and_says_what_it_is() -> None:
    backend = ScriptedBackend(answers=["a", None, 3])
    run = run_over(backend)
    assert await run.ask("Which?") == "a"
    assert await run.ask({"text": "Which?", "options": [1]}, schema={"enum": [None]}) is None
    assert await run.ask({"type": "form", "text": "How many?"}) == 3
    assert backend.asked == [
        ("ask", {"type": "question", "text": "Which?"}, None),
        ("ask", {"type": "question", "text": "Which?", "options": [1]}, {"enum": [None]}),
        ("ask", {"type": "form", "text": "How many?"}, None),
    ]


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        (int, 3, 3),
        (Size, {"width": 3}, Size(3)),
        (Address, {"street": "High Street", "zip": "1"}, Address(street="High Street", zip="1")),
        (list[Size], [{"width": 1, "unit": "in"}], [Size(1, "in")]),
        (
            Strict,
            {"day": "2026-01-02", "word": "y", "pair": [1, 2]},
            Strict(day=date(2026, 1, 2), word=Word.YES, pair=(1, 2)),
        ),
    ],
)
async def test_a_type_is_asked_for_by_its_schema_and_given_back(schema: Any, answer: Any, value: Any) -> None:
    backend = ScriptedBackend(answers=[answer])
    assert await run_over(backend).ask("Which?", schema=schema) == value
    [(_, _, wanted)] = backend.asked
    assert wanted is not None
    Draft202012Validator(wanted).validate(answer)


async def test_an_answer_that_its_schema_lets_through_and_its_type_does_not_fails_the_run() -> None:
    backend = ScriptedBackend(answers=[{"day": "2026-01-02", "word": "y", "pair": [2, 1]}])
    with pytest.raises(AgentFailed, match="it falls") as caught:
        await run_over(backend).ask("Which?", schema=Strict)
    assert caught.value.code == "invalid_answer"


async def test_an_approval_has_a_standard_shape() -> None:
    backend = ScriptedBackend(answers=[{"decision": "approve"}])
    approval = await run_over(backend).approve("refund", {"amount": 5}, call_id="c1")
    assert approval == Approval(approved=True, arguments={"amount": 5}, reason="")
    question = {
        "type": "approval", "text": "May refund be called?", "tool": "refund", "arguments": {"amount": 5}, "call_id": "c1",
    }  # fmt: skip
    assert backend.asked == [("approval", question, APPROVAL_SCHEMA)]
    assert approval_question("refund", {}, text="Refund?") == {
        "type": "approval", "text": "Refund?", "tool": "refund", "arguments": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "approval"),
    [
        ({"decision": "approve", "arguments": {"amount": 3}}, Approval(True, {"amount": 3})),
        ({"decision": "approve", "arguments": {}}, Approval(True, {})),
        ({"decision": "deny", "reason": "too much"}, Approval(False, {"amount": 5}, "too much")),
        ({"decision": "deny"}, Approval(False, {"amount": 5})),
    ],
)
async def test_a_person_approves_edits_or_denies(answer: Mapping[str, Any], approval: Approval) -> None:
    Draft202012Validator(APPROVAL_SCHEMA).validate(answer)
    assert await run_over(ScriptedBackend(answers=[answer])).approve("refund", {"amount": 5}) == approval


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"decision": "maybe"},
        {"decision": "approve", "arguments": [1]},
        {"decision": "deny", "why": "x"},
        "approve",
        None,
    ],
)
def test_what_is_no_decision_does_not_fit(answer: Any) -> None:
    assert not Draft202012Validator(APPROVAL_SCHEMA).is_valid(answer)


async def test_a_sleep_has_a_length() -> None:
    backend = ScriptedBackend()
    run = run_over(backend)
    await run.sleep(0)
    await run.sleep(2_592_000)
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="cannot sleep for"):
            await run.sleep(seconds)
    assert backend.slept == [0, 2_592_000]


async def test_a_child_is_sent_plain_json_and_its_output_comes_back() -> None:
    backend = ScriptedBackend(
        ends=[ChildEnd("r1", "completed", {"n": 1}, None), ChildEnd("r2", "completed", None, None)]
    )
    run = run_over(backend)
    assert await run.call("counter", {"to": Size(3), "at": (1, 2)}, metadata={"why": "test"}) == {"n": 1}
    assert await run.call("counter", None) is None
    assert backend.called == [
        ("counter", {"to": {"width": 3, "unit": "cm"}, "at": [1, 2]}, {"why": "test"}),
        ("counter", None, {}),
    ]


async def test_a_child_that_did_not_complete_is_an_error_that_says_how() -> None:
    failed = ChildEnd("r1", "failed", None, {"code": "agent_error", "message": "boom"})
    backend = ScriptedBackend(ends=[failed, ChildEnd("r2", "cancelled", None, None)])
    run = run_over(backend)
    with pytest.raises(ChildFailedError, match=r"child run r1 of 'counter' failed: boom") as caught:
        await run.call("counter", {})
    assert (caught.value.run_id, caught.value.status, caught.value.code) == ("r1", "failed", "child_failed")
    with pytest.raises(ChildFailedError, match=r"child run r2 of 'counter' cancelled$") as caught:
        await run.call("counter", {})
    assert (caught.value.run_id, caught.value.status) == ("r2", "cancelled")


async def test_an_input_that_is_no_json_is_refused_before_there_is_a_child() -> None:
    backend = ScriptedBackend()
    with pytest.raises(AgentFailed, match="the input of child 'counter'") as caught:
        await run_over(backend).call("counter", object())
    assert caught.value.code == "not_json"
    assert backend.called == []


async def test_history_has_a_bound() -> None:
    backend = ScriptedBackend()
    run = run_over(backend)
    assert [said.text for said in await run.history()] == ["before"]
    await run.history(limit=3)
    assert backend.limits == [200, 3]
