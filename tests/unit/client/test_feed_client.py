"""The feed over connections that break: it goes on at its cursor, for ever."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from holdfast_client import Holdfast, Refused, Unreachable
from tests.unit.client.conftest import Pauses
from tests.unit.local.stub_gateway import Connection, Event, StubGateway, problem

SNAPSHOT: Event = ("740-0", "snapshot", {"runs": [], "pods": []})
PODS: Event = (None, "pods", {"pods": [{"pod": "runner-1"}]})


def _changed(at: str, status: str) -> Event:
    return at, "run.changed", {"run_id": "r", "status": status}


async def _first(holdfast: Holdfast, count: int, after: str | None = None) -> list[tuple[str | None, str]]:
    seen: list[tuple[str | None, str]] = []
    async with asyncio.timeout(5), aclosing(holdfast.feed(after)) as events:
        async for event in events:
            seen.append((event.id, event.type))
            if len(seen) == count:
                break
    return seen


async def test_a_feed_goes_on_at_its_cursor_whatever_ends_it(
    stub: StubGateway, holdfast: Holdfast, pauses: Pauses
) -> None:
    stub.connections = [
        Connection([SNAPSHOT, _changed("741-3", "queued")], cut=True),
        Connection(refused=problem(503, "draining", "stopping")),
        Connection([PODS, _changed("741-4", "running")]),
        Connection([PODS, _changed("742-5", "completed")], stays=True),
    ]
    assert await _first(holdfast, 6) == [
        ("740-0", "snapshot"), ("741-3", "run.changed"), (None, "pods"), ("741-4", "run.changed"), (None, "pods"),
        ("742-5", "run.changed"),
    ]  # fmt: skip
    assert stub.cursors == [None, "741-3", "741-3", "741-4"]
    assert pauses[-1] == 1.0


async def test_a_cursor_of_before_a_restored_backup_is_let_go_and_a_wrong_one_is_refused(
    stub: StubGateway, holdfast: Holdfast
) -> None:
    refused = Connection(refused=problem(422, "invalid_cursor", "not yet"))
    stub.connections = [Connection([_changed("9-9", "queued")], cut=True), refused, Connection([SNAPSHOT])]
    assert await _first(holdfast, 2, "9-8") == [("9-9", "run.changed"), ("740-0", "snapshot")]
    assert stub.cursors == ["9-8", "9-9", None]
    stub.connections = [refused]
    with pytest.raises(Refused, match="not yet"):
        await _first(holdfast, 1, "x")


async def test_patience_ends(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.connections = [Connection([SNAPSHOT], cut=True)] + [Connection(cut=True)] * 50
    with pytest.raises(Unreachable, match=r"gave up after 0\.3 s"):
        await _first(holdfast, 2)
