"""A run's events over connections that break: once, in order, to the end, and never for ever in vain."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from holdfast_client import EventId, Fold, Holdfast, KeyRefused, NotAGateway, NotFound, Refused, Run, Unreachable
from tests.support.wait import wait_until
from tests.unit.client.conftest import Pauses
from tests.unit.local.stub_gateway import RUN_ID, Connection, StubGateway, deltas, problem, run_shown

RUN, EVENTS = f"GET /v1/runs/{RUN_ID}", f"GET /v1/runs/{RUN_ID}/events"
DONE = ("1-9", "run.completed", {"output": None})
AWAY = problem(503, "record_unavailable", "Postgres did not answer")


async def _ids(run: Run, **how: Any) -> list[str]:
    async with asyncio.timeout(5), aclosing(run.events(**how)) as events:
        return [str(event.id) async for event in events]


async def test_a_stream_that_breaks_goes_on_at_its_cursor_and_nothing_comes_twice(stub: StubGateway, run: Run) -> None:
    stub.connections = [
        Connection([*deltas("a", "b")], cut=True),
        Connection(cut=True),
        Connection([*deltas("b", "c", first=2)], cut=True),
        Connection([DONE]),
    ]
    assert await _ids(run) == ["1-1", "1-2", "1-3", "1-9"]
    assert stub.cursors == [None, "1-2", "1-2", "1-3"]


async def test_a_clean_end_before_the_last_event_is_not_the_end(stub: StubGateway, run: Run) -> None:
    stub.connections = [Connection([*deltas("a")]), Connection([*deltas("b", first=2)]), Connection([DONE])]
    stub.answers = {RUN: [run_shown(status="running"), run_shown()]}
    assert await _ids(run) == ["1-1", "1-2", "1-9"]


async def test_an_interrupted_run_that_went_on_is_followed(stub: StubGateway, run: Run) -> None:
    interrupted = ("2-1", "run.interrupted", {"reason": "owner_lost"})
    resumed = ("3-1", "run.resumed", {"keep_through": None})
    stub.connections = [Connection([interrupted, resumed], cut=True), Connection([("3-2", *DONE[1:])])]
    assert await _ids(run) == ["2-1", "3-1", "3-2"]
    stub.answers = {RUN: [run_shown(status="running"), run_shown(status="interrupted")]}
    stub.connections = [Connection([interrupted]), Connection([resumed, ("3-2", *interrupted[1:])])]
    assert await _ids(run) == ["2-1", "3-1", "3-2"]


async def test_a_run_that_went_on_and_ended_before_the_record_was_asked_is_followed_to_its_end(
    stub: StubGateway, run: Run
) -> None:
    """As when a later message of the thread gives up an interrupted run."""
    stub.connections = [Connection([("1-2", "run.interrupted", {"reason": "owner_lost"})])] * 2
    stub.connections[1:] = [Connection([("2-1", "run.failed", {"error": {"code": "abandoned"}})])]
    stub.answers = {RUN: run_shown(status="failed", attempt=2)}
    assert await _ids(run) == ["1-2", "2-1"]
    stub.connections = [Connection([("1-2", "run.interrupted", {})]), Connection([("2-2", "run.interrupted", {})])]
    stub.answers = {RUN: run_shown(status="interrupted", attempt=2)}
    assert await _ids(run) == ["1-2", "2-2"]


@pytest.mark.parametrize("status", [408, 500, 520, 524])
async def test_a_page_of_a_proxy_that_finds_no_gateway_is_waited_out(stub: StubGateway, run: Run, status: int) -> None:
    page = httpx2.Response(status, text="<html>", headers={"content-type": "text/html"})
    stub.connections = [Connection([*deltas("a")], cut=True), Connection(refused=page), Connection([DONE])]
    assert await _ids(run) == ["1-1", "1-9"]


@pytest.mark.parametrize("after", ["1-9", EventId(1, 9)])
async def test_a_cursor_at_the_end_of_an_ended_run_gives_nothing(
    stub: StubGateway, run: Run, after: EventId | str
) -> None:
    stub.connections = [Connection(), Connection()]
    stub.answers = {RUN: run_shown()}
    assert await _ids(run, after=after) == []
    assert stub.cursors == ["1-9", "1-9"]


async def test_events_between_the_record_and_the_next_look_are_not_missed(stub: StubGateway, run: Run) -> None:
    """A proxy ended the stream cleanly; the run ended before the record was asked."""
    stub.connections = [Connection([*deltas("a")]), Connection([*deltas("b", first=2), DONE])]
    stub.answers = {RUN: run_shown()}
    assert await _ids(run) == ["1-1", "1-2", "1-9"]


async def test_f37_a_stream_that_never_gets_to_its_last_event_is_an_error_and_no_end(
    stub: StubGateway, run: Run
) -> None:
    stub.connections = [Connection([*deltas("a")])] + [Connection()] * 50
    stub.answers = {RUN: run_shown()}
    with pytest.raises(
        Unreachable, match=rf"ends the stream of run {RUN_ID} before its last event; gave up after 0.3 s"
    ):
        await _ids(run)


async def test_f41_a_snapshot_is_no_duplicate_and_sets_the_cursor_back(stub: StubGateway, run: Run) -> None:
    """The log lost its end: what comes after the snapshot has ids that were seen before, and is new."""
    snapshot = ("1-2", "snapshot", {"run": {"status": "running"}, "steps": []})
    stub.connections = [
        Connection([*deltas("a", "b", "c")], cut=True),
        Connection([snapshot, *deltas("d", first=3)], cut=True),
        Connection([DONE]),
    ]
    assert await _ids(run) == ["1-1", "1-2", "1-3", "1-2", "1-3", "1-9"]
    assert stub.cursors == [None, "1-3", "1-3"]


async def test_a_run_restored_from_a_backup_is_shown_anew(stub: StubGateway, run: Run) -> None:
    refused = problem(422, "invalid_cursor", "2-2 is an event of an attempt that this run has not had")
    stub.connections = [
        Connection([("2-1", "text.delta", {"position": "0", "text": "gone"})], cut=True),
        Connection(refused=refused),
        Connection([*deltas("kept"), DONE]),
    ]
    stub.answers = {RUN: [httpx2.ReadError("lost"), run_shown(status="running")]}
    fold = Fold()
    async with aclosing(run.events()) as events:
        seen = [(str(event.id), fold.apply(event.id, event.type, event.data)) async for event in events]
    assert seen == [("2-1", True), ("0-0", True), ("1-1", True), ("1-9", True)]
    assert fold.text == "kept"
    assert stub.cursors == [None, "2-1", None]


async def test_a_cursor_that_the_caller_made_up_is_refused_and_one_of_a_beginning_is_none(
    stub: StubGateway, run: Run
) -> None:
    stub.connections = [Connection(refused=problem(422, "invalid_cursor", "no such attempt"))]
    with pytest.raises(Refused, match="no such attempt"):
        await _ids(run, after="9-9")
    stub.connections = [Connection([DONE])]
    assert await _ids(run, after="0-0") == ["1-9"]
    assert stub.cursors == ["9-9", None]
    with pytest.raises(ValueError, match="is not an event id"):
        await _ids(run, after="three")


async def test_an_end_that_was_seen_needs_no_gateway_any_more(stub: StubGateway, run: Run) -> None:
    stub.connections = [Connection([DONE], cut=True)]
    assert await _ids(run) == ["1-9"]


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (problem(401, "key_missing", "send a key"), KeyRefused),
        (problem(404, "run_not_found", "no run"), NotFound),
        (httpx2.Response(200, text="<html>", headers={"content-type": "text/html"}), NotAGateway),
        (httpx2.Response(404, text="<html>"), NotAGateway),
        (httpx2.ConnectError("nobody"), Unreachable),
    ],
)
async def test_what_will_not_get_better_is_an_error_at_once(
    stub: StubGateway, run: Run, refused: Any, error: type[Exception]
) -> None:
    stub.connections = [Connection(refused=refused)]
    with pytest.raises(error):
        await _ids(run)
    assert len(stub.cursors) == 1


async def test_a_run_that_is_deleted_meanwhile_is_an_error(stub: StubGateway, run: Run) -> None:
    stub.connections = [
        Connection([*deltas("a")], cut=True),
        Connection(refused=problem(404, "run_not_found", "no run")),
    ]
    with pytest.raises(NotFound):
        await _ids(run)


async def test_events_that_cannot_be_are_no_gateway_s(stub: StubGateway, run: Run) -> None:
    stub.connections = [Connection([("one", "text.delta", {})])]
    with pytest.raises(NotAGateway, match="does not stream as Holdfast does: 'one' is not an event id"):
        await _ids(run)


async def test_a_gateway_that_only_breaks_connections_is_given_up(stub: StubGateway, run: Run) -> None:
    stub.connections = [Connection(cut=True)] * 50
    with pytest.raises(Unreachable, match=r"broke the connection; gave up after 0\.3 s") as gave_up:
        await _ids(run)
    assert gave_up.value.gave_up_after_s == 0.3
    assert len(stub.cursors) < 10


async def test_an_absence_is_told_once_and_a_blink_never(stub: StubGateway, run: Run) -> None:
    links: list[Unreachable | None] = []
    stub.connections = [
        Connection([*deltas("a")], cut=True),
        Connection([*deltas("b", first=2)], cut=True),
        Connection(refused=AWAY), Connection(refused=AWAY),
        Connection([DONE]),
    ]  # fmt: skip
    assert await _ids(run, on_link=links.append) == ["1-1", "1-2", "1-9"]
    away, back = links
    assert away is not None
    assert (away.status, away.code, str(away)) == (
        503, "record_unavailable", "the gateway at http://gateway.test cannot do it now: Postgres did not answer",
    )  # fmt: skip
    assert back is None


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_heeded(stub: StubGateway, pauses: Pauses, status: int) -> None:
    too_many = problem(status, "too_many_streams", "10000 streams", **{"retry-after": "7"})
    stub.connections = [Connection([*deltas("a")], cut=True), Connection(refused=too_many), Connection([DONE])]
    async with Holdfast("http://gateway.test", "", transport=stub.transport()) as holdfast:
        assert await _ids(holdfast.run(RUN_ID)) == ["1-1", "1-9"]
    assert pauses[1] == 7


async def test_pauses_grow_to_a_limit_and_a_stream_that_moves_begins_anew(stub: StubGateway, pauses: Pauses) -> None:
    stub.connections = [
        *[Connection(cut=True)] * 7,
        Connection([*deltas("a")], cut=True),
        Connection([DONE]),
    ]
    async with Holdfast("http://gateway.test", "", transport=stub.transport()) as holdfast:
        assert await _ids(holdfast.run(RUN_ID)) == ["1-1", "1-9"]
    assert all(0.01 <= pause <= 3 for pause in pauses)
    assert all(later > earlier for earlier, later in pairwise(pauses[:7]))
    assert pauses[7] < 0.02


async def test_f33_a_stream_without_a_byte_is_followed_by_polls(stub: StubGateway, run: Run) -> None:
    """A proxy holds the stream back, keepalives too."""
    stub.connections = [Connection(refused=httpx2.ReadTimeout("not a byte"))]
    first = {"id": "1-1", "type": "text.delta", "data": {"position": "0", "text": "a"}}
    last = {"id": "1-9", "type": "run.completed", "data": {}}
    stub.answers = {
        EVENTS: [
            {"events": [first], "next": "1-1", "more": False, "ended": False, "ticket": "t1"},
            {"events": [], "next": "1-1", "more": False, "ended": False},
            httpx2.ReadError("cut"),
            {"events": [first, last], "next": "1-9", "more": False, "ended": True},
        ]
    }
    assert await _ids(run) == ["1-1", "1-9"]
    polls = [(headers, query) for called, headers, query in stub.requests if called == EVENTS][1:]
    assert [headers.get("last-event-id") for headers, _ in polls] == [None, "1-1", "1-1", "1-1"]
    assert ["ticket=t1" in query for _, query in polls] == [False, True, False, False]


async def test_who_knows_of_such_a_proxy_polls_from_the_start(stub: StubGateway) -> None:
    last = {"id": "1-9", "type": "run.completed", "data": {}}
    stub.answers = {EVENTS: {"events": [last], "next": "1-9", "more": False, "ended": True}}
    async with Holdfast("http://gateway.test", "", polling=True, transport=stub.transport()) as holdfast:
        assert await _ids(holdfast.run(RUN_ID)) == ["1-9"]
    assert stub.cursors == []


async def test_who_stops_reading_lets_go_of_the_connection(stub: StubGateway, on_a_socket: Holdfast) -> None:
    run = on_a_socket.run(RUN_ID)
    stub.connections = [Connection([*deltas("a", "b")], stays=True)] * 2
    async with aclosing(run.events()) as events:
        async for _ in events:
            break
    await wait_until(lambda: stub.left == 1, description="the gateway sees that the reader has gone")

    waiting = asyncio.create_task(run.result())
    stub.answers = {RUN: run_shown(status="running")}
    await wait_until(lambda: len(stub.cursors) == 2, description="the second connection")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await wait_until(lambda: stub.left == 2, description="the gateway sees that the waiter has gone")


async def test_hundreds_of_runs_are_followed_at_once(stub: StubGateway, on_a_socket: Holdfast) -> None:
    """A stream holds its connection; a client of many is not to wait for one of the first hundred to end."""
    stub.connections = [Connection([*deltas("a")], stays=True)] * 150
    run = on_a_socket.run(RUN_ID)
    opened = [run.events() for _ in range(150)]
    async with asyncio.timeout(10):
        assert [str((await anext(events)).id) for events in opened] == ["1-1"] * 150
    for events in opened:
        await events.aclose()
