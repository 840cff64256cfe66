"""The golden files held against the real SDK: every chunk is one that it takes, and it makes of them what the double makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.ai_sdk.driver import Driver, words_of
from tests.unit.gateway.ai_sdk.logs import NAMES, recorded, streams_of
from tests.unit.gateway.ai_sdk.sdk_message import SdkMessage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdk() -> AsyncIterator[Driver]:
    """The SDK, without a gateway."""
    async with Driver() as made:
        yield made


async def test_the_sdk_takes_every_stream(sdk: Driver) -> None:
    for name in NAMES:
        log = recorded(name)
        streams = streams_of(log)
        whole = streams.pop("joined", streams["0"])
        checked = await sdk.do("check", chunks=whole)
        assert checked["unfit"] == [], name
        assert bool(checked["errors"]) == (log["status"] == "failed"), name
        assert words_of(checked["message"]) == log["text"], name
        double = SdkMessage()
        double.take(whole)
        assert _drawn(checked["message"]["parts"]) == _drawn(double.parts), name


async def test_the_sdk_goes_on_with_its_message_from_segment_to_segment(sdk: Driver) -> None:
    for name in NAMES:
        log = recorded(name)
        streams = streams_of(log)
        if streams.pop("joined", None) is None:
            continue
        message: dict[str, Any] = {}
        for chunks in streams.values():
            checked = await sdk.do("check", chunks=chunks, message=message or None)
            message = checked["message"]
            assert (checked["unfit"], checked["errors"]) == ([], []), name
        assert words_of(message) == log["text"], name
        double = SdkMessage()
        for chunks in streams.values():
            double.finished = False
            double.take(chunks)
        assert _drawn(message["parts"]) == _drawn(double.parts), name


def _drawn(parts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    keys = ("type", "text", "state", "toolCallId", "input", "output", "errorText", "data", "providerExecuted")
    return [tuple(part.get(key) for key in keys) for part in parts]
