"""Requests while Postgres or NATS is down, frozen or not ready: a clear answer within five seconds, and readiness says why."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Any

import pytest

from holdfast.bus import names
from holdfast.errors import SchemaMismatch
from holdfast.store import caller
from holdfast.store.migrate import migrate
from holdfast_local.servers import NatsServer, PostgresServer
from tests.integration.gateway.conftest import empty_database
from tests.integration.gateway.world import CHAT, World
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

BODY: dict[str, Any] = {"agent": "echo", "input": CHAT}


async def _asked(world: World, method: str, path: str, **options: Any) -> tuple[float, Any]:
    begun = time.monotonic()
    answer = await world.http.request(method, path, **options)
    return time.monotonic() - begun, answer


async def test_a_frozen_postgres_holds_no_request_up(world: World, thawed: PostgresServer) -> None:
    run = await world.submit(thread="t")
    thawed.pause()
    calls = [
        ("GET", "/v1/runs"),
        ("GET", f"/v1/runs/{run['id']}"),
        ("GET", f"/v1/runs/{run['id']}/events"),
        ("GET", "/v1/threads/t/events"),
        ("GET", "/v1/agents"),
        ("POST", f"/v1/runs/{run['id']}/cancel"),
        ("DELETE", "/v1/threads/t"),
        ("POST", "/v1/runs?wait_s=30"),
        ("POST", "/v1/threads/t/runs"),
        *[("GET", "/v1/threads")] * 20,
    ]
    answers = await asyncio.gather(
        *(_asked(world, method, path, **({"json": BODY} if method == "POST" else {})) for method, path in calls)
    )
    for call, (took_s, answer) in zip(calls, answers, strict=True):
        assert answer.status_code == 503, call
        assert answer.json()["code"] == "record_unavailable"
        assert answer.headers["retry-after"]
        assert took_s < 5.0, call
    took_s, answer = await _asked(world, "GET", "/v1/runs")
    assert (answer.status_code, took_s < 0.5) == (503, True)  # known to be away: refused at once
    took_s, ready = await _asked(world, "GET", "/readyz")
    assert ready.status_code == 503
    assert "Postgres" in str(ready.json()["reasons"])
    assert (await world.http.get("/healthz")).status_code == 200
    thawed.resume()
    await world.until_ready()
    assert (await world.http.get(f"/v1/runs/{run['id']}")).status_code == 200


async def test_a_postgres_that_freezes_between_a_requests_calls_does_not_hold_it_up(
    world: World, thawed: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.load()
    submit = caller.submit

    async def freeze_first(*args: Any) -> Any:
        await asyncio.sleep(2.5)  # what the request's calls before this one may have taken
        thawed.pause()
        return await submit(*args)

    monkeypatch.setattr("holdfast_gateway.submitting.caller.submit", freeze_first)
    took_s, answer = await _asked(world, "POST", "/v1/runs", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "record_unavailable")
    assert took_s < 5.0


async def test_a_delete_that_waits_is_told_that_postgres_froze(world: World, thawed: PostgresServer) -> None:
    run = await world.submit(thread="t")
    await world.claim(run["id"])
    deleting = asyncio.create_task(_asked(world, "DELETE", "/v1/threads/t"))

    async def asked() -> bool:
        return (await world.http.get(f"/v1/runs/{run['id']}")).json()["cancel_requested_at"] is not None

    await wait_until(asked, description="the run is asked to end")
    thawed.pause()
    froze_at = time.monotonic()
    _, answer = await deleting
    assert time.monotonic() - froze_at < 5.0
    assert (answer.status_code, answer.json()["code"]) == (503, "record_unavailable")
    assert answer.headers["retry-after"]


async def test_a_postgres_that_is_down_is_told_at_once_and_found_again(
    postgres: PostgresServer, postgres_url: str, shared_nats: NatsServer
) -> None:
    async with Proxy.before(postgres_url) as proxy, World(proxy.url(postgres_url), shared_nats.url) as world:
        run = await world.submit()
        proxy.cut()
        for _ in range(3):
            took_s, answer = await _asked(world, "GET", f"/v1/runs/{run['id']}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert took_s < 4.0
        proxy.restore()

        async def found() -> bool:
            return (await world.http.get(f"/v1/runs/{run['id']}")).status_code == 200

        await wait_until(found, description="the record is found again")


async def test_a_submit_while_nats_is_down_is_taken(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url) as world:
        await world.load()
        nats.kill()
        took_s, answer = await _asked(world, "POST", "/v1/runs", json=BODY)
        assert answer.status_code == 202
        assert took_s < 2.0
        assert (await _asked(world, "GET", "/v1/pods"))[1].status_code == 503
        ready = await world.http.get("/readyz")
        assert ready.status_code == 503
        assert "NATS" in str(ready.json()["reasons"])
        await nats.start()
        await world.until_ready()


async def test_a_submit_while_nats_is_frozen_is_taken(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url) as world:
        run = await world.submit()
        nats.pause()
        took_s, answer = await _asked(world, "POST", "/v1/runs", json=BODY)
        assert answer.status_code == 202
        assert took_s < 2.0
        took_s, cancelled = await _asked(world, "POST", f"/v1/runs/{run['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
        assert took_s < 2.0
        took_s, pods = await _asked(world, "GET", "/v1/pods")
        assert (pods.status_code, pods.json()["code"]) == (503, "bus_unavailable")
        assert took_s < 5.0
        nats.resume()
        await world.until_ready()


async def test_f19_a_repeated_submit_asks_for_a_runner_again(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url) as world:
        await world.load()
        key = {"Idempotency-Key": "k"}
        nats.kill()
        run = (await world.http.post("/v1/runs", json=BODY, headers=key)).json()
        await nats.start()
        await world.until_ready()
        context = (await world.nats()).jetstream()
        assert (await context.stream_info(names.REQUESTS_STREAM)).state.messages == 0
        again = await world.http.post("/v1/runs", json=BODY, headers=key)
        assert (again.status_code, again.json()["id"]) == (200, run["id"])
        message = await context.get_last_msg(names.REQUESTS_STREAM, names.request_subject("default", run["id"]))
        assert message.data is not None


async def test_streams_that_vanish_are_made_again(nats: NatsServer, postgres_url: str) -> None:
    async with World(postgres_url, nats.url) as world:
        client = await world.nats()
        nats.kill()
        shutil.rmtree(nats.data_dir / "jetstream")
        await nats.start()
        await world.until_ready()
        context = client.jetstream()

        async def made() -> bool:
            try:
                await context.stream_info(names.EVENTS_STREAM)
            except Exception:
                return False
            return True

        await wait_until(made, description="the streams are there again")
        run = await world.submit()
        stream = await world.follow(run["id"])
        await stream.until("run.queued")


async def test_until_the_schema_is_there_requests_are_refused_and_say_why(
    postgres: PostgresServer, shared_nats: NatsServer
) -> None:
    url = await empty_database(postgres)
    async with World(url, shared_nats.url, wait_ready=False) as world:

        async def listens() -> bool:
            try:
                return (await world.http.get("/healthz")).status_code == 200
            except Exception:
                return False

        await wait_until(listens, description="it listens")
        answer = await world.http.get("/v1/runs")
        assert (answer.status_code, answer.json()["code"]) == (503, "record_unavailable")
        assert "schema" in answer.json()["detail"]
        assert "schema" in str((await world.http.get("/readyz")).json()["reasons"])
        await asyncio.to_thread(migrate, url)
        await world.until_ready()
        assert (await world.http.get("/v1/runs")).status_code == 200


async def test_a_schema_that_nobody_makes_ends_the_gateway(postgres: PostgresServer, shared_nats: NatsServer) -> None:
    url = await empty_database(postgres)
    world = World(url, shared_nats.url, wait_ready=False, schema_wait_s=0.3)
    with pytest.RaisesGroup(SchemaMismatch, flatten_subgroups=True):
        async with world:
            await asyncio.wait({world._task})
