"""Who may ask: keys, tenants, loopback names, browsers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.store import caller
from holdfast_gateway.auth import make_key
from holdfast_local.servers import NatsServer
from tests.integration.gateway.world import CHAT, World
from tests.support.pods import FakePod

BOOTSTRAP = "a-first-key-of-24-letters"


@pytest.fixture
async def keyed(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway that wants keys."""
    async with World(postgres_url, shared_nats.url, auth="keys", bootstrap_key=BOOTSTRAP) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


NO_KEY: list[dict[str, str]] = [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"X-Api-Key": ""}]


async def test_no_key_and_a_bad_key_are_401(keyed: World) -> None:
    for headers in NO_KEY:
        for path in ("/v1/runs", "/v1/agents", "/v1/threads/x/events"):
            answer = await keyed.http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "key_missing"), headers
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for key in (b"hf_nobodys", b"x" * 10_000, b"\xff"):
        answer = await keyed.http.get("/v1/runs", headers=[(b"X-Api-Key", key)])
        assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid"), key


async def test_health_needs_no_key(keyed: World) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert (await keyed.http.get(path)).status_code == 200


async def test_the_bootstrap_key_is_an_operators(keyed: World) -> None:
    for headers in (bearer(BOOTSTRAP), {"X-Api-Key": BOOTSTRAP}, {"Authorization": f"bearer  {BOOTSTRAP}"}):
        assert (await keyed.http.get("/v1/runs", headers=headers)).status_code == 200
    stored = await caller.keys(keyed.db, "default")
    assert [(row.name, row.operator) for row in stored] == [("bootstrap", True)]
    assert BOOTSTRAP not in str(stored)


async def test_a_revoked_key_is_refused_at_once(keyed: World) -> None:
    key, row = await make_key(keyed.db, "default", name="n", operator=False)
    assert key.startswith("hf_")
    assert (await keyed.http.get("/v1/runs", headers=bearer(key))).status_code == 200
    assert await caller.revoke_key(keyed.db, "default", row.id)
    assert (await keyed.http.get("/v1/runs", headers=bearer(key))).status_code == 401


async def test_another_tenants_things_are_not_there(keyed: World) -> None:
    ours, _ = await make_key(keyed.db, "ours", name="", operator=False)
    theirs, _ = await make_key(keyed.db, "theirs", name="", operator=True)
    await keyed.load()
    body = {"agent": "echo", "input": CHAT, "thread_id": "t"}
    once = {**bearer(ours), "Idempotency-Key": "k"}
    run = (await keyed.http.post("/v1/runs", json=body, headers=once)).json()

    async def asked(method: str, path: str, sent: Any = None) -> int:
        return (await keyed.http.request(method, path, headers=bearer(theirs), json=sent)).status_code

    for path in ("", "/steps", "/attempts", "/events"):
        assert await asked("GET", f"/v1/runs/{run['id']}{path}") == 404
    question = {"question_id": run["id"], "answer": "yes"}
    for what, sent in (
        ("cancel", None),
        ("resume", None),
        ("fork", None),
        ("fork", {"thread_id": "x"}),
        ("answer", question),
    ):
        assert await asked("POST", f"/v1/runs/{run['id']}/{what}", sent) == 404
    queued = f"/v1/threads/t/queue/{run['id']}"
    for method, path, sent in (
        ("PATCH", queued, {"input": CHAT}),
        ("DELETE", queued, None),
        ("POST", f"{queued}/now", None),
    ):
        assert await asked(method, path, sent) == 404
    for path in ("", "/messages", "/events", "/queue"):
        assert await asked("GET", f"/v1/threads/t{path}") == 404
    assert await asked("DELETE", "/v1/threads/t") == 404
    assert (await keyed.http.get("/v1/runs", headers=bearer(theirs))).json()["items"] == []
    assert (await keyed.http.get("/v1/threads", headers=bearer(theirs))).json()["items"] == []
    # names and idempotency keys are each tenant's own
    again = await keyed.http.post("/v1/runs", json=body, headers={**bearer(theirs), "Idempotency-Key": "k"})
    assert again.status_code == 202
    assert again.json()["id"] != run["id"]
    # a thread's cursor does not open another tenant's run
    answer = await keyed.http.get(
        "/v1/threads/t/events", headers={**bearer(theirs), "Last-Event-ID": f"{run['id']}:0-1"}
    )
    assert answer.status_code == 404
    assert (await keyed.http.get(f"/v1/runs/{run['id']}", headers=bearer(ours))).status_code == 200


