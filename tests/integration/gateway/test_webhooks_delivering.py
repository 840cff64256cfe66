"""Deliveries reach real HTTP servers: at least once under one id, again when they fail, nowhere but where they may go."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from holdfast.errors import StoreUnavailable
from holdfast.store import webhooks
from holdfast_gateway.webhooks.gate import Gate
from holdfast_gateway.webhooks.targets import TargetRefused
from holdfast_local.ports import free_ports
from tests.integration.gateway.webhook_receiver import Receiver, receiving
from tests.integration.gateway.webhook_rig import SECRET, Deliveries, leads_to
from tests.support.proxy import Direction, Proxy
from tests.support.wait import wait_until


@pytest.fixture
async def rig(postgres_url: str) -> AsyncIterator[Deliveries]:
    async with Deliveries(postgres_url) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def test_a_failed_try_is_made_again_for_a_day_with_the_same_id_and_bytes(
    rig: Deliveries, receiver: Receiver
) -> None:
    await rig.hook(receiver.url)
    await rig.ended()
    receiver.answers = [500, 404, (503, {"retry-after": "7200"}), (429, {"retry-after": "1"}), 500, 500, 200]
    waits = [5, 300, 7200, 7200, 18000]
    async with rig.sending():
        for tries, wait_s in enumerate(waits, 1):
            tried = await rig.until(tries=tries)
            assert tried.last_error == f"the receiver answered {tried.last_status}"
            assert await rig.seconds_to_next() == pytest.approx(wait_s, abs=1.5)
            await rig.hours_pass(wait_s / 3600)
        await rig.until(tries=6)
        assert await rig.seconds_to_next() == pytest.approx(36_000, abs=1.5)
        await rig.hours_pass(10)
        done = await rig.until(status="delivered")
    assert (done.tries, done.last_status, done.last_error) == (7, 200, None)
    assert set(receiver.ids) == {f"msg_{done.id}"}
    assert {message.body for message in receiver.messages} == {done.payload.encode()}
    for message in receiver.messages:
        message.verify(SECRET)
        assert message.headers["content-type"] == "application/json"
        assert message.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_a_message_that_nobody_takes_for_a_day_is_given_up_and_can_be_sent_anew(
    rig: Deliveries, receiver: Receiver
) -> None:
    await rig.hook(receiver.url)
    await rig.ended()
    receiver.answers = [500, 500, 410]
    async with rig.sending():
        first = await rig.until(tries=1)
        await rig.hours_pass(24)
        given_up = await rig.until(status="failed")
        assert (given_up.id, given_up.tries, given_up.next_at) == (first.id, 2, None)
        await webhooks.replay(rig.db, "default", first.id)
        gone = await rig.until(status="failed", tries=1)  # 410: at once
        assert gone.last_status == 410
        await webhooks.replay(rig.db, "default", first.id)
        done = await rig.until(status="delivered")
        await webhooks.replay(rig.db, "default", first.id)  # also one that was taken
        await receiver.until(5)
        again = await rig.until(status="delivered")
    assert again.delivered_at is not None
    assert done.delivered_at is not None
    assert again.delivered_at > done.delivered_at
    assert set(receiver.ids) == {f"msg_{first.id}"}


async def test_a_receiver_that_does_not_answer_in_time_or_cannot_be_reached_is_tried_again(
    rig: Deliveries, receiver: Receiver
) -> None:
    receiver.held.clear()
    await rig.hook(receiver.url)
    [closed] = free_ports(1)
    await rig.hook(f"http://localhost:{closed}/x")
    await rig.ended()
    async with rig.sending(timeout_s=0.3):
        await wait_until(lambda: _failed(rig, 2), description="both have failed")
    errors = {row.url: row.last_error for row in await rig.rows()}
    assert errors == {
        receiver.url: "no answer within 0.3 s",
        f"http://localhost:{closed}/x": "no connection could be made",
    }
    assert {row.last_status for row in await rig.rows()} == {None}


async def _failed(rig: Deliveries, count: int) -> bool:
    return len([row for row in await rig.rows() if row.last_error]) == count


async def test_a_record_that_goes_away_at_the_wrong_moment_costs_no_try(
    rig: Deliveries, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> float:
        monkeypatch.undo()
        raise StoreUnavailable("away")

    monkeypatch.setattr(webhooks, "overdue_s", away)
    await rig.hook(receiver.url)
    await rig.ended()
    async with rig.sending():
        assert (await rig.until(status="delivered")).tries == 1


async def test_a_redirect_is_not_followed(rig: Deliveries, receiver: Receiver) -> None:
    async with receiving() as other:
        receiver.answers = [(307, {"location": other.url})]
        await rig.hook(receiver.url)
        await rig.ended()
        async with rig.sending():
            tried = await rig.until(tries=1)
        assert (tried.last_status, other.connections) == (307, 0)
        assert tried.last_error == "the receiver answered 307, and redirects are not followed"
        assert tried.next_at is not None


async def test_a_name_that_leads_elsewhere_later_is_not_followed_there(rig: Deliveries, receiver: Receiver) -> None:
    url = f"https://rebinds.example:{receiver.port}/hook"
    await Gate(leads_to("93.184.216.34"), private=False).check(url, operator=False)
    await rig.hook(url)
    await rig.ended()
    for hidden in ("127.0.0.1", "::ffff:127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0"):
        async with rig.sending(resolve=leads_to("93.184.216.34", hidden)):
            tried = await rig.until(tries=1)
            assert (tried.last_status, receiver.connections) == (None, 0)
            assert tried.last_error == (
                "rebinds.example leads to an address that is not public, and such are not allowed here"
            )
            assert hidden not in tried.last_error
        await webhooks.replay(rig.db, "default", tried.id)
        with pytest.raises(TargetRefused):
            await Gate(leads_to(hidden), private=False).check(url, operator=True)


async def test_the_certificate_is_held_against_the_name_although_the_connection_goes_to_an_address(
    rig: Deliveries,
) -> None:
    async with receiving(tls=True) as receiver:
        await rig.hook(f"https://other.example:{receiver.port}/hook?x=1")
        await rig.ended()
        async with rig.sending(resolve=leads_to("127.0.0.1"), private=True):
            refused = await rig.until(tries=1)
            assert refused.last_error is not None
            assert refused.last_error.startswith("TLS failed: Hostname mismatch")
            assert receiver.messages == []
            await rig.hook(f"https://receiver.example:{receiver.port}/hook?x=1")
            await rig.ended()
            [message] = await receiver.until(1)
            message.verify(SECRET)
            assert message.path == "/hook?x=1"
            assert message.headers["host"] == f"receiver.example:{receiver.port}"


async def test_the_next_address_is_tried_when_one_takes_no_connection(rig: Deliveries) -> None:
    async with receiving(tls=True) as receiver:
        await rig.hook(f"https://receiver.example:{receiver.port}/")
        await rig.ended()
        async with rig.sending(resolve=leads_to("::1", "127.0.0.2", "127.0.0.1"), private=True):
            await receiver.until(1)
            assert (await rig.until(status="delivered")).tries == 1


async def test_a_receiver_that_does_not_answer_holds_up_no_other(rig: Deliveries, receiver: Receiver) -> None:
    receiver.held.clear()
    await rig.hook(receiver.url)
    await rig.ended(12)
    async with receiving() as good, rig.sending(at_once=16):
        await receiver.until(2)
        await rig.hook(good.url)
        await rig.ended()
        await good.until(1, timeout_s=3.0)
        assert len(receiver.messages) == 2  # an eighth of 16
        receiver.held.set()
        await receiver.until(13)


async def test_two_gateways_send_each_message_once(rig: Deliveries, receiver: Receiver) -> None:
    await rig.hook(receiver.url)
    await rig.ended(20)
    async with rig.sending(), rig.sending():
        await receiver.until(20)
        await wait_until(lambda: _all_delivered(rig), description="all are delivered")
    assert len(receiver.ids) == len(set(receiver.ids)) == 20


async def _all_delivered(rig: Deliveries) -> bool:
    return not [row for row in await rig.rows() if row.delivered_at is None]


async def test_what_a_gateway_says_whose_lease_has_run_out_does_not_count(rig: Deliveries, receiver: Receiver) -> None:
    receiver.held.clear()
    receiver.answers = [410, 200]
    await rig.hook(receiver.url)
    await rig.ended()
    async with rig.sending():
        await receiver.until(1)
        await rig.hours_pass(1)  # the first one is frozen, say
        async with rig.sending():
            await receiver.until(2)
            receiver.held.set()
            done = await rig.until(status="delivered")
    assert (done.tries, done.last_status) == (2, 200)
    assert receiver.ids == [f"msg_{done.id}"] * 2


async def test_a_gateway_that_is_killed_in_the_middle_of_a_delivery_loses_nothing(
    rig: Deliveries, receiver: Receiver
) -> None:
    receiver.held.clear()
    await rig.hook(receiver.url)
    await rig.ended()
    env = {
        "HOLDFAST_POSTGRES_URL": rig.url,
        "HOLDFAST_NATS_URL": "nats://127.0.0.1:1",  # webhooks do not need it
        "HOLDFAST_PORT": str(free_ports(1)[0]),
        "HOLDFAST_AUTH": "none",
    }
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast_gateway", env={**os.environ, **env},
        stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await receiver.until(1, timeout_s=20.0)
    finally:
        gateway.kill()
        await gateway.wait()
    receiver.held.set()
    held = await rig.one()
    assert held.leased_until is not None
    assert held.leased_until - held.created_at > timedelta(seconds=15)
    async with rig.sending():
        async with receiving() as other:  # it looks, and leaves alone what the dead one holds
            await rig.hook(other.url)
            await rig.ended()
            await other.until(1)
        assert receiver.ids.count(f"msg_{held.id}") == 1
        await rig.hours_pass(1)
        await wait_until(lambda: receiver.ids.count(f"msg_{held.id}") == 2, description="another one has sent it")
        await wait_until(lambda: _delivered(rig, held.run_id), description="it is delivered")
    first, *_, last = [message for message in receiver.messages if message.id == f"msg_{held.id}"]
    assert first.body == last.body
    last.verify(SECRET)


async def _delivered(rig: Deliveries, run_id: object) -> bool:
    return bool(await rig.rows(run_id=run_id, status="delivered"))


async def test_a_drain_lets_what_is_under_way_end_and_begins_nothing(rig: Deliveries, receiver: Receiver) -> None:
    receiver.held.clear()
    await rig.hook(receiver.url)
    await rig.ended()
    async with rig.sending() as draining:
        await receiver.until(1)
        draining.set()
        await rig.ended()
        asyncio.get_running_loop().call_later(0.1, receiver.held.set)
    first, second = await rig.rows()
    assert first.delivered_at is not None
    assert (second.tries, len(receiver.messages)) == (0, 1)


async def test_what_came_of_a_try_is_written_when_the_record_is_back(rig: Deliveries, receiver: Receiver) -> None:
    receiver.held.clear()
    await rig.hook(receiver.url)
    await rig.ended()
    async with Proxy.before(rig.url) as proxy, rig.sending(url=proxy.url(rig.url)):
        await receiver.until(1)
        proxy.cut_when(Direction.UP, lambda _: True)
        proxy.cut()
        receiver.held.set()
        await wait_until(lambda: proxy.links_ever > 3, description="it tries to write")
        proxy.restore()
        done = await rig.until(status="delivered")
    assert (done.tries, len(receiver.messages)) == (1, 1)


async def test_no_secret_and_no_url_is_logged_or_listed(rig: Deliveries, receiver: Receiver) -> None:
    receiver.answers = [500, 410]
    await rig.hook(receiver.url + "?token=hidden")
    await rig.ended()
    with capture_logs() as logs:
        async with rig.sending():
            await rig.until(tries=1)
            await rig.hours_pass(1)
            row = await rig.until(status="failed")
    assert {entry["event"] for entry in logs} >= {"webhook.failed", "webhook.given_up"}
    for shown in (str(logs), str(await webhooks.webhooks(rig.db, "default")), str(row)):
        assert SECRET[6:] not in shown
    assert "hidden" not in str(logs)
