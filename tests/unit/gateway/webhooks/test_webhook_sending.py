"""A try that ends before anything is sent says why, in words that show no address and no secret."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from holdfast.store.webhooks import Claimed
from holdfast_gateway.webhooks.sending import Outcome, Sender
from holdfast_gateway.webhooks.signing import new_secret

DELIVERY = Claimed(
    id=UUID(int=1),
    tenant_id="default",
    run_id=UUID(int=2),
    url="https://receiver.example/",
    target="receiver.example",
    event="run.failed",
    payload="{}",
    tries=1,
    leased_until=datetime(2026, 1, 1, tzinfo=UTC),
    tried_for_s=0.0,
    secret=new_secret(),
)


async def _unknown(_: str, __: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def _silent(_: str, __: int) -> Sequence[str]:
    await asyncio.Event().wait()
    raise AssertionError


async def _hidden(_: str, __: int) -> Sequence[str]:
    return ["10.20.30.40"]


@pytest.mark.parametrize(
    ("resolve", "words"),
    [
        (_unknown, "no address was found for receiver.example"),
        (_silent, "no answer within 0.05 s"),
        (_hidden, "receiver.example leads to an address that is not public, and such are not allowed here"),
    ],
)
async def test_a_name_that_leads_nowhere(resolve: object, words: str) -> None:
    sender = Sender(resolve, timeout_s=0.05, private=False)  # type: ignore[arg-type]  # parametrize has no types
    assert await sender.send(DELIVERY) == Outcome(None, words)


async def test_the_url_is_read_again_at_each_try() -> None:
    sender = Sender(_hidden, timeout_s=1.0, private=True)
    outcome = await sender.send(replace(DELIVERY, url="http://receiver.example/"))
    assert outcome.error is not None
    assert outcome.error.startswith("only https is sent over a network")


async def test_nothing_is_sent_without_a_secret() -> None:
    sender = Sender(_silent, timeout_s=1.0, private=True)
    assert await sender.send(replace(DELIVERY, secret=None)) == Outcome(None, "the webhook was removed")


def test_a_secret_is_not_shown_with_its_delivery() -> None:
    assert DELIVERY.secret is not None
    assert DELIVERY.secret not in repr(DELIVERY)
