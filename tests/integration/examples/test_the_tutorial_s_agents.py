"""Each agent of the tutorial does what the tutorial says: on a calm day, and with its runner killed in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.examples.desk import Desk
from tests.support.viewer import Viewer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


def viewer_of(desk: Desk, run_id: str) -> tuple[Viewer, asyncio.Task[None]]:
    """Follow a run."""
    viewer = Viewer(desk.stack.url, run_id)
    return viewer, asyncio.create_task(viewer.follow())


async def last_message(desk: Desk, run: dict[str, Any]) -> dict[str, Any]:
    """The newest message of a run's thread."""
    answer = await desk.stack.http.get(f"{desk.stack.url()}/v1/threads/{run['thread_id']}/messages")
    return dict(answer.json()["items"][-1])


# -- hello ---------------------------------------------------------------------------------------------------------------


async def test_hello_says_hello(desk: Desk) -> None:
    run = await desk.completed(await desk.submit("hello", "Ada"))
    assert run["output"] == {"greeted": "Ada"}
    assert (await last_message(desk, run))["parts"] == [{"type": "text", "text": "Hello, Ada!"}]


# -- chat ----------------------------------------------------------------------------------------------------------------


async def test_chat_answers_and_sends_the_model_what_was_said_before(desk: Desk) -> None:
    first = await desk.completed(await desk.submit("chat", "hi"))
    assert first["output"]["text"].startswith("chunk-1 ")
    second = await desk.submit("chat", "and now?", thread=first["thread_id"])
    await desk.completed(second)
    [step] = await desk.steps(second)
    assert (step["kind"], step["name"], step["status"]) == ("model", "answer", "completed")
    answer = await desk.stack.http.get(f"{desk.stack.url()}/v1/threads/{first['thread_id']}/messages")
    assert [each["role"] for each in answer.json()["items"]] == ["user", "assistant"] * 2


async def test_chat_tries_a_busy_model_again(desk: Desk) -> None:
    run_id = await desk.submit("chat", "fail:503x2 busy")
    await desk.completed(run_id)
    [step] = await desk.steps(run_id)
    assert step["tries"] == 3
    assert [error["try"] for error in step["errors"]] == [1, 2]


@pytest.mark.slow
async def test_chat_killed_in_the_middle_of_an_answer_is_one_answer(desk: Desk) -> None:
    run_id = await desk.submit("chat", "many:60 stamp once more")
    viewer, following = viewer_of(desk, run_id)
    await viewer.until("text.delta", count=10)
    await desk.replace()
    run = await desk.completed(run_id)
    await following
    assert run["attempt"] == 2
    assert viewer.fold.text == run["output"]["text"]
    assert len({piece.partition("@")[2] for piece in viewer.fold.text.split()}) == 1
    assert len(viewer.fold.text.split()) == 60


# -- ledger --------------------------------------------------------------------------------------------------------------

RATES = '{"USD": "0.50"}'


async def test_ledger_waits_for_the_rate_and_books_once(desk: Desk) -> None:
    run_id = await desk.submit("ledger", "12.50 USD")
    viewer, following = viewer_of(desk, run_id)
    await viewer.until("step.failed", count=2)
    desk.write("rates.json", RATES)
    run = await desk.completed(run_id)
    await following
    assert run["output"] == {"euros": "6.2500"}
    assert desk.lines("ledger.txt") == [f"{run_id}/1 12.50 USD = 6.2500 EUR"]
    rate, line = await desk.steps(run_id)
    assert rate["tries"] >= 3
    assert {error["code"] for error in rate["errors"]} == {"step_error"}
    assert rate["output"] == {"$holdfast": "decimal", "value": "0.50"}
    assert (line["tries"], line["errors"]) == (1, [])
    assert all(event.data["will_retry"] for _, event in viewer.events if event.type == "step.failed")


async def test_ledger_fails_at_once_where_no_other_try_would_help(desk: Desk) -> None:
    desk.write("rates.json", RATES)
    run_id = await desk.submit("ledger", "1 XYZ")
    run = await desk.stack.until_status(run_id, "failed")
    assert run["error"] == {"code": "no_rate", "message": "there is no rate for XYZ"}
    [rate] = await desk.steps(run_id)
    assert (rate["status"], rate["tries"]) == ("failed", 1)
    assert desk.lines("ledger.txt") == []


@pytest.mark.slow
async def test_ledger_killed_between_two_tries_goes_on_trying(desk: Desk) -> None:
    run_id = await desk.submit("ledger", "12.50 USD")
    viewer, following = viewer_of(desk, run_id)
    await viewer.until("step.failed")
    await desk.replace()
    await viewer.until("run.resumed", timeout_s=40.0)
    desk.write("rates.json", RATES)
    run = await desk.completed(run_id)
    await following
    assert run["attempt"] == 2
    assert desk.lines("ledger.txt") == [f"{run_id}/1 12.50 USD = 6.2500 EUR"]


