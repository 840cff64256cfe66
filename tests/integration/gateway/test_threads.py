"""Threads: make, list, delete, the transcript, and following a thread over its runs."""

from __future__ import annotations

import asyncio

from holdfast.runs import Outcome
from tests.integration.gateway.world import World
from tests.support.wait import wait_until


async def test_a_thread_is_made_once_and_used_again(world: World) -> None:
    made = await world.http.post("/v1/threads", json={"id": "a.b_c:d@e-f", "metadata": {"n": 1}})
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/threads/a.b_c:d@e-f"
    again = await world.http.post("/v1/threads", json={"id": "a.b_c:d@e-f"})
    assert (again.status_code, again.json()["code"]) == (409, "thread_exists")
    used = await world.http.post("/v1/threads", json={"id": "a.b_c:d@e-f", "metadata": {"n": 2}, "if_exists": "use"})
    assert used.status_code == 200
    assert used.json() == made.json()
    assert (await world.http.get("/v1/threads/a.b_c:d@e-f")).json()["metadata"] == {"n": 1}
    nameless = await world.http.post("/v1/threads", json={})
    without_body = await world.http.post("/v1/threads")
    assert nameless.status_code == without_body.status_code == 201
    assert nameless.json()["id"] != without_body.json()["id"]


async def test_a_thread_has_a_safe_name(world: World) -> None:
    for name in ("", "a b", "a/b", "ä", "x" * 129, "a\n", ".", ".."):
        answer = await world.http.post("/v1/threads", json={"id": name})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), name
    for name in ("...", ".a", "..a", "x" * 128, "." * 128):
        assert (await world.http.post("/v1/threads", json={"id": name})).status_code == 201, name


