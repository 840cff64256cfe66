"""How a run that rests goes on: resumed where it was interrupted, forked where it has ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from holdfast.bus import names
from holdfast.runs import Outcome
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.test_answers import forget_requests, has_request
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import World


async def interrupted(world: World, thread: str | None = None) -> tuple[str, Hands]:
    """A run whose owner died in its second step, and whose policy is to ask first."""
    run = await world.submit(thread, on_owner_lost="interrupt")
    hands = await world.claim(run["id"])
    await hands.step("0", "kept ")
    await hands.begin_step("1", kind="tool")
    await reclaim(world.db, hands)
    return run["id"], hands


async def post(world: World, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    response = await world.http.post(path, json=body) if body is not None else await world.http.post(path)
    return response.status_code, dict(response.json())


async def test_an_interrupted_run_shows_what_is_unknown_and_is_resumed(world: World) -> None:
    run_id, _ = await interrupted(world)
    run = (await world.http.get(f"/v1/runs/{run_id}")).json()
    assert (run["status"], run["attempt"]) == ("interrupted", 2)
    steps = (await world.http.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert [(step["status"], step["unknown"]) for step in steps] == [("completed", False), ("started", True)]
    stream = await world.follow(run_id)
    await stream.until_end()
    assert (stream.types[-1], stream.fold.text) == ("run.interrupted", "kept ")
    await forget_requests(world)
    status, resumed = await post(world, f"/v1/runs/{run_id}/resume")
    assert (status, resumed["status"], resumed["error"]) == (202, "queued", None)
    assert await has_request(world, run_id)
    on = await world.follow(run_id, Last_Event_ID=str(stream.last_id))
    heir = await world.claim(run_id, pod="runner-2")
    await heir.step("2", "new")
    await heir.finish()
    await on.until_end()
    resumed_at = on.types.index("run.resumed")
    assert on.events[resumed_at].data["reason"] == "resumed"
    assert on.types[-1] == "run.completed"
    for event in on.events:
        stream.fold.apply(event.id, event.type, event.data)
    assert stream.fold.text == "kept new"


async def test_only_an_interrupted_run_is_resumed(world: World) -> None:
    run = await world.submit()
    status, problem = await post(world, f"/v1/runs/{run['id']}/resume")
    assert (status, problem["code"]) == (409, "not_interrupted")
    await (await world.claim(run["id"])).finish()
    status, problem = await post(world, f"/v1/runs/{run['id']}/resume")
    assert (status, problem["code"]) == (409, "not_interrupted")
    assert "fork" in problem["detail"]
    run_id, _ = await interrupted(world)
    assert [(await post(world, f"/v1/runs/{run_id}/resume"))[0] for _ in range(2)] == [202, 409]
    assert (await post(world, f"/v1/runs/{uuid4()}/resume"))[1]["code"] == "run_not_found"


async def test_a_run_that_a_later_one_has_overtaken_is_not_resumed(world: World) -> None:
    run_id, _ = await interrupted(world, "t")
    later = await world.submit("t")
    await world.claim(later["id"])
    run = (await world.http.get(f"/v1/runs/{run_id}")).json()
    assert (run["status"], run["error"]["code"]) == ("failed", "abandoned")
    status, problem = await post(world, f"/v1/runs/{run_id}/resume")
    assert (status, problem["code"]) == (409, "not_interrupted")
    assert "later run" in problem["detail"]


async def test_a_run_that_its_owner_has_interrupted_ends_its_stream_with_the_owners_own_event(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "kept")
    assert await hands.finish(Outcome.INTERRUPTED, error="diverged", tell=False) == "interrupted"
    stream = await world.follow(run["id"])
    await stream.until_end()
    assert (stream.ids[-1], stream.types[-1]) == ("1-5", "run.interrupted")
    told = stream.events[-1].data
    assert (told["reason"], told["error"]["code"]) == ("diverged", "diverged")
    assert "keep_through" not in told, "it is the owner's own"
    assert (await post(world, f"/v1/runs/{run['id']}/resume"))[0] == 202
    heir = await world.claim(run["id"], pod="runner-2")
    await heir.finish()
    on = await world.follow(run["id"], Last_Event_ID="1-5")
    await on.until_end()
    assert on.types[-1] == "run.completed"
    whole = await world.follow(run["id"])
    await whole.until_end()
    assert whole.fold.text == "kept"


async def failed(world: World, thread: str | None = None) -> str:
    """A run that failed after three steps."""
    run = await world.submit(thread, metadata={"user": "7"}, on_unknown="fail", max_crashes=2)
    hands = await world.claim(run["id"])
    for n, word in enumerate(("one ", "two ", "three ")):
        await hands.step(str(n), word)
    await hands.finish(Outcome.FAILED, error="agent_error")
    return str(run["id"])


async def test_a_fork_goes_on_from_what_was_finished(world: World) -> None:
    run_id = await failed(world, "t")
    response = await world.http.post(f"/v1/runs/{run_id}/fork")
    assert response.status_code == 202
    fork = response.json()
    assert response.headers["location"] == f"/v1/runs/{fork['id']}"
    assert (fork["forked_from"], fork["thread_id"], fork["status"]) == (run_id, "t", "queued")
    assert (fork["metadata"], fork["on_unknown"], fork["max_crashes"]) == ({"user": "7"}, "fail", 2)
    assert await has_request(world, fork["id"])
    steps = (await world.http.get(f"/v1/runs/{fork['id']}/steps")).json()["items"]
    assert [(step["position"], step["attempt"], step["text"]) for step in steps] == [
        ("0", 0, "one "),
        ("1", 0, "two "),
        ("2", 0, "three "),
    ]
    stream = await world.follow(fork["id"])
    await stream.until("snapshot")
    assert stream.types == ["run.queued", "snapshot"]
    assert stream.events[0].data["position"] == 1
    assert stream.ids == ["0-1", "0-4"]
    assert stream.fold.text == "one two three "
    hands = await world.claim(fork["id"])
    await hands.step("3", "four")
    await hands.finish()
    await stream.until_end()
    assert stream.fold.text == "one two three four"
    messages = (await world.http.get("/v1/threads/t/messages")).json()["items"]
    assert messages[-1]["parts"] == [{"type": "text", "text": "one two three four"}]
    original = (await world.http.get(f"/v1/runs/{run_id}")).json()
    assert (original["status"], original["forked_from"]) == ("failed", None)


async def test_a_fork_may_begin_earlier_and_on_another_thread(world: World) -> None:
    run_id = await failed(world, "t")
    status, fork = await post(world, f"/v1/runs/{run_id}/fork", {"from_position": "1", "thread_id": "u"})
    assert (status, fork["thread_id"]) == (202, "u")
    steps = (await world.http.get(f"/v1/runs/{fork['id']}/steps")).json()["items"]
    assert [step["position"] for step in steps] == ["0"]
    status, anew = await post(world, f"/v1/runs/{run_id}/fork", {"from_position": "0"})
    assert (status, anew["thread_id"]) == (202, "t")
    stream = await world.follow(anew["id"])
    await stream.until("run.queued")
    hands = await world.claim(anew["id"])
    await hands.finish()
    await stream.until_end()
    assert stream.types == ["run.queued", "run.started", "run.completed"]


async def test_a_forks_place_counts_what_is_before_it(world: World) -> None:
    run_id = await failed(world, "t")
    await world.submit("t")
    _, fork = await post(world, f"/v1/runs/{run_id}/fork", {})
    stream = await world.follow(fork["id"])
    await stream.until("run.queued")
    assert stream.events[0].data == {"run_id": fork["id"], "thread_id": "t", "position": 2}


async def test_a_fork_that_cannot_be_is_refused(world: World) -> None:
    run = await world.submit()
    path = f"/v1/runs/{run['id']}/fork"
    assert (await post(world, path))[1]["code"] == "run_active"
    hands = await world.claim(run["id"])
    await hands.step("0", "hi")
    assert (await post(world, path))[0] == 409
    await hands.finish()
    status, problem = await post(world, path, {"from_position": "7"})
    assert (status, problem["code"]) == (422, "unknown_position")
    for wrong in ({"from_position": "x"}, {"from_position": 1}, {"thread_id": "a b"}, {"position": "1"}):
        status, problem = await post(world, path, wrong)
        assert (status, problem["code"]) == (422, "invalid_request"), wrong
    assert (await post(world, f"/v1/runs/{uuid4()}/fork"))[1]["code"] == "run_not_found"


async def test_a_fork_whose_log_lost_its_beginning_is_shown_all_the_same(world: World) -> None:
    run_id = await failed(world)
    _, fork = await post(world, f"/v1/runs/{run_id}/fork")
    client = await world.nats()
    await client.jetstream().purge_stream(names.EVENTS_STREAM, subject=names.events_subject(UUID(fork["id"])))
    hands = await world.claim(fork["id"])
    stream = await world.follow(fork["id"])
    await hands.step("3", "four")
    await hands.finish()
    await stream.until_end()
    assert stream.fold.text == "one two three four"