async def test_pods_show_host_and_pid_to_operators_only(keyed: World) -> None:
    pod = FakePod("runner-x", nats_url=keyed.nats_url, postgres_url=keyed.postgres_url, interval_s=0.5, ttl_s=5)
    await pod.start()
    try:
        operator, _ = await make_key(keyed.db, "default", name="", operator=True)
        plain, _ = await make_key(keyed.db, "default", name="", operator=False)

        async def shown(key: str) -> dict[str, Any]:
            items = (await keyed.http.get("/v1/pods", headers=bearer(key))).json()["items"]
            return dict(next(item for item in items if item["pod"] == "runner-x"))

        whole = await shown(operator)
        assert (whole["host"], whole["pid"], whole["boot"]) == ("test", 1, str(pod.boot))
        assert {"pool", "slots", "running", "draining", "version"} <= whole.keys()
        seen = datetime.fromisoformat(whole["last_seen"])
        assert abs(datetime.now(UTC) - seen) < timedelta(seconds=30)
        assert {"host", "pid"}.isdisjoint(await shown(plain))
    finally:
        await pod.kill()


async def test_without_keys_host_and_origin_must_be_loopback_names(world: World) -> None:
    for host in ("evil.example", "localhost.evil.example", "10.0.0.1:8080", ""):
        answer = await world.http.get("/v1/runs", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "host_not_loopback"), host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"):
        assert (await world.http.get("/v1/runs", headers={"Host": host})).status_code == 200, host
    for origin in ("https://evil.example", "null", "http://[", "http://localhost.evil.example"):
        answer = await world.http.get("/v1/runs", headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_loopback"), origin
    answer = await world.http.get("/v1/runs", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers  # let in by the server, and not by the browser


async def test_browsers_of_named_origins_are_let_in(shared_nats: NatsServer, postgres_url: str) -> None:
    async with World(
        postgres_url, shared_nats.url, auth="keys", bootstrap_key=BOOTSTRAP, cors_origins=("https://app.example",)
    ) as world:
        ask = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,last-event-id",
        }
        preflight = await world.http.options("/v1/runs", headers=ask)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        refused = await world.http.options("/v1/runs", headers={**ask, "Origin": "https://evil.example"})
        assert refused.status_code == 400
        answer = await world.http.get("/v1/runs", headers={"Origin": "https://app.example"})
        assert answer.status_code == 401  # an error, too, is readable for the page
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert "x-workflow-run-id" in exposed
        assert "location" in exposed
        other = await world.http.get("/v1/runs", headers={"Origin": "https://evil.example", **bearer(BOOTSTRAP)})
        assert "access-control-allow-origin" not in other.headers


async def test_the_openapi_page_says_what_is_so(keyed: World) -> None:
    page = (await keyed.http.get("/openapi.json")).json()
    assert set(page["components"]["securitySchemes"]) == {"bearer", "header"}
    refused = page["paths"]["/v1/runs"]["post"]["responses"]["422"]
    assert list(refused["content"]) == ["application/problem+json"]
    assert refused["content"]["application/problem+json"]["example"]["code"] == "invalid_request"
    for path in ("/v1/runs", "/v1/threads/{thread_id}/runs"):
        streamed = page["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
        assert "event: run.started" in streamed["example"]
    schemas = page["components"]["schemas"]
    assert schemas["RunWanted"]["examples"][0]["agent"] == "assistant"
    for taken in ("AnswerWanted", "ForkWanted", "QueueEdit", "Run", "Waiting"):
        assert schemas[taken]["examples"], taken
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            assert example.keys() <= schema["properties"].keys() or name == "Problem", name
    assert "schema" in schemas["Waiting"]["properties"]
    for path in ("/v1/runs/{run_id}/answer", "/v1/runs/{run_id}/resume", "/v1/runs/{run_id}/fork"):
        assert {"202", "404", "409"} <= page["paths"][path]["post"]["responses"].keys()
    assert page["paths"]["/v1/threads/{thread_id}/queue/{run_id}"].keys() == {"patch", "delete"}
    for path, calls in page["paths"].items():
        for method, call in calls.items():
            assert call["summary"], (method, path)
            assert {"401", "422", "503"} <= call["responses"].keys(), (method, path)
            for status, response in call["responses"].items():
                for kind, media in response.get("content", {}).items():
                    if kind == "application/problem+json":
                        assert media["example"]["status"] == int(status), (method, path)


async def test_the_page_of_the_api_loads_nothing_from_elsewhere(keyed: World) -> None:
    page = (await keyed.http.get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(path.endswith(".js") for path in loaded)
    for path in loaded:
        assert path.startswith("/"), path
        assert (await keyed.http.get(path)).status_code == 200, path