async def test_threads_are_listed_in_pages(world: World) -> None:
    for n in range(5):
        await world.http.post("/v1/threads", json={"id": f"t{n}"})
    first = (await world.http.get("/v1/threads?limit=3")).json()
    assert [thread["id"] for thread in first["items"]] == ["t4", "t3", "t2"]
    second = (await world.http.get("/v1/threads", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [thread["id"] for thread in second["items"]] == ["t1", "t0"]
    assert second["next_cursor"] is None


async def test_the_transcript_is_listed_in_pages_and_keeps_a_failure(world: World) -> None:
    run = await world.submit(thread="t")
    hands = await world.claim(run["id"])
    await hands.step("0", "hi")
    await hands.finish()
    failing = await world.submit(thread="t")
    hands = await world.claim(failing["id"])
    await hands.finish(Outcome.FAILED, error="model_unavailable")
    first = (await world.http.get("/v1/threads/t/messages?limit=2")).json()
    rest = (await world.http.get("/v1/threads/t/messages", params={"cursor": first["next_cursor"]})).json()
    messages = first["items"] + rest["items"]
    assert [(message["role"], message["status"]) for message in messages] == [
        ("user", "complete"),
        ("assistant", "complete"),
        ("user", "complete"),
        ("assistant", "failed"),
    ]
    assert messages[1]["parts"] == [{"type": "text", "text": "hi"}]
    assert messages[3]["parts"] == [{"type": "error", "code": "model_unavailable", "message": "it went wrong"}]
    assert (await world.http.get("/v1/threads/nowhere/messages")).status_code == 404


async def test_a_thread_is_deleted_after_its_runs_are_cancelled(world: World) -> None:
    running = await world.submit(thread="t")
    await world.submit(thread="t")
    hands = await world.claim(running["id"])
    deleting = asyncio.create_task(world.http.delete("/v1/threads/t"))

    async def asked() -> bool:
        return (await world.http.get(f"/v1/runs/{running['id']}")).json()["cancel_requested_at"] is not None

    await wait_until(asked, description="the running run is asked to end")
    assert not deleting.done()
    assert await hands.finish() == "cancelled"
    assert (await deleting).status_code == 204
    assert (await world.http.get("/v1/threads/t")).status_code == 404
    assert (await world.http.get(f"/v1/runs/{running['id']}")).status_code == 404
    assert (await world.http.delete("/v1/threads/t")).status_code == 404


async def test_a_stream_of_a_run_that_is_deleted_does_not_end_cleanly(world: World) -> None:
    async with World(world.postgres_url, world.nats_url, reconcile_interval_s=0.2) as eager:
        run = await eager.submit(thread="t")
        stream = await eager.follow(run["id"])
        await stream.until("run.queued")
        await eager.db.run(lambda connection: connection.execute("DELETE FROM idempotency_keys"))
        await eager.db.run(lambda connection: connection.execute("DELETE FROM runs"))
        await stream.until_end("cut")


async def test_a_threads_stream_goes_from_run_to_run_and_ends_when_none_is_active(world: World) -> None:
    first, second = await world.submit(thread="t"), await world.submit(thread="t")
    stream = await world.follow("/v1/threads/t/events")
    for run in (first, second):
        hands = await world.claim(run["id"])
        await hands.step("0", "hi")
        await hands.finish()
    await stream.until_end()
    ids = [frame[4 : frame.index(b"\n")].decode() for frame in stream.frames]
    expected = ["0-1", *(f"1-{n}" for n in range(1, 6))]
    assert ids == [f"{run['id']}:{event_id}" for run in (first, second) for event_id in expected]
    assert (await world.http.get("/v1/threads/t/events")).status_code == 204
    rest = await world.follow("/v1/threads/t/events", Last_Event_ID=ids[3])
    await rest.until_end()
    assert rest.frames == stream.frames[4:]  # what the cursor's run has left, and the run that came after it
    done = await world.http.get("/v1/threads/t/events", headers={"Last-Event-ID": ids[-1]})
    assert done.status_code == 204


async def test_a_threads_cursor_gives_the_exact_rest_also_in_a_run_that_never_began(world: World) -> None:
    runs = [(await world.submit(thread="t"))["id"] for _ in range(4)]
    first, second, third, fourth = runs
    hands = await world.claim(first)
    stream = await world.follow("/v1/threads/t/events")
    await wait_until(lambda: len(stream.frames) == 2, description="the first run has begun")
    for ended in (fourth, second):  # before those that are ahead of them
        assert (await world.http.post(f"/v1/runs/{ended}/cancel")).status_code == 202
    await hands.finish()
    hands = await world.claim(third)
    await hands.finish()
    await stream.until_end()
    ids = [frame[4 : frame.index(b"\n")].decode() for frame in stream.frames]
    assert list(dict.fromkeys(each.partition(":")[0] for each in ids)) == runs
    for at, cursor in enumerate(ids[:-1], start=1):
        rest = await world.follow("/v1/threads/t/events", Last_Event_ID=cursor)
        await rest.until_end()
        assert rest.frames == stream.frames[at:], cursor


async def test_a_threads_cursor_names_run_and_event(world: World) -> None:
    await world.submit(thread="t")
    for cursor in ("1-1", "x:1-1", "00000000-0000-0000-0000-000000000001:x"):
        answer = await world.http.get("/v1/threads/t/events", headers={"Last-Event-ID": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor"), cursor
    unknown = "00000000-0000-0000-0000-000000000001:1-1"
    answer = await world.http.get("/v1/threads/t/events", headers={"Last-Event-ID": unknown})
    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


async def test_the_empty_thread_and_the_unknown_one(world: World) -> None:
    await world.http.post("/v1/threads", json={"id": "t"})
    assert (await world.http.get("/v1/threads/t/events")).status_code == 204
    assert (await world.http.get("/v1/threads/u/events")).status_code == 404
    assert (await world.http.get("/v1/threads/t/queue")).json() == {"items": [], "next_cursor": None}
    assert (await world.http.get("/v1/threads/u/queue")).status_code == 404
