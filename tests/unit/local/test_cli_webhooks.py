"""``holdfast webhooks`` as a shell sees it. The gateway is scripted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.unit.local.stub_gateway import RUN_ID, Shell, StubGateway, listening, problem

HOOK_ID, DELIVERY_ID = "0198c0de-0000-7000-8000-0000000000aa", "0198c0de-0000-7000-8000-0000000000bb"
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
HOOKS, DELIVERIES = "GET /v1/webhooks", "GET /v1/webhooks/deliveries"
HOOK = {
    "id": HOOK_ID, "url": "https://example.com/hook", "events": ["run.completed", "run.waiting"], "description": "",
    "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


def delivery(**changes: Any) -> dict[str, Any]:
    """A delivery as the API shows it."""
    return {
        "id": DELIVERY_ID, "message_id": f"msg_{DELIVERY_ID}", "webhook_id": HOOK_ID, "run_id": RUN_ID, "event": "run.failed",
        "url": "https://example.com/hook", "status": "delivered", "payload": "{}", "created_at": "2026-01-01T00:00:00Z",
        "tries": 1, "next_at": None, "delivered_at": None, "gave_up_at": None, "last_status": 200, "last_error": None,
        **changes,
    }  # fmt: skip


@pytest.fixture
async def holdfast() -> AsyncIterator[Shell]:
    stub = StubGateway()
    async with listening(stub) as url:
        yield Shell(stub, url)


async def test_webhooks_and_what_fails_are_listed(holdfast: Shell) -> None:
    next_at = (datetime.now(UTC) + timedelta(minutes=5, seconds=30)).isoformat()
    given_up = delivery(
        id=DELIVERY_ID[:-1] + "a", status="failed", tries=7, last_error="the receiver\x1b[31m answered 500"
    )
    again = delivery(status="pending", next_at=next_at, last_error="no connection could be made")
    fresh = delivery(status="pending", tries=0)
    holdfast.stub.answers |= {HOOKS: page(HOOK), DELIVERIES: [page(given_up), page(again, fresh)]}
    listed = await holdfast("webhooks")
    assert listed.exit_code == 0, listed.output
    lines = listed.stdout.splitlines()
    assert lines[0].split() == ["ID", "EVENTS", "ADDED", "DESCRIPTION", "URL"]
    assert lines[1].startswith(f"{HOOK_ID}  completed, waiting  ")
    assert lines[1].endswith("https://example.com/hook")
    assert lines[3] == "failing deliveries, newest first (`holdfast webhooks replay ID` sends one again):"
    assert "failed, again in 5m 2" in lines[5] or "failed, again in 5m 3" in lines[5]
    assert "(1 try so far): no connection could be made" in lines[5]
    assert "given up after 7 tries: the receiver[31m answered 500" in lines[6]
    assert len(lines) == 7
    holdfast.stub.answers[DELIVERIES] = [page(given_up), page(again)]
    shown = json.loads((await holdfast("webhooks", "--json")).stdout)
    assert shown == {"webhooks": [HOOK], "failing": [again, given_up]}
    assert "holdfast webhooks replay ID" in (await holdfast("webhooks", "--help")).stdout
    assert "No such command 'ad'" in (await holdfast("webhooks", "ad")).stderr


async def test_without_webhooks_it_says_how_to_add_one(holdfast: Shell) -> None:
    holdfast.stub.answers |= {HOOKS: page(), DELIVERIES: page()}
    assert (await holdfast("webhooks")).stdout == "no webhooks: `holdfast webhooks add URL` adds one\n"


async def test_add_prints_the_secret_and_nothing_else(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/webhooks"] = {**HOOK, "secret": SECRET}
    added = await holdfast("webhooks", "add", "https://example.com/hook")
    assert (added.exit_code, added.stdout) == (0, f"{SECRET}\n")
    assert added.stderr == f"— webhook {HOOK_ID}: keep its secret, it is not shown again —\n"
    assert holdfast.stub.requests[-1][2] == {"url": "https://example.com/hook", "description": ""}
    some = await holdfast(
        "webhooks",
        "add",
        "https://example.com/hook",
        "--event",
        "failed",
        "--event",
        "queued",
        "--description",
        "d",
        "--json",
    )
    assert json.loads(some.stdout)["secret"] == SECRET
    assert holdfast.stub.requests[-1][2] == {
        "url": "https://example.com/hook", "description": "d", "events": ["run.failed", "run.queued"],
    }  # fmt: skip
    holdfast.stub.answers["POST /v1/webhooks"] = problem(422, "webhook_refused", "only https is sent over a network")
    refused = await holdfast("webhooks", "add", "http://example.com")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: only https is sent over a network\n"


async def test_an_add_whose_answer_got_lost_says_where_to_look(holdfast: Shell) -> None:
    holdfast.stub.answers["POST /v1/webhooks"] = httpx2.Response(502)
    lost = await holdfast("webhooks", "add", "https://example.com/hook")
    assert (lost.exit_code, lost.stdout) == (1, "")
    assert "HTTP 502; it may have been added: see `holdfast webhooks`" in lost.stderr


async def test_remove_and_replay(holdfast: Shell) -> None:
    holdfast.stub.answers |= {
        f"DELETE /v1/webhooks/{HOOK_ID}": problem(404, "webhook_not_found", f"no webhook '{HOOK_ID}'"),
        f"POST /v1/webhooks/deliveries/{DELIVERY_ID}/replay": delivery(status="pending", tries=0),
    }
    gone = await holdfast("webhooks", "remove", HOOK_ID)
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert f"no webhook '{HOOK_ID}'" in gone.stderr
    holdfast.stub.answers[f"DELETE /v1/webhooks/{HOOK_ID}"] = type(problem(404, "", ""))(204)
    assert (await holdfast("webhooks", "remove", HOOK_ID)).stdout == "removed\n"
    replayed = await holdfast("webhooks", "replay", DELIVERY_ID)
    assert replayed.stdout == f"it is being sent again as msg_{DELIVERY_ID}\n"
    assert json.loads((await holdfast("webhooks", "replay", DELIVERY_ID, "--json")).stdout)["status"] == "pending"
    assert (await holdfast("webhooks", "replay", "x")).exit_code == 2


async def test_deliveries_are_listed_by_filter(holdfast: Shell) -> None:
    holdfast.stub.answers[DELIVERIES] = page(
        delivery(), delivery(tries=3), delivery(status="pending", tries=0), delivery(status="failed", last_error="gone")
    )
    listed = await holdfast("webhooks", "deliveries")
    titles, *lines = listed.stdout.splitlines()
    assert titles.split() == ["ID", "RUN", "EVENT", "STATE", "MADE", "URL"]
    assert [line.split("  ")[3].strip() for line in lines] == [
        "delivered", "delivered after 3 tries", "on its way", "given up after 1 try: gone",
    ]  # fmt: skip
    assert holdfast.stub.requests[-1][2] == "limit=50"
    await holdfast("webhooks", "deliveries", "--failed", "--run", RUN_ID, "--webhook", HOOK_ID, "--limit", "7")
    assert sorted(str(holdfast.stub.requests[-1][2]).split("&")) == [
        "limit=7", f"run_id={RUN_ID}", "status=failed", f"webhook_id={HOOK_ID}",
    ]  # fmt: skip
    holdfast.stub.answers[DELIVERIES] = page()
    assert (await holdfast("webhooks", "deliveries")).stdout == "nothing was sent in the last 30 days\n"
    assert (await holdfast("webhooks", "deliveries", "--failed")).stdout == "no such deliveries\n"
    assert json.loads((await holdfast("webhooks", "deliveries", "--json")).stdout) == []
