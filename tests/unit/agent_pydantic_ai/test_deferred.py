"""Approvals and results from outside: asked for while the run waits, and gone on with by replay."""

from __future__ import annotations

from typing import Any

import pydantic_ai
import pytest
from pydantic_ai import CallDeferred
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.tools import DeferredToolRequests

from holdfast_agent import Agent
from holdfast_agent.pydantic_ai import durable
from tests.unit.agent_pydantic_ai.memory_backend import Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results

PAYMENTS: list[list[Any]] = [
    [
        call(0, "pay", '{"to": "ann", "cents": 5}', "c1"),
        call(1, "pay", '{"to": "bob", "cents": 7}', "c2"),
        call(2, "look", "{}", "c3"),
    ],
    ["That is it."],
]


def _cashier(**options: Any) -> tuple[Agent, Script, list[tuple[str, int]]]:
    """An agent that pays twice, with approval, and looks once, without; what was paid."""
    script = Script(PAYMENTS)
    agent = pydantic_ai.Agent(script.model(), **options)
    paid: list[tuple[str, int]] = []

    @agent.tool_plain(requires_approval=True)
    async def pay(to: str, cents: int) -> str:  # no thread, which would outlive an attempt that is killed here
        paid.append((to, cents))
        return f"paid {to}"

    @agent.tool_plain
    def look() -> str:
        return "seen"

    return durable(agent, "cashier"), script, paid


async def test_calls_that_need_approval_are_asked_for_all_at_once_after_the_others_are_done() -> None:
    agent, _, paid = _cashier()
    record = Record()
    assert (await attempt(agent, record, chat("pay"))).how == "suspended"
    assert paid == []
    assert [row.spec.name for row in record.steps("tool")] == ["look"]
    assert list(record.questions.values()) == [
        {
            "type": "approval",
            "text": "May pay be called?",
            "tool": "pay",
            "arguments": {"to": to, "cents": cents},
            "call_id": ident,
        }
        for to, cents, ident in (("ann", 5, "c1"), ("bob", 7, "c2"))
    ]


async def test_what_is_approved_is_done_once_and_what_is_denied_is_told_with_its_reason() -> None:
    agent, script, paid = _cashier()
    record = Record()
    await attempt(agent, record, chat("pay"))
    record.answer_all({"decision": "approve"}, {"decision": "deny", "reason": "too much"})
    for number in (2, 3):
        assert (await attempt(agent, record, chat("pay"), number=number)).output == "That is it."
    assert paid == [("ann", 5)]
    assert sorted(results(script.asked[-1])) == [
        ("look", "success", "seen"),
        ("pay", "denied", "too much"),
        ("pay", "success", "paid ann"),
    ]
    denied = next(row for row in record.steps("tool") if row.spec.call_id == "c2")
    assert (denied.status, denied.error and (denied.error.code, denied.error.message)) == (
        "failed",
        ("denied", "too much"),
    )


async def test_edited_arguments_are_those_that_the_tool_is_called_with() -> None:
    agent, script, paid = _cashier()
    record = Record()
    await attempt(agent, record, chat("pay"))
    edited = {"decision": "approve", "arguments": {"to": "ann", "cents": 1}}
    record.answer_all(edited, {"decision": "deny"})
    await attempt(agent, record, chat("pay"), number=2)
    assert paid == [("ann", 1)]
    assert ("pay", "denied", "The tool call was denied.") in results(script.asked[-1])


@pytest.mark.parametrize("output_type", [str, [str, DeferredToolRequests]])
async def test_it_is_asked_whether_or_not_the_agents_output_type_says_that_it_defers(output_type: Any) -> None:
    agent, _, paid = _cashier(output_type=output_type)
    record = Record()
    assert (await attempt(agent, record, chat("pay"))).how == "suspended"
    record.answer_all({"decision": "approve"}, {"decision": "approve"})
    assert (await attempt(agent, record, chat("pay"), number=2)).output == "That is it."
    assert sorted(paid) == [("ann", 5), ("bob", 7)]


async def test_f50_killed_at_every_write_around_an_approval_nothing_is_paid_twice() -> None:
    agent, _, _ = _cashier()
    record = Record()
    await attempt(agent, record, chat("pay"))
    record.answer_all({"decision": "approve"}, {"decision": "approve"})
    writes = (await attempt(agent, record, chat("pay"), number=2)).backend.writes
    for kill_at in range(1, writes + 1):
        agent, _, paid = _cashier()
        record = Record()
        await attempt(agent, record, chat("pay"))
        record.answer_all({"decision": "approve"}, {"decision": "approve"})
        await attempt(agent, record, chat("pay"), number=2, kill_at=kill_at)
        finished = [row.spec.call_id for row in record.steps("tool") if row.status == "completed"]
        before = len(paid)
        assert (await attempt(agent, record, chat("pay"), number=3)).output == "That is it."
        assert len(paid) - before == 3 - len(finished)


async def test_a_tool_that_asks_for_approval_itself_is_called_again_with_it() -> None:
    script = Script([[call(0, "remove", '{"path": "/etc"}', "c1")], ["gone"]])
    agent = pydantic_ai.Agent(script.model())
    seen: list[bool] = []

    @agent.tool
    def remove(ctx: pydantic_ai.RunContext[object], path: str) -> str:
        seen.append(ctx.tool_call_approved)
        if not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"reason": f"{path} matters."})
        return "removed"

    wrapped, record = durable(agent, "x"), Record()
    await attempt(wrapped, record, chat("go"))
    [question] = record.questions.values()
    assert question["text"] == "May remove be called? /etc matters."
    record.answer_all({"decision": "approve"})
    for number in (2, 3):
        assert (await attempt(wrapped, record, chat("go"), number=number)).output == "gone"
    assert seen == [False, True]
    assert [row.output for row in record.steps("tool")][-1] == "removed"


@pytest.mark.parametrize("answer", ["42", {"kind": "odd", "n": [1]}, None])
async def test_a_result_from_outside_is_asked_for_and_kept_as_the_calls(answer: Any) -> None:
    script = Script([[call(0, "measure", '{"what": "depth"}', "c1")], ["deep"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    def measure(what: str) -> str:
        raise CallDeferred

    wrapped, record = durable(agent, "x"), Record()
    assert (await attempt(wrapped, record, chat("go"))).how == "suspended"
    [question] = record.questions.values()
    assert question == {
        "type": "tool-result",
        "text": "What is the result of measure?",
        "tool": "measure",
        "arguments": {"what": "depth"},
        "call_id": "c1",
    }
    record.answer_all(answer)
    for number in (2, 3):
        assert (await attempt(wrapped, record, chat("go"), number=number)).output == "deep"
    assert results(script.asked[-1]) == [("measure", "success", answer)]
    assert [row.output for row in record.steps("tool")][-1] == answer


async def test_an_approved_call_may_be_deferred_again() -> None:
    script = Script([[call(0, "order", "{}", "c1")], ["ordered"]])
    agent = pydantic_ai.Agent(script.model(), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def order() -> str:
        raise CallDeferred

    wrapped, record = durable(agent, "x"), Record()
    await attempt(wrapped, record, chat("go"))
    record.answer_all({"decision": "approve"})
    assert (await attempt(wrapped, record, chat("go"), number=2)).how == "suspended"
    record.answer_all("delivered")
    for number in (3, 4):
        assert (await attempt(wrapped, record, chat("go"), number=number)).output == "ordered"
    assert results(script.asked[-1]) == [("order", "success", "delivered")]
