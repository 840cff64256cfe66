"""Parents and children: a cancel reaches every child, and the end of a child wakes its parent."""

from __future__ import annotations

from uuid import UUID, uuid4

from holdfast.bus import names
from holdfast.store.owner import Child
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.test_answers import forget_requests, has_request
from tests.integration.gateway.world import CHAT, World
from tests.support.wait import wait_until


async def call(parent: Hands, position: str = "0") -> str:
    """Have a run start a child; returns the child's id."""
    child = Child(uuid4(), "echo", "default", CHAT, {})
    await parent.open(position, "child", child=child)
    return str(child.run_id)


async def status_of(world: World, run_id: str) -> str:
    return str((await world.http.get(f"/v1/runs/{run_id}")).json()["status"])


async def test_a_run_that_waits_for_a_child_shows_it(world: World) -> None:
    run = await world.submit()
    parent = await world.claim(run["id"])
    child_id = await call(parent)
    await parent.suspend()
    (wait,) = (await world.http.get(f"/v1/runs/{run['id']}")).json()["waiting"]
    assert (wait["kind"], wait["child_run_id"]) == ("child", child_id)
    child = (await world.http.get(f"/v1/runs/{child_id}")).json()
    assert (child["parent_run_id"], child["status"]) == (run["id"], "queued")
    status = await world.http.post(
        f"/v1/runs/{run['id']}/answer", json={"question_id": wait["question_id"], "answer": 1}
    )
    assert (status.status_code, status.json()["code"]) == (422, "not_a_question")


async def test_a_cancel_reaches_children_and_theirs(world: World) -> None:
    run = await world.submit()
    parent = await world.claim(run["id"])
    first, second = await call(parent), await call(parent, "1")
    await parent.suspend()
    middle = await world.claim(first)
    grandchild = await call(middle)
    await middle.suspend()
    working = await world.claim(second, pod="runner-2")
    bystander = await world.submit()
    subscription = await (await world.nats()).subscribe(names.control_subject("runner-2"))
    await (await world.nats()).flush()
    streams = [await world.follow(each) for each in (first, grandchild)]
    assert (await world.http.post(f"/v1/runs/{run['id']}/cancel")).json()["status"] == "cancelled"
    for stream in streams:
        await stream.until_end()
        assert stream.types[-1] == "run.cancelled"
    assert await status_of(world, first) == await status_of(world, grandchild) == "cancelled"
    assert second.encode() in (await subscription.next_msg(timeout=5)).data  # its owner ends it
    assert await working.finish() == "cancelled"
    assert await status_of(world, bystander["id"]) == "queued"


async def test_a_cancel_of_a_running_parent_reaches_its_children_too(world: World) -> None:
    run = await world.submit()
    parent = await world.claim(run["id"])
    child = await call(parent)
    assert (await world.http.post(f"/v1/runs/{run['id']}/cancel")).json()["status"] == "running"

    async def cancelled() -> bool:
        return await status_of(world, child) == "cancelled"

    await wait_until(cancelled, description="the child is cancelled")
    assert await parent.finish() == "cancelled"


async def test_what_replaces_a_run_ends_its_children_too(world: World) -> None:
    run = await world.submit("t")
    parent = await world.claim(run["id"])
    child = await call(parent)
    await parent.suspend()
    await world.submit("t", on_busy="replace")

    async def cancelled() -> bool:
        return await status_of(world, child) == "cancelled"

    await wait_until(cancelled, description="the child is cancelled")


async def test_a_child_that_is_cancelled_wakes_its_parent(world: World) -> None:
    run = await world.submit()
    parent = await world.claim(run["id"])
    child_id = await call(parent)
    await parent.suspend()
    await forget_requests(world)
    assert (await world.http.post(f"/v1/runs/{child_id}/cancel")).json()["status"] == "cancelled"

    async def woken() -> bool:
        return await status_of(world, run["id"]) == "queued" and await has_request(world, run["id"])

    await wait_until(woken, description="the parent is queued, and has a request")
    heir = await world.claim(run["id"], pod="runner-2")
    steps = (await world.http.get(f"/v1/runs/{run['id']}/steps")).json()["items"]
    assert (steps[0]["status"], steps[0]["output"]["status"]) == ("completed", "cancelled")
    assert UUID(steps[0]["output"]["run_id"]) == UUID(child_id)
    await heir.finish()


async def test_a_child_that_is_taken_out_of_its_queue_wakes_its_parent(world: World) -> None:
    run = await world.submit()
    parent = await world.claim(run["id"])
    child_id = await call(parent)
    await parent.suspend()
    assert (await world.http.delete(f"/v1/threads/child-{child_id}/queue/{child_id}")).status_code == 202

    async def woken() -> bool:
        return await status_of(world, run["id"]) == "queued"

    await wait_until(woken, description="the parent is queued")
