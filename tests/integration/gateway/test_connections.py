"""How many connections one key may hold open at a gateway: what is too many is refused before anything starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from holdfast_gateway.auth import make_key
from holdfast_local.servers import NatsServer
from tests.integration.gateway.world import CHAT, World
from tests.support.wait import wait_until

BODY: dict[str, Any] = {"agent": "echo", "input": CHAT}


@pytest.fixture
async def strict(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway where a key may hold two connections."""
    async with World(postgres_url, shared_nats.url, auth="keys", streams_per_key_max=2) as made:
        yield made


async def test_a_key_with_too_many_streams_is_refused_and_others_are_not(strict: World) -> None:
    key, _ = await make_key(strict.db, "default", name="", operator=False)
    other, _ = await make_key(strict.db, "default", name="", operator=False)
    ours, theirs = {"Authorization": f"Bearer {key}"}, {"Authorization": f"Bearer {other}"}
    await strict.load()
    run = (await strict.http.post("/v1/runs", json=BODY, headers=ours)).json()
    first = await strict.follow(run["id"], **ours)
    second = await strict.follow(f"/v1/threads/{run['thread_id']}/events", **ours)
    assert first.answer.status_code == second.answer.status_code == 200

    def refused(answer: httpx2.Response) -> None:
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams"), answer.text
        assert answer.headers["retry-after"] == "1"

    events = f"/v1/runs/{run['id']}/events"
    refused(await strict.http.get(events, headers=ours))
    refused(await strict.http.get(f"/v1/threads/{run['thread_id']}/events", headers=ours))
    refused(await strict.http.get(events, headers={**ours, "Accept": "application/json"}))
    refused(await strict.http.post("/v1/runs?wait_s=1", json=BODY, headers=ours))
    refused(await strict.http.post("/v1/runs", json=BODY, headers={**ours, "Accept": "text/event-stream"}))
    runs = (await strict.http.get("/v1/runs", headers=ours)).json()["items"]
    assert [each["id"] for each in runs] == [run["id"]]  # nothing was made, and short requests are not counted
    again = await strict.follow(run["id"], **theirs)
    assert again.answer.status_code == 200
    await second.close()

    async def free() -> bool:
        answer = await strict.http.get(f"{events}?wait_s=0", headers={**ours, "Accept": "application/json"})
        return answer.status_code == 200

    await wait_until(free, description="the closed stream has left its place")
    await first.close()


async def test_requests_that_fail_or_are_over_hold_no_place(shared_nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, shared_nats.url, streams_per_key_max=1) as world:
        run = await world.submit(thread="t")
        events = f"/v1/runs/{run['id']}/events"
        for path, status in (
            ("/v1/runs/00000000-0000-0000-0000-000000000000/events", 404),
            (f"{events}?after=9-9", 422),
            ("/v1/threads/other/events", 404),
            (f"{events}?wait_s=61", 422),
        ):
            assert (await world.http.get(path)).status_code == status, path
        unknown = await world.http.post("/v1/runs?wait_s=1", json={**BODY, "agent": "nobody"})
        assert unknown.status_code == 422
        assert (await world.http.post("/v1/runs?wait_s=0.1", json=BODY)).status_code == 202
        hands = await world.claim(run["id"])
        await hands.finish()
        for _ in range(3):  # one that ends frees its place
            stream = await world.follow(run["id"])
            await stream.until_end()
        idle = (await world.submit())["id"]
        waiting = asyncio.create_task(
            world.http.get(f"/v1/runs/{idle}/events?after=0-1&wait_s=60", headers={"Accept": "application/json"})
        )

        await wait_until(lambda: world.gateway.followed == 1, description="the long poll waits")

        async def free() -> bool:
            return (await world.http.get(events, headers={"Accept": "application/json"})).status_code == 200

        assert not await free()
        waiting.cancel()
        await asyncio.wait({waiting})

        await wait_until(free, description="a poll whose client went holds none")
