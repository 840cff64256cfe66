"""Submits: what is taken, what is refused and how, and what a repeated one gets."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from operator import methodcaller
from typing import Any
from uuid import UUID

from holdfast.bus import names
from holdfast.runs import EventId
from holdfast_gateway.http.wanted import RunWanted
from tests.integration.gateway.world import CHAT, ECHO, World
from tests.support.wait import wait_until

BODY: dict[str, Any] = {"agent": "echo", "input": CHAT}


async def test_a_submit_makes_a_run_its_thread_its_first_event_and_a_request(world: World) -> None:
    await world.load()
    answer = await world.http.post("/v1/runs", json={**BODY, "metadata": {"user": "7"}})
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    assert UUID(run["id"]).version == 7
    assert run["status"] == "queued"
    assert run["metadata"] == {"user": "7"}
    assert run["created_at"].endswith("Z")
    assert (await world.http.get(f"/v1/threads/{run['thread_id']}")).status_code == 200
    assert (await world.log_end(run["id"])).last_id == EventId(0, 1)
    client = await world.nats()
    message = await client.jetstream().get_last_msg(names.REQUESTS_STREAM, names.request_subject("default", run["id"]))
    assert message.data is not None
    assert run["id"].encode() in message.data


async def test_a_thread_may_be_named_and_is_made(world: World) -> None:
    await world.load()
    first = await world.http.post("/v1/runs", json={**BODY, "thread_id": "chat:1"})
    second = await world.http.post("/v1/runs", json={**BODY, "thread_id": "chat:1"})
    assert first.json()["thread_id"] == second.json()["thread_id"] == "chat:1"
    missing = await world.http.post("/v1/threads/nowhere/runs", json=BODY)
    assert missing.status_code == 404
    assert missing.json()["code"] == "thread_not_found"


WRONG_BODIES = [
    (b"{", 400, "malformed_json"),
    (b"[" * 100_000, 400, "malformed_json"),
    (b"", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    (b'{"agent": "echo"}', 422, "invalid_request"),
    (b'{"agent": "", "input": {}}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": null}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": {}, "on_busy": "wait"}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": {}, "metadata": []}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": {}, "thread_id": "a b"}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": {}, "colour": 1}', 422, "invalid_request"),
    (b'{"agent": "echo", "input": {"a": NaN}}', 400, "malformed_json"),
    (b'{"agent": "echo", "input": {"a": "\\u0000"}}', 422, "invalid_value"),
    (b'{"agent": "echo", "input": {"a": "\\ud800"}}', 400, "malformed_json"),
    (b'{"agent": "echo", "input": "\xff"}', 400, "malformed_json"),
    (b'{"agent": "echo", "input": ' + b"9" * 5000 + b"}", 400, "malformed_json"),
]


async def test_a_body_that_is_wrong_gets_a_clear_answer(world: World) -> None:
    await world.load()
    for content, status, code in WRONG_BODIES:
        answer = await world.http.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), content[:80]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


async def test_a_run_has_the_policies_that_its_submit_named_or_the_defaults(world: World) -> None:
    plain = await world.submit()
    assert (plain["on_owner_lost"], plain["on_unknown"], plain["deadline_at"]) == ("resume", None, None)
    assert (plain["max_crashes"], plain["idle_timeout_s"], plain["waiting"]) == (5, 600, [])
    wanted: dict[str, Any] = {"on_owner_lost": "interrupt", "on_unknown": "ask", "max_crashes": 2, "idle_timeout_s": 30}
    run = await world.submit(**wanted, deadline_s=60.5)
    assert {name: run[name] for name in wanted} == wanted
    later = datetime.fromisoformat(run["deadline_at"]) - datetime.fromisoformat(run["created_at"])
    assert later == timedelta(seconds=60.5)


WRONG_POLICIES: list[dict[str, Any]] = [
    *({"deadline_s": value} for value in (0, -1, 366 * 86400, "soon", True)),
    *({"idle_timeout_s": value} for value in (0, 7 * 86400 + 1, 1.5, None)),
    *({"max_crashes": value} for value in (0, 101, "many")),
    {"on_owner_lost": "wait"},
    {"on_unknown": "done"},
    {"parent_run_id": str(UUID(int=1))},
]


async def test_a_policy_that_makes_no_sense_is_refused_by_name(world: World) -> None:
    await world.load()
    for wrong in WRONG_POLICIES:
        answer = await world.http.post("/v1/runs", json={**BODY, **wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), wrong
        assert next(iter(wrong)) in answer.json()["detail"]


async def test_f58_a_policy_at_its_default_does_not_make_another_request_of_a_submit(world: World) -> None:
    await world.load()
    key = {"Idempotency-Key": "k"}
    first = await world.http.post("/v1/runs", json=BODY, headers=key)
    again = await world.http.post("/v1/runs", json={**BODY, "max_crashes": 5, "deadline_s": None}, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = await world.http.post("/v1/runs", json={**BODY, "max_crashes": 6}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    before = RunWanted.model_validate(BODY).telling()  # as gateways had it before they knew of policies
    assert sorted(before) == ["agent", "input", "metadata", "on_busy"]


async def test_a_body_that_is_not_said_to_be_json_is_refused(world: World) -> None:
    answer = await world.http.post("/v1/runs", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_body_that_is_too_large_is_refused_with_and_without_a_length(world: World) -> None:
    await world.load()
    large = b'{"agent": "echo", "input": "' + b"x" * (1024 * 1024) + b'"}'
    with_length = await world.http.post("/v1/runs", content=large, headers={"Content-Type": "application/json"})
    assert (with_length.status_code, with_length.json()["code"]) == (413, "too_large")

    async def chunks() -> Any:
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    chunked = await world.http.post("/v1/runs", content=chunks(), headers={"Content-Type": "application/json"})
    assert (chunked.status_code, chunked.json()["code"]) == (413, "too_large")
    just_fits = b'{"agent": "echo", "input": "' + b"x" * (1024 * 1024 - 30) + b'"}'
    assert len(just_fits) == 1024 * 1024
    fits = await world.http.post("/v1/runs", content=just_fits, headers={"Content-Type": "application/json"})
    assert fits.status_code == 202


async def test_an_unknown_agent_is_refused_and_the_known_ones_are_listed(world: World) -> None:
    await world.load(ECHO, ("assistant", "v1", "", {}))
    answer = await world.http.post("/v1/runs", json={**BODY, "agent": "asistant"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_agent")
    assert answer.json()["known"] == ["assistant", "echo"]
    await world.load(ECHO, ("asistant", "v1", "", {}))  # one that was loaded a moment ago is found at once
    assert (await world.http.post("/v1/runs", json={**BODY, "agent": "asistant"})).status_code == 202


async def test_an_input_is_held_against_the_agents_schema(world: World) -> None:
    schema = {
        "type": "object",
        "required": ["messages"],
        "properties": {"messages": {"type": "array", "items": {"required": ["role"]}}},
    }
    bad_reference = {"$ref": "http://127.0.0.1:1/never-fetched.json"}
    await world.load(("strict", "v1", "", schema), ("odd", "v1", "", bad_reference), ("broken", "v1", "", {"type": 7}))
    answer = await world.http.post("/v1/runs", json={"agent": "strict", "input": {"messages": [{"role": "user"}, {}]}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"] == [
        {"loc": ["body", "input", "messages", 1], "msg": "'role' is a required property"}
    ]
    assert (await world.http.post("/v1/runs", json={"agent": "strict", "input": CHAT})).status_code == 202
    for unusable in ("odd", "broken"):
        assert (await world.http.post("/v1/runs", json={"agent": unusable, "input": 1})).status_code == 202


async def test_f58_a_repeated_submit_gets_the_first_run_and_another_body_is_refused(world: World) -> None:
    await world.load()
    key = {"Idempotency-Key": "once"}
    first = await world.http.post("/v1/runs", json=BODY, headers=key)
    assert first.status_code == 202
    again = await world.http.post("/v1/runs", json={"input": CHAT, "agent": "echo"}, headers=key)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    other = await world.http.post("/v1/runs", json={**BODY, "metadata": {"n": 1}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    await world.http.post("/v1/threads", json={"id": "t"})
    elsewhere = await world.http.post("/v1/threads/t/runs", json=BODY, headers=key)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "idempotency_mismatch")
    assert len((await world.http.get("/v1/runs")).json()["items"]) == 1


async def test_f58_of_many_submits_at_once_with_one_key_one_makes_the_run(world: World) -> None:
    await world.load()
    answers = await asyncio.gather(
        *(world.http.post("/v1/runs", json=BODY, headers={"Idempotency-Key": "race"}) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_key_that_is_no_key_is_refused(world: World) -> None:
    await world.load()
    for key in (b"x" * 256, b"\xfc"):
        answer = await world.http.post("/v1/runs", json=BODY, headers=[(b"Idempotency-Key", key)])
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_header")


async def test_a_busy_thread_enqueues_rejects_or_replaces(world: World) -> None:
    running = await world.submit(thread="t")
    hands = await world.claim(running["id"])
    behind = await world.submit(thread="t")
    queue = (await world.http.get("/v1/threads/t/queue")).json()["items"]
    assert [run["id"] for run in queue] == [behind["id"]]
    rejected = await world.http.post("/v1/threads/t/runs", json={**BODY, "on_busy": "reject"})
    assert (rejected.status_code, rejected.json()["code"]) == (409, "thread_busy")
    words: list[bytes] = []
    client = await world.nats()
    subscription = await client.subscribe(names.control_subject("runner-1"))
    await client.flush()
    replacing = await world.submit(thread="t", on_busy="replace")
    words.append((await subscription.next_msg(timeout=5)).data)
    assert running["id"].encode() in words[0]
    queue = (await world.http.get("/v1/threads/t/queue")).json()["items"]
    assert [run["id"] for run in queue] == [replacing["id"], behind["id"]]
    assert (await world.http.get(f"/v1/runs/{running['id']}")).json()["cancel_requested_at"] is not None
    assert await hands.finish() == "cancelled"


async def test_waiting_for_a_run_answers_when_it_has_ended(world: World) -> None:
    await world.load()
    waiting = asyncio.create_task(world.http.post("/v1/runs?wait_s=20", json=BODY))
    await wait_until(lambda: world.gateway.followed == 1, description="the request waits")
    run_id = (await world.http.get("/v1/runs")).json()["items"][0]["id"]
    hands = await world.claim(run_id)
    await hands.step("0", "hi")
    await hands.finish()
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.json()["output"] == {"text": "hi"}
    assert world.gateway.followed == 0


async def test_waiting_ends_when_the_time_is_up_and_when_the_client_goes(world: World) -> None:
    await world.load()
    answer = await world.http.post("/v1/runs?wait_s=0.2", json=BODY)
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert world.gateway.followed == 0
    going = asyncio.create_task(world.http.post("/v1/runs?wait_s=20", json=BODY))
    await wait_until(lambda: world.gateway.followed == 1, description="the request waits")
    going.cancel()
    await wait_until(lambda: world.gateway.followed == 0, description="nobody waits any more")
    for wrong in ("0", "-1", "1e9", "x"):
        assert (await world.http.post(f"/v1/runs?wait_s={wrong}", json=BODY)).status_code == 422


async def test_only_agents_of_live_runners_are_listed_and_a_restarting_ones_is_still_taken(world: World) -> None:
    await world.load()
    for age, listed, status in (("2 minutes", ["echo"], 202), ("4 minutes", [], 202), ("25 hours", [], 422)):
        aged = f"UPDATE agents SET seen_at = now() - interval '{age}'"
        await world.db.run(methodcaller("execute", aged))
        shown = (await world.http.get("/v1/agents")).json()["items"]
        assert [agent["name"] for agent in shown] == listed, age
        unknown = await world.http.post("/v1/runs", json={"agent": "nobody", "input": CHAT})
        assert (unknown.json()["code"], unknown.json()["known"]) == ("unknown_agent", listed)
        answer = await world.http.post("/v1/runs", json={"agent": "echo", "input": CHAT})
        assert answer.status_code == status, age
