"""Questions of runs: shown, answered once and in their shape, and what follows an answer."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast.bus import names
from holdfast.runs import Outcome
from holdfast.store import stranger
from holdfast_agent.approval import APPROVAL_SCHEMA, approval_question
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.world import World
from tests.support.wait import wait_until

QUESTION = approval_question("send_mail", {"to": "ann"})
APPROVE = {"decision": "approve"}


async def asking(world: World, **asked: Any) -> tuple[str, Hands, UUID]:
    """A run that is about to wait for an approval at position 1: (its id, its owner, the question)."""
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "thinking ")
    question_id = await hands.open("1", "ask", **{"question": QUESTION, "schema": APPROVAL_SCHEMA, **asked})
    return run["id"], hands, question_id


async def answered(world: World, run_id: str, question_id: object, answer: Any) -> tuple[int, dict[str, Any]]:
    body = {"question_id": str(question_id), "answer": answer}
    response = await world.http.post(f"/v1/runs/{run_id}/answer", json=body)
    return response.status_code, dict(response.json())


async def shown(world: World, run_id: str) -> dict[str, Any]:
    return dict((await world.http.get(f"/v1/runs/{run_id}")).json())


async def has_request(world: World, run_id: str) -> bool:
    subject = names.request_subject("default", run_id)
    info = await (await world.nats()).jetstream().stream_info(names.REQUESTS_STREAM, subjects_filter=subject)
    return subject in (info.state.subjects or {})


async def forget_requests(world: World) -> None:
    await (await world.nats()).jetstream().purge_stream(names.REQUESTS_STREAM)


async def test_a_waiting_run_shows_what_it_asks_and_goes_on_with_the_answer(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    assert (await shown(world, run_id))["waiting"] == []  # nobody could answer yet
    assert await hands.suspend() == "waiting"
    run = await shown(world, run_id)
    assert run["status"] == "waiting"
    (wait,) = run["waiting"]
    assert wait.pop("since").endswith("Z")
    assert wait == {
        "kind": "ask",
        "position": "1",
        "question_id": str(question_id),
        "question": QUESTION,
        "schema": APPROVAL_SCHEMA,
        "until": None,
        "child_run_id": None,
    }
    listed = (await world.http.get("/v1/runs", params={"status": "waiting"})).json()["items"]
    assert [each["waiting"][0]["question_id"] for each in listed] == [str(question_id)]
    await forget_requests(world)
    status, after = await answered(world, run_id, question_id, APPROVE)
    assert (status, after["status"], after["waiting"]) == (202, "queued", [])
    assert await has_request(world, run_id)
    steps = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert (steps[1]["status"], steps[1]["output"]) == ("completed", APPROVE)
    heir = await world.claim(run_id, pod="runner-2")
    await heir.finish()
    stream = await world.follow(run_id)
    await stream.until_end()
    assert stream.types[-4:] == ["run.waiting", "run.resumed", "step.completed", "run.completed"]
    assert stream.events[-3].data["reason"] == "answered"


async def test_f57_a_second_answer_is_409_and_the_first_one_holds(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    await hands.suspend()
    assert (await answered(world, run_id, question_id, APPROVE))[0] == 202
    for late in (APPROVE, {"decision": "deny"}):
        status, problem = await answered(world, run_id, question_id, late)
        assert (status, problem["code"]) == (409, "already_answered")
    steps = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert steps[1]["output"] == APPROVE
    await (await world.claim(run_id)).finish()
    status, problem = await answered(world, run_id, question_id, APPROVE)
    assert (status, problem["code"]) == (409, "already_answered")


async def test_f57_of_answers_at_once_one_goes_through(world: World) -> None:
    run_id, hands, question_id = await asking(world, schema=None)
    await hands.suspend()
    answers = await asyncio.gather(*(answered(world, run_id, question_id, n) for n in range(8)))
    statuses = [status for status, _ in answers]
    assert sorted(statuses) == [202] + [409] * 7
    assert {body["code"] for status, body in answers if status == 409} == {"already_answered"}
    steps = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert steps[1]["output"] == statuses.index(202)


async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    await hands.suspend()
    status, problem = await answered(world, run_id, question_id, {"decision": "maybe", "why": 1})
    assert (status, problem["code"]) == (422, "invalid_answer")
    assert {tuple(error["loc"]) for error in problem["errors"]} == {("body", "answer"), ("body", "answer", "decision")}
    for body in ({"answer": APPROVE}, {"question_id": str(question_id)}, {"question_id": "1", "answer": 1}):
        response = await world.http.post(f"/v1/runs/{run_id}/answer", json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), body
    assert (await shown(world, run_id))["status"] == "waiting"
    assert (await answered(world, run_id, question_id, APPROVE))[0] == 202


async def test_an_answer_may_be_null_where_the_question_takes_it(world: World) -> None:
    run_id, hands, question_id = await asking(world, schema={"type": "null"})
    await hands.suspend()
    assert (await answered(world, run_id, question_id, None))[0] == 202


async def test_a_schema_that_cannot_be_used_takes_any_answer(world: World) -> None:
    for schema in ({"type": 7}, {"$ref": "http://127.0.0.1:1/never-fetched.json"}, {}):
        run_id, hands, question_id = await asking(world, schema=schema)
        await hands.suspend()
        assert (await answered(world, run_id, question_id, "fine"))[0] == 202, schema


async def test_an_early_answer_is_tried_again_until_the_suspend_has_committed(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    stream = await world.follow(run_id)
    await hands.tell_waits()
    await stream.until("run.waiting")  # seen a moment before the record has it
    status, problem = await answered(world, run_id, question_id, {"decision": "maybe"})
    assert (status, problem["code"]) == (422, "invalid_answer")  # which needs no waiting
    early = asyncio.create_task(answered(world, run_id, question_id, APPROVE))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.shield(early)
    assert await hands.suspend(tell=False) == "waiting"
    status, run = await early
    assert (status, run["status"]) == (202, "queued")


async def test_an_answer_that_nobody_comes_to_wait_for_is_refused_in_the_end(world: World) -> None:
    run_id, _, question_id = await asking(world)
    early, unknown = await asyncio.gather(
        answered(world, run_id, question_id, APPROVE), answered(world, run_id, uuid4(), APPROVE)
    )
    assert (early[0], early[1]["code"]) == (409, "not_waiting_yet")
    assert (unknown[0], unknown[1]["code"]) == (404, "question_not_found")


async def test_an_answer_to_a_run_that_has_ended_is_409(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    await hands.suspend()
    assert (await world.http.post(f"/v1/runs/{run_id}/cancel")).json()["status"] == "cancelled"
    for asked in (question_id, uuid4()):
        status, problem = await answered(world, run_id, asked, APPROVE)
        assert (status, problem["code"]) == (409, "run_ended")
    assert (await shown(world, run_id))["waiting"] == []
    assert (await answered(world, str(uuid4()), question_id, APPROVE))[1]["code"] == "run_not_found"


async def test_a_timer_is_shown_and_takes_no_answer(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    question_id = await hands.open("0", "sleep", seconds=3600.0)
    await hands.suspend()
    (wait,) = (await shown(world, run["id"]))["waiting"]
    assert (wait["kind"], wait["question"]) == ("sleep", None)
    assert wait["until"] > wait["since"]
    status, problem = await answered(world, run["id"], question_id, 1)
    assert (status, problem["code"]) == (422, "not_a_question")


async def unknown(world: World) -> tuple[str, UUID]:
    """A run that waits to be told what became of a tool call that its first owner died in."""
    run = await world.submit()
    first = await world.claim(run["id"])
    await first.begin_step("0", kind="tool", call_id="call-1", input={"to": "ann"}, code_version="v1")
    at_work = (await world.http.get(f"/v1/runs/{run['id']}/steps")).json()["items"][0]
    assert (at_work["status"], at_work["unknown"]) == ("started", False)
    await stranger.reclaim(world.db, first.lease.owner, [(first.lease.run_id, first.lease.attempt)])
    hands = await world.claim(run["id"], pod="runner-2")
    question_id = await hands.open("0", "unknown", question={"type": "unknown"}, schema={})
    await hands.suspend()
    return run["id"], question_id


async def test_f51_a_step_of_unknown_outcome_is_shown_as_that(world: World) -> None:
    run_id, _ = await unknown(world)
    step = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"][0]
    assert (step["status"], step["unknown"], step["finished_at"]) == ("started", True, None)
    assert (step["call_id"], step["input"], step["code_version"]) == ("call-1", {"to": "ann"}, "v1")
    assert step["errors"] == []


OUTCOMES: list[tuple[dict[str, Any], str, Any, str | None]] = [
    ({"outcome": "done", "result": {"id": 7}}, "completed", {"id": 7}, None),
    ({"outcome": "done", "result": None}, "completed", None, None),
    ({"outcome": "retry"}, "retry", None, None),
    ({"outcome": "fail", "message": "it bounced"}, "failed", None, "it bounced"),
]


async def test_f51_a_person_says_what_became_of_a_step_of_unknown_outcome(world: World) -> None:
    for answer, status, output, message in OUTCOMES:
        run_id, question_id = await unknown(world)
        said, run = await answered(world, run_id, question_id, answer)
        assert (said, run["status"]) == (202, "queued"), answer
        step = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"][0]
        assert (step["status"], step["output"], step["unknown"]) == (status, output, False), answer
        assert (step["error"] or {}).get("message") == message
    assert step["error"]["code"] == "unknown_outcome"


async def test_f51_an_outcome_that_is_none_is_refused(world: World) -> None:
    run_id, question_id = await unknown(world)
    for answer in ("done", None, {}, {"outcome": "done"}, {"outcome": "undone"}, {"outcome": "retry", "result": 1}):
        said, problem = await answered(world, run_id, question_id, answer)
        assert (said, problem["code"]) == (422, "invalid_answer"), answer
        assert all(error["loc"][:2] == ["body", "answer"] for error in problem["errors"])
    assert (await shown(world, run_id))["status"] == "waiting"


async def test_a_result_by_hand_cannot_have_the_runner_make_types(world: World) -> None:
    run_id, question_id = await unknown(world)
    tagged = {"outcome": "done", "result": [{"price": {"$holdfast": "enum", "type": "antigravity:X", "name": "A"}}]}
    status, problem = await answered(world, run_id, question_id, tagged)
    assert (status, problem["code"]) == (422, "invalid_answer")
    assert "$holdfast" in problem["detail"]


async def test_an_answer_does_not_disturb_a_run_that_something_else_has_woken(world: World) -> None:
    run_id, hands, question_id = await asking(world)
    await hands.open("2", "sleep", seconds=0.01)
    await hands.suspend()

    async def woken() -> bool:
        await stranger.wake(world.db, run_ids=[hands.lease.run_id], limit=1)
        return str((await shown(world, run_id))["status"]) == "queued"

    await wait_until(woken, description="the timer has woken the run")
    heir = await world.claim(run_id, pod="runner-2")
    (wait,) = (await shown(world, run_id))["waiting"]
    assert wait["question_id"] == str(question_id)  # it can be answered while the run works on
    status, run = await answered(world, run_id, question_id, APPROVE)
    assert (status, run["status"], run["run_owner_pod"]) == (202, "running", "runner-2")
    await heir.finish(Outcome.COMPLETED)
