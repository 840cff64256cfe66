"""A thread's queue as people edit it: each change holds only while the run is queued."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from tests.integration.gateway.test_answers import forget_requests, has_request
from tests.integration.gateway.test_moving_on import failed, interrupted
from tests.integration.gateway.world import World

OTHER = {"messages": [{"role": "user", "content": "something else"}]}


async def a_queue(world: World) -> list[str]:
    """A thread ``t`` with three queued runs."""
    return [str((await world.submit("t"))["id"]) for _ in range(3)]


async def queued(world: World) -> list[str]:
    return [run["id"] for run in (await world.http.get("/v1/threads/t/queue")).json()["items"]]


async def edit(world: World, method: str, run_id: object, what: str = "", **body: Any) -> tuple[int, dict[str, Any]]:
    path = f"/v1/threads/t/queue/{run_id}{what}"
    response = await world.http.request(method, path, json=body or None)
    return response.status_code, dict(response.json())


async def test_the_input_of_a_queued_run_is_changed(world: World) -> None:
    first, second, _ = await a_queue(world)
    status, run = await edit(world, "PATCH", second, input=OTHER)
    assert (status, run["id"], run["input"]) == (200, second, OTHER)
    hands = await world.claim(first)
    await hands.finish()
    await (await world.claim(second)).finish()
    messages = (await world.http.get("/v1/threads/t/messages")).json()["items"]
    asked = [message["parts"] for message in messages if message["run_id"] == second and message["role"] == "user"]
    assert asked == [[{"type": "text", "text": "something else"}]]


async def test_a_changed_input_is_held_against_the_agents_schema(world: World) -> None:
    await world.load(("strict", "v1", "", {"type": "object", "required": ["messages"]}), pod="runner-2")
    second = (await world.submit("t", agent="strict"))["id"]
    wrongs: list[dict[str, Any]] = [
        {"input": {}},
        {"input": None},
        {"input": OTHER, "agent": "other"},
        {"metadata": {}},
    ]
    for wrong in wrongs:
        status, problem = await edit(world, "PATCH", second, **wrong)
        assert (status, problem["code"] in ("invalid_input", "invalid_request")) == (422, True), wrong
    assert (await edit(world, "PATCH", second, input=OTHER))[0] == 200


async def test_a_run_is_taken_out_of_the_queue(world: World) -> None:
    first, second, third = await a_queue(world)
    stream = await world.follow(second)
    status, run = await edit(world, "DELETE", second)
    assert (status, run["id"], run["status"]) == (202, second, "cancelled")
    await stream.until_end()
    assert stream.types[-1] == "run.cancelled"
    assert await queued(world) == [first, third]
    await forget_requests(world)
    assert (await edit(world, "DELETE", first))[0] == 202
    assert await has_request(world, third)  # it is the next one now


async def test_f59_now_puts_a_run_before_all_others(world: World) -> None:
    first, second, third = await a_queue(world)
    await forget_requests(world)
    status, run = await edit(world, "POST", third, "/now")
    assert (status, run["id"], run["status"]) == (200, third, "queued")
    assert await queued(world) == [third, first, second]
    assert await has_request(world, third)
    assert (await edit(world, "POST", second, "/now"))[0] == 200
    assert await queued(world) == [second, third, first]
    ran = []
    for expected in (second, third, first):
        hands = await world.claim(expected)
        ran.append(expected)
        await hands.finish()
    assert await queued(world) == []


async def test_f59_a_run_that_was_claimed_meanwhile_is_not_changed(world: World) -> None:
    first, second, _ = await a_queue(world)
    hands = await world.claim(first)
    edits: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", "", {"input": OTHER}),
        ("DELETE", "", {}),
        ("POST", "/now", {}),
    ]
    for method, what, body in edits:
        status, problem = await edit(world, method, first, what, **body)
        assert (status, problem["code"]) == (409, "not_queued"), method
        assert "running" in problem["detail"]
    run = (await world.http.get(f"/v1/runs/{first}")).json()
    assert (run["status"], run["cancel_requested_at"], run["input"] == OTHER) == ("running", None, False)
    assert await hands.finish() == "completed"
    for method, what, body in edits:
        assert (await edit(world, method, first, what, **body))[1]["code"] == "not_queued"
    assert (await queued(world))[0] == second


async def test_f59_of_a_claim_and_edits_at_once_the_run_is_the_claimers_or_was_never_begun(world: World) -> None:
    for _ in range(5):
        run_id = (await world.submit("t"))["id"]
        claim = asyncio.create_task(world.claim(run_id))
        changed, removed = await asyncio.gather(
            edit(world, "PATCH", run_id, input=OTHER), edit(world, "DELETE", run_id)
        )
        outcome = (await asyncio.gather(claim, return_exceptions=True))[0]
        run = (await world.http.get(f"/v1/runs/{run_id}")).json()
        if isinstance(outcome, BaseException):
            assert (removed[0], run["status"], run["claimed_at"]) == (202, "cancelled", None)
        else:
            assert (removed[0], removed[1]["code"], run["status"]) == (409, "not_queued", "running")
            assert (run["input"] == OTHER) == (changed[0] == 200)
            await outcome.finish()


async def test_f59_orders_at_once_leave_one_order(world: World) -> None:
    runs = await a_queue(world)
    await asyncio.gather(*(edit(world, "POST", run_id, "/now") for run_id in runs * 3))
    assert sorted(await queued(world)) == sorted(runs)


async def test_a_run_with_a_journal_keeps_the_input_that_it_began_with(world: World) -> None:
    run_id, _ = await interrupted(world, "t")
    await world.http.post(f"/v1/runs/{run_id}/resume")
    assert await queued(world) == [run_id]
    status, problem = await edit(world, "PATCH", run_id, input=OTHER)
    assert (status, problem["code"]) == (409, "not_queued")
    assert "journal" in problem["detail"]
    assert (await edit(world, "DELETE", run_id))[0] == 202
    ended = await failed(world, "t")
    fork = (await world.http.post(f"/v1/runs/{ended}/fork")).json()
    assert (await edit(world, "PATCH", fork["id"], input=OTHER))[1]["code"] == "not_queued"


async def test_what_is_not_in_the_queue_is_404(world: World) -> None:
    await a_queue(world)
    elsewhere = (await world.submit("u"))["id"]
    for run_id in (uuid4(), elsewhere):
        for method, what, body in (("PATCH", "", {"input": OTHER}), ("DELETE", "", {}), ("POST", "/now", {})):
            status, problem = await edit(world, method, run_id, what, **body)
            assert (status, problem["code"]) == (404, "run_not_found"), method
    nowhere = await world.http.delete(f"/v1/threads/nowhere/queue/{elsewhere}")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "thread_not_found")
    assert (await world.http.delete("/v1/threads/t/queue/1")).status_code == 422