@pytest.mark.slow
@pytest.mark.parametrize("done", [True, False], ids=["it was done", "it was not done"])
async def test_f51_ledger_killed_in_the_middle_of_the_line_asks_whether_it_stands_there(desk: Desk, done: bool) -> None:
    desk.write("rates.json", RATES)
    desk.block("ledger.txt")
    run_id = await desk.submit("ledger", "12.50 USD")
    await desk.until_begun(run_id, "write line")
    desk.dismiss()
    desk.unblock("ledger.txt")
    line = f"{run_id}/1 12.50 USD = 6.2500 EUR"
    if done:
        desk.write("ledger.txt", f"{line}\n")
    await desk.hire()
    wait = await desk.asked(run_id, "unknown")
    assert wait["question"]["step"]["name"] == "write line"
    assert [step["unknown"] for step in await desk.steps(run_id)] == [False, True]
    assert await desk.answer(run_id, wait, {"outcome": "done"}) == 422
    answer = {"outcome": "done", "result": line} if done else {"outcome": "retry"}
    assert await desk.answer(run_id, wait, answer) == 202
    assert await desk.answer(run_id, wait, answer) == 409
    run = await desk.completed(run_id)
    assert desk.lines("ledger.txt") == [line]
    assert (await last_message(desk, run))["parts"] == [{"type": "text", "text": f"Booked: {line}"}]
    assert [step["tries"] for step in await desk.steps(run_id)] == [1, 1 if done else 2]


# -- quotes --------------------------------------------------------------------------------------------------------------


async def test_quotes_asks_all_shops_at_once(desk: Desk) -> None:
    run_id = await desk.submit("quotes", "", input={"item": "lamp"})
    viewer, following = viewer_of(desk, run_id)
    run = await desk.completed(run_id)
    await following
    assert run["output"] == {"shop": "south", "cents": 415}
    told = [event.data for _, event in viewer.events if event.type == "custom"]
    assert [each["data"]["shop"] for each in told] == ["north", "south", "harbour"]
    assert [step["position"] for step in await desk.steps(run_id)] == ["0.0", "0.1", "0.2"]
    assert viewer.types().index("step.completed") > max(
        n for n, event_type in enumerate(viewer.types()) if event_type == "step.started"
    )


async def test_quotes_refuses_what_its_schema_does_not_allow(desk: Desk) -> None:
    body = {"agent": "quotes", "input": {"thing": "lamp"}}
    answer = await desk.stack.http.post(f"{desk.stack.url()}/v1/runs", json=body)
    assert answer.status_code == 422


@pytest.mark.slow
async def test_quotes_killed_while_all_shops_are_asked_asks_again(desk: Desk) -> None:
    run_id = await desk.submit("quotes", "", input={"item": "lamp"})
    viewer, following = viewer_of(desk, run_id)
    await viewer.until("step.started", count=3)
    await desk.replace()
    run = await desk.completed(run_id)
    await following
    assert (run["attempt"], run["output"]) == (2, {"shop": "south", "cents": 415})
    assert [step["tries"] for step in await desk.steps(run_id)] == [2, 2, 2]


# -- refund --------------------------------------------------------------------------------------------------------------


async def test_refund_pays_what_a_person_approves(desk: Desk) -> None:
    run_id = await desk.submit("refund", "900")
    wait = await desk.asked(run_id, "ask")
    assert (wait["question"]["type"], wait["question"]["arguments"]) == ("approval", {"cents": 900})
    assert await desk.answer(run_id, wait, "yes") == 422
    assert await desk.answer(run_id, wait, {"decision": "approve", "arguments": {"cents": 800}}) == 202
    assert (await desk.asked(run_id, "sleep"))["until"] is not None
    assert desk.lines("paid_back.txt") == []
    run = await desk.completed(run_id)
    assert run["output"] == {"cents": 800}
    assert desk.lines("paid_back.txt") == ["800"]
    assert (await last_message(desk, run))["parts"][0]["text"].startswith("Done: paid back 800 cents, on ")


async def test_refund_denied_pays_nothing(desk: Desk) -> None:
    run_id = await desk.submit("refund", "900")
    wait = await desk.asked(run_id, "ask")
    assert await desk.answer(run_id, wait, {"decision": "deny", "reason": "worn"}) == 202
    run = await desk.completed(run_id)
    assert (run["output"], desk.lines("paid_back.txt")) == ({"cents": 0}, [])
    assert (await last_message(desk, run))["parts"] == [{"type": "text", "text": "Not paid back: worn."}]


