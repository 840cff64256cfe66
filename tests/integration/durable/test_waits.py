"""Runs that wait for others take no slot, and go on as if they had not waited."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.durable.conftest import Waits
from tests.support.viewer import Viewer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def test_f27_parents_leave_their_slot_to_their_children(waits: Waits) -> None:
    run_id = await waits.submit("parent", {"depth": 3})
    run = await waits.stack.until_status(run_id, "completed")
    assert run["output"] == [3, [2, [1, "leaf"]]]
    [call] = await waits.steps(run_id)
    child = await waits.stack.run(call["output"]["run_id"])
    assert (child["status"], child["parent_run_id"]) == ("completed", run_id)


async def test_children_run_side_by_side_with_their_parent_s_own_work(waits: Waits) -> None:
    run_id = await waits.submit("two-children", {})
    run = await waits.stack.until_status(run_id, "completed")
    assert run["output"] == ["leaf", [1, "leaf"], "own"]
    assert [step["position"] for step in await waits.steps(run_id)] == ["0.0", "0.1", "0.2"]


async def test_a_cancel_of_the_parent_cancels_its_child(waits: Waits) -> None:
    run_id = await waits.submit("asks-in-child", {})
    await waits.stack.until_status(run_id, "waiting")
    [wait] = (await waits.stack.run(run_id))["waiting"]
    await waits.question(wait["child_run_id"])
    status, _ = await waits.call("POST", f"/runs/{run_id}/cancel")
    assert status == 202
    await waits.stack.until_status(run_id, "cancelled")
    await waits.stack.until_status(wait["child_run_id"], "cancelled")


async def test_a_question_waits_without_a_slot_and_its_answer_is_heard_once(waits: Waits) -> None:
    run_id = await waits.submit("asks", {})
    viewer = Viewer(waits.stack.url, run_id)
    async with viewer.following():
        question = await waits.question(run_id)
        other = await waits.submit("parent", {"depth": 0})
        await waits.stack.until_status(other, "completed")
        await waits.answer(run_id, True)
        await viewer.until("run.completed")
    run = await waits.stack.run(run_id)
    assert run["output"] == ["before", True, "after"]
    assert waits.counter.calls(run_id) == {"before": 1, "after": 1}
    assert viewer.fold.text == "before; answered True; "
    status, problem = await waits.call(
        "POST", f"/runs/{run_id}/answer", {"question_id": question["question_id"], "answer": False}
    )
    assert (status, problem["code"]) == (409, "already_answered")


async def test_f57_two_people_answer_at_once_and_one_is_heard(waits: Waits) -> None:
    run_id = await waits.submit("asks", {})
    question = await waits.question(run_id)
    answers = await asyncio.gather(
        *(
            waits.call("POST", f"/runs/{run_id}/answer", {"question_id": question["question_id"], "answer": said})
            for said in (True, False)
        )
    )
    assert sorted(status for status, _ in answers) == [202, 409]
    run = await waits.stack.until_status(run_id, "completed")
    assert run["output"][1] is (answers[0][0] == 202)


async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(waits: Waits) -> None:
    run_id = await waits.submit("asks", {})
    question = await waits.question(run_id)
    body = {"question_id": question["question_id"], "answer": "maybe"}
    status, problem = await waits.call("POST", f"/runs/{run_id}/answer", body)
    assert (status, problem["code"]) == (422, "invalid_answer")
    await waits.answer(run_id, False)
    await waits.stack.until_status(run_id, "completed")


async def test_a_long_sleep_is_a_row_and_a_short_one_ends_in_time(waits: Waits) -> None:
    long = await waits.submit("sleeps", {"seconds": 30 * 24 * 3600})
    await waits.stack.until_status(long, "waiting")
    short = await waits.submit("sleeps", {"seconds": 0.2})
    run = await waits.stack.until_status(short, "completed", timeout_s=10)
    assert run["output"] == "slept"
    [attempt, again] = (await waits.call("GET", f"/runs/{short}/attempts"))[1]["items"]
    assert (attempt["ended_why"], again["ended_why"]) == ("waiting", "completed")
    await waits.call("POST", f"/runs/{long}/cancel")
    await waits.stack.until_status(long, "cancelled")


async def test_the_runner_dies_while_a_run_waits_and_nothing_is_done_twice(waits: Waits) -> None:
    run_id = await waits.submit("asks", {})
    await waits.question(run_id)
    runner = waits.stack.services["runner-1"]
    runner.kill()
    await waits.answer(run_id, True)
    await runner.start()
    run = await waits.stack.until_status(run_id, "completed")
    assert (run["crashes"], waits.counter.calls(run_id)) == (0, {"before": 1, "after": 1})


async def test_a_failed_run_goes_on_as_a_fork_from_its_last_finished_step(waits: Waits) -> None:
    run_id = await waits.submit("fails-at-last", {"counts_as": "forked"})
    failed = await waits.stack.until_status(run_id, "failed")
    (waits.stack.folder / "mended").touch()
    status, fork = await waits.call("POST", f"/runs/{run_id}/fork", {"from_position": "2"})
    assert (status, fork["forked_from"], fork["thread_id"]) == (202, run_id, failed["thread_id"])
    viewer = Viewer(waits.stack.url, fork["id"])
    await viewer.follow()
    done = await waits.stack.run(fork["id"])
    assert (done["status"], done["output"]) == ("completed", "mended")
    assert waits.counter.calls("forked") == {"first": 1, "second": 1}


async def test_a_deadline_ends_a_waiting_run_and_says_so(waits: Waits) -> None:
    run_id = await waits.submit("asks", {}, deadline_s=1)
    await waits.question(run_id)
    run = await waits.stack.until_status(run_id, "failed", timeout_s=15)
    assert run["error"]["code"] == "deadline"
    viewer = Viewer(waits.stack.url, run_id)
    await viewer.follow()
    assert viewer.types()[-1] == "run.failed"
    assert viewer.fold.text == "before; "
