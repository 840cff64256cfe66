"""Runs, lists of them, their journal and attempts, and cancelling one."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from holdfast.bus import names
from holdfast.runs import Outcome
from tests.integration.gateway.test_follow import reclaim
from tests.integration.gateway.world import World


async def test_a_run_is_shown_as_the_record_has_it(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    await hands.step("0", "hi")
    shown = (await world.http.get(f"/v1/runs/{run['id']}")).json()
    assert shown["status"] == "running"
    assert shown["run_owner_pod"] == "runner-1"
    assert shown["attempt"] == 1
    await hands.finish(Outcome.FAILED, error="model_unavailable")
    shown = (await world.http.get(f"/v1/runs/{run['id']}")).json()
    assert shown["error"] == {"code": "model_unavailable", "message": "it went wrong"}
    assert shown["run_owner_pod"] is None
    assert shown["finished_at"].endswith("Z")


async def test_the_journal_and_the_attempts_are_shown(world: World) -> None:
    run = await world.submit()
    hands = await world.claim(run["id"])
    for position in ("0", "1", "2"):
        await hands.step(position, f"text {position}")
    await reclaim(world.db, hands)
    heir = await world.claim(run["id"], pod="runner-2")
    await heir.begin_step("10")
    path = f"/v1/runs/{run['id']}"
    first = (await world.http.get(f"{path}/steps?limit=2")).json()
    assert [step["position"] for step in first["items"]] == ["0", "1"]
    assert first["items"][0]["text"] == "text 0"
    assert first["items"][0]["output"] == {"at": "0"}
    rest = (await world.http.get(f"{path}/steps", params={"cursor": first["next_cursor"]})).json()
    assert [(step["position"], step["status"]) for step in rest["items"]] == [("2", "completed"), ("10", "started")]
    assert rest["next_cursor"] is None
    attempts = (await world.http.get(f"{path}/attempts")).json()["items"]
    assert [(each["attempt"], each["pod"], each["ended_why"]) for each in attempts] == [
        (1, "runner-1", "owner_lost"),
        (2, "runner-2", None),
    ]


async def test_runs_are_listed_in_pages_and_by_filter(world: World) -> None:
    made = [(await world.submit(thread="a" if n % 2 else "b"))["id"] for n in range(5)]
    await world.http.post(f"/v1/runs/{made[0]}/cancel")
    seen: list[str] = []
    cursor = None
    while True:
        page = (await world.http.get("/v1/runs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["items"]) <= 2
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]

    async def listed(**params: Any) -> list[str]:
        return [run["id"] for run in (await world.http.get("/v1/runs", params=params)).json()["items"]]

    assert await listed(thread="a") == [made[3], made[1]]
    assert await listed(status="cancelled") == [made[0]]
    assert await listed(status=["cancelled", "queued"]) == made[::-1]
    assert await listed(agent="nobody") == []
    assert await listed(agent="echo", thread="b", status="queued") == [made[4], made[2]]


WRONG_PATHS = [
    "/v1/runs?cursor=%21%21",
    "/v1/runs?cursor=dGhyZWFkczoxMg",  # one of threads
    "/v1/runs?cursor=" + "A" * 600,
    "/v1/runs?limit=0",
    "/v1/runs?limit=201",
    "/v1/runs?status=done",
    "/v1/runs?thread=a%20b",
    "/v1/runs/not-a-uuid",
    "/v1/runs/not-a-uuid/events",
    "/v1/threads/a%20b",
    "/v1/threads?cursor=cnVuczphYmM",
]


async def test_a_wrong_cursor_filter_or_id_is_422(world: World) -> None:
    for path in WRONG_PATHS:
        answer = await world.http.get(path)
        assert answer.status_code == 422, path
        assert answer.json()["code"] in ("invalid_cursor", "invalid_request")


async def test_a_wrong_event_cursor_is_422(world: World) -> None:
    run = await world.submit()
    path = f"/v1/runs/{run['id']}/events"
    for cursor in ("x", "1", "1-0", "-1-1", "01-1", "1-1-1", "9-1", "99999999999-1"):
        by_header = await world.http.get(path, headers={"Last-Event-ID": cursor})
        by_query = await world.http.get(path, params={"after": cursor})
        assert (by_header.status_code, by_query.status_code) == (422, 422), cursor
        assert by_query.json()["code"] == "invalid_cursor"


async def test_an_unknown_run_is_404(world: World) -> None:
    for what in ("", "/steps", "/attempts", "/events"):
        answer = await world.http.get(f"/v1/runs/{uuid4()}{what}")
        assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")
    assert (await world.http.post(f"/v1/runs/{uuid4()}/cancel")).status_code == 404


async def test_unknown_paths_and_methods_are_problems_too(world: World) -> None:
    nowhere = await world.http.get("/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    wrong = await world.http.put("/v1/runs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"]


async def test_f54_a_cancel_before_the_start_is_final(world: World) -> None:
    run = await world.submit(thread="t")
    behind = await world.submit(thread="t")
    answer = await world.http.post(f"/v1/runs/{run['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    with pytest.raises(AssertionError, match="not claimed"):
        await world.claim(run["id"])
    assert (await world.http.post(f"/v1/runs/{run['id']}/cancel")).status_code == 409
    await world.claim(behind["id"])  # the next of the thread is free to run


async def test_f53_a_cancel_names_one_run(world: World) -> None:
    run = await world.submit(thread="t")
    hands = await world.claim(run["id"])
    resent = await world.submit(thread="t")
    client = await world.nats()
    subscription = await client.subscribe(names.control_subject("runner-1"))
    await client.flush()
    answer = await world.http.post(f"/v1/runs/{run['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    word = (await subscription.next_msg(timeout=5)).data
    assert run["id"].encode() in word
    assert b'"attempt":1' in word.replace(b" ", b"")
    assert await hands.finish() == "cancelled"
    after = (await world.http.get(f"/v1/runs/{resent['id']}")).json()
    assert (after["status"], after["cancel_requested_at"]) == ("queued", None)
    heir = await world.claim(resent["id"])
    assert await heir.finish() == "completed"


async def test_ids_of_one_gateway_grow_with_time(world: World) -> None:
    ids = [UUID((await world.submit())["id"]) for _ in range(3)]
    assert ids == sorted(ids)