@pytest.mark.slow
async def test_refund_does_not_pay_more_than_was_asked_for(desk: Desk) -> None:
    run_id = await desk.submit("refund", "900")
    wait = await desk.asked(run_id, "ask")
    assert await desk.answer(run_id, wait, {"decision": "approve", "arguments": {"cents": 901}}) == 202
    run = await desk.stack.until_status(run_id, "failed")
    assert run["error"]["code"] == "too_much"
    assert desk.lines("paid_back.txt") == []


@pytest.mark.slow
async def test_refund_loses_its_runner_at_every_wait_and_in_the_payment(desk: Desk) -> None:
    desk.block("paid_back.txt")
    run_id = await desk.submit("refund", "900")
    wait = await desk.asked(run_id, "ask")
    desk.dismiss()
    assert await desk.answer(run_id, wait, {"decision": "approve"}) == 202
    await desk.hire()
    await desk.asked(run_id, "sleep")
    desk.dismiss()
    await desk.hire()
    await desk.until_begun(run_id, "pay back")
    desk.dismiss()
    desk.unblock("paid_back.txt")
    await desk.hire()
    wait = await desk.asked(run_id, "unknown")
    assert await desk.answer(run_id, wait, {"outcome": "retry"}) == 202
    run = await desk.completed(run_id)
    assert (run["output"], desk.lines("paid_back.txt")) == ({"cents": 900}, ["900"])


# -- order ---------------------------------------------------------------------------------------------------------------


async def _up_to_the_parcel(desk: Desk) -> str:
    """An order whose two questions are answered."""
    run_id = await desk.submit("order", "lamp")
    wait = await desk.asked(run_id, "ask")
    assert wait["question"]["arguments"] == {"shop": "south", "cents": 415}
    assert await desk.answer(run_id, wait, {"decision": "approve"}) == 202
    wishes = await desk.asked(run_id, "ask")
    assert await desk.answer(run_id, wishes, {"size": "XXL"}) == 422
    assert await desk.answer(run_id, wishes, {"size": "M", "gift": True}) == 202
    return run_id


def _fits(desk: Desk, run: dict[str, Any]) -> None:
    """One payment, one label, and an output that names them."""
    parcel = run["output"]["bought"]
    assert parcel == {"number": parcel["number"], "item": "lamp", "wishes": {"size": "M", "gift": True}}
    assert run["output"]["label"] == f"{parcel['number']}.label"
    assert desk.lines(run["output"]["label"]) == ["lamp, M"]
    assert [path.name for path in desk.folder.glob("*.label")] == [run["output"]["label"]]
    assert desk.lines("payments.txt") == [f"{run['id']}/3.0 south 415"]


@pytest.mark.slow
async def test_order_uses_all_of_it(desk: Desk) -> None:
    run_id = await _up_to_the_parcel(desk)
    run = await desk.completed(run_id)
    _fits(desk, run)
    steps = [(step["position"], step["kind"], step["name"]) for step in await desk.steps(run_id)]
    assert steps == [
        ("0", "child", "quotes"),
        ("1", "ask", "approval"),
        ("2", "ask", "ask"),
        ("3.0", "tool", "pay"),
        ("3.1", "tool", "print label"),
        ("4", "sleep", "sleep"),
        ("5", "model", "thank"),
    ]
    listed = (await desk.stack.http.get(f"{desk.stack.url()}/v1/runs?agent=quotes")).json()["items"]
    assert [each["status"] for each in listed if each["parent_run_id"] == run_id] == ["completed"]


@pytest.mark.slow
async def test_order_killed_in_the_middle_of_the_payment_pays_once(desk: Desk) -> None:
    desk.block("payments.txt")
    run_id = await _up_to_the_parcel(desk)
    await desk.until_begun(run_id, "pay")
    desk.dismiss()
    desk.unblock("payments.txt")
    desk.write("payments.txt", f"{run_id}/3.0 south 415\n")
    await desk.hire()
    wait = await desk.asked(run_id, "unknown")
    assert wait["question"]["step"]["input"] == ["south", 415]
    assert await desk.answer(run_id, wait, {"outcome": "done", "result": "415 cents to south"}) == 202
    run = await desk.completed(run_id)
    _fits(desk, run)
    assert run["output"]["paid"] == "415 cents to south"


@pytest.mark.slow
async def test_order_cancelled_takes_its_child_with_it(desk: Desk) -> None:
    run_id = await desk.submit("order", "lamp")
    child = (await desk.asked(run_id, "child"))["child_run_id"]
    answer = await desk.stack.http.post(f"{desk.stack.url()}/v1/runs/{run_id}/cancel")
    assert answer.status_code == 202
    for each in (run_id, child):
        assert (await desk.stack.until_status(each, "cancelled", "completed"))["status"] == "cancelled"
