"""Webhooks by the API of a whole gateway: added, told, listed, sent anew, removed; and refused in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from holdfast_gateway.auth import make_key
from holdfast_local.servers import NatsServer
from tests.integration.gateway.webhook_receiver import Receiver, receiving
from tests.integration.gateway.webhook_rig import SECRET
from tests.integration.gateway.world import CHAT, World
from tests.support.wait import wait_until

HOOKS, DELIVERIES = "/v1/webhooks", "/v1/webhooks/deliveries"
DEFAULT_EVENTS = ["run.completed", "run.failed", "run.cancelled", "run.interrupted", "run.waiting"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def keyed(shared_nats: NatsServer, postgres_url: str) -> AsyncIterator[World]:
    """A gateway that wants keys; its client has a plain one of tenant ``default``."""
    async with World(postgres_url, shared_nats.url, auth="keys", bootstrap_key="an-operators-first-key") as made:
        key, _ = await make_key(made.db, "default", name="plain", operator=False)
        made.http.headers["Authorization"] = f"Bearer {key}"
        yield made


async def _deliveries(world: World, **filters: Any) -> list[dict[str, Any]]:
    answer = await world.http.get(DELIVERIES, params=filters)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_a_run_is_told_to_the_tenants_webhook_and_to_its_own_and_can_be_told_again(
    world: World, receiver: Receiver
) -> None:
    with capture_logs() as logs:
        added = await world.http.post(HOOKS, json={"url": receiver.url, "description": "mine"})
        assert added.status_code == 201
        hook = added.json()
        assert hook["secret"].startswith("whsec_")
        assert (hook["events"], hook["description"]) == (DEFAULT_EVENTS, "mine")
        own = {"url": f"{receiver.url}/own", "secret": SECRET, "events": ["run.completed", "run.running"]}
        run = await world.submit(webhook=own)
        hands = await world.claim(run["id"])
        await hands.finish()
        messages = await receiver.until(3)
        await wait_until(lambda: _done(world, 3), description="all three are delivered")
    for message in messages:
        message.verify(SECRET if message.path == "/hook/own" else hook["secret"])
        assert message.data["run_id"] == run["id"]
        assert message.headers["user-agent"].startswith("Holdfast-Webhooks/")
    assert sorted((message.path, message.type) for message in messages) == [
        ("/hook", "run.completed"),
        ("/hook/own", "run.completed"),
        ("/hook/own", "run.running"),
    ]
    shown = await _deliveries(world, run_id=run["id"])
    assert {each["message_id"] for each in shown} == set(receiver.ids)
    assert {(each["status"], each["tries"], each["last_status"], each["next_at"]) for each in shown} == {
        ("delivered", 1, 204, None)
    }
    [of_hook] = await _deliveries(world, webhook_id=hook["id"])
    assert (of_hook["url"], of_hook["event"]) == (receiver.url, "run.completed")
    again = await world.http.post(f"{DELIVERIES}/{of_hook['id']}/replay")
    assert (again.status_code, again.json()["status"], again.json()["tries"]) == (202, "pending", 0)
    replayed = (await receiver.until(4))[3]
    assert (replayed.id, replayed.body.decode()) == (of_hook["message_id"], of_hook["payload"])
    listed = await world.http.get(HOOKS)
    assert listed.json() == {
        "items": [{name: value for name, value in hook.items() if name != "secret"}],
        "next_cursor": None,
    }
    read_back = await world.http.get(f"/v1/runs/{run['id']}")
    for text in (str(logs), listed.text, str(shown), read_back.text, (await world.http.get("/v1/runs")).text):
        for secret in (SECRET, hook["secret"]):
            assert secret[6:] not in text
    metrics = (await world.http.get("/metrics")).text
    assert 'holdfast_webhook_tries_total{outcome="delivered"}' in metrics
    assert "holdfast_webhooks_overdue_seconds" in metrics


async def _done(world: World, count: int) -> bool:
    return len(await _deliveries(world, status="delivered")) == count


async def test_a_removed_webhook_is_told_nothing_more(world: World, receiver: Receiver) -> None:
    hook = (await world.http.post(HOOKS, json={"url": receiver.url, "events": ["run.queued"], "secret": SECRET})).json()
    assert hook["secret"] == SECRET
    receiver.answers = [500]
    await world.submit()
    await receiver.until(1)
    assert (await world.http.delete(f"{HOOKS}/{hook['id']}")).status_code == 204
    gone = await world.http.delete(f"{HOOKS}/{hook['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "webhook_not_found")
    await world.submit()
    [failed] = await _deliveries(world)
    assert failed["status"] == "failed"
    again = await world.http.post(f"{DELIVERIES}/{failed['id']}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "webhook_removed")
    nothing = await world.http.post(f"{DELIVERIES}/{hook['id']}/replay")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "delivery_not_found")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"url": "http://example.com/x"}, "webhook_refused", "only https is sent over a network"),
    ({"url": "https://u:p@example.com/"}, "webhook_refused", "no user's name"),
    ({"url": "https://10.0.0.1/"}, "webhook_refused", "not public"),
    ({"url": "https://[::ffff:169.254.169.254]/"}, "webhook_refused", "not public"),
    ({"url": "ftp://example.com/"}, "webhook_refused", "begins with https://"),
    ({"url": "example.com"}, "webhook_refused", "begins with https://"),
    ({"url": "http://127.0.0.1:8080/"}, "webhook_refused", "only an operator's key"),
    ({"url": ""}, "invalid_request", "body.url"),
    ({"url": "https://93.184.216.34/", "events": []}, "invalid_request", "body.events"),
    ({"url": "https://93.184.216.34/", "events": ["run.done"]}, "invalid_request", "body.events"),
    ({"url": "https://93.184.216.34/", "secret": "whsec_c2hvcnQ="}, "invalid_request", "24 to 64 random bytes"),
    ({"url": "https://93.184.216.34/", "secret": SECRET[6:]}, "invalid_request", "whsec_"),
]


async def test_what_is_not_sent_to_is_refused_in_words(keyed: World) -> None:
    await keyed.load()
    submit: dict[str, Any] = {"agent": "echo", "input": CHAT}
    for body, code, words in WRONG:
        answer = await keyed.http.post(HOOKS, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), body
        assert words in answer.json()["detail"], body
        assert "secret" not in body or body["secret"][-8:] not in answer.text
        answer = await keyed.http.post("/v1/runs", json={**submit, "webhook": {"secret": SECRET, **body}})
        assert (answer.status_code, answer.json()["code"]) == (422, code), body
    assert (await keyed.http.get("/v1/runs")).json()["items"] == []
    no_secret = await keyed.http.post("/v1/runs", json={**submit, "webhook": {"url": "https://93.184.216.34/"}})
    assert (no_secret.status_code, no_secret.json()["errors"][0]["loc"]) == (422, ["body", "webhook", "secret"])
    operator = {"Authorization": "Bearer an-operators-first-key"}
    allowed = await keyed.http.post(HOOKS, json={"url": "http://127.0.0.1:9/"}, headers=operator)
    assert allowed.status_code == 201


async def test_another_tenants_webhooks_and_deliveries_are_not_there(keyed: World) -> None:
    hook = (
        await keyed.http.post(HOOKS, json={"url": "https://nowhere.invalid/", "events": ["run.queued"]})
    ).json()  # a name that leads nowhere today may lead somewhere tomorrow
    await keyed.submit()
    [delivery] = await _deliveries(keyed)
    key, _ = await make_key(keyed.db, "other", name="n", operator=True)
    keyed.http.headers["Authorization"] = f"Bearer {key}"
    assert await _deliveries(keyed) == []
    assert (await keyed.http.get(HOOKS)).json()["items"] == []
    assert (await keyed.http.delete(f"{HOOKS}/{hook['id']}")).status_code == 404
    assert (await keyed.http.post(f"{DELIVERIES}/{delivery['id']}/replay")).status_code == 404


async def test_pages_of_deliveries_and_the_same_submit_twice(world: World, receiver: Receiver) -> None:
    receiver.held.clear()
    await world.load()
    webhook = {"url": receiver.url, "secret": SECRET, "events": ["run.queued", "run.queued"]}
    body = {"agent": "echo", "input": CHAT, "webhook": webhook}
    key = {"Idempotency-Key": "k"}
    first = await world.http.post("/v1/runs", json=body, headers=key)
    again = await world.http.post("/v1/runs", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = await world.http.post("/v1/runs", json={**body, "webhook": None}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    for _ in range(2):
        await world.http.post("/v1/runs", json=body)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while len(seen) < 3:
        page = (await world.http.get(DELIVERIES, params={"limit": 1, **cursor})).json()
        seen += [each["run_id"] for each in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert page["next_cursor"] is None
    assert seen[2] == first.json()["id"]
    assert len(set(seen)) == 3
    for wrong in ({"cursor": "x"}, {"status": "lost"}, {"run_id": "7"}):
        assert (await world.http.get(DELIVERIES, params=wrong)).status_code == 422
