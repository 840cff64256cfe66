"""The client of the native API: a stream without gaps or doubles over connections that break, and errors in words."""

from __future__ import annotations

from contextlib import aclosing

import httpx2
import pytest

from holdfast.runs import EventId
from holdfast_local import api
from holdfast_local.answers import ApiRefused, NoGateway, NotAGateway
from holdfast_local.api import Gateway
from tests.unit.local.stub_gateway import RUN_ID, Connection, StubGateway, deltas, problem, run_shown

DONE = ("1-9", "run.completed", {"output": None})
RUN = f"GET /v1/runs/{RUN_ID}"


def _gateway(stub: StubGateway, key: str | None = None) -> Gateway:
    return Gateway("http://gateway.test", key, transport=stub.transport())


async def _ids(stub: StubGateway, *, after: str | None = None, links: list[str | None] | None = None) -> list[str]:
    start = EventId.parse(after) if after else None
    async with _gateway(stub) as gateway:
        gateway._was_there = True  # as after a submit
        on_link = links.append if links is not None else None
        async with aclosing(gateway.follow(RUN_ID, after=start, on_link=on_link)) as events:
            return [str(event.id) async for event in events]


async def test_a_stream_that_breaks_goes_on_at_its_cursor_and_nothing_comes_twice() -> None:
    stub = StubGateway(
        connections=[
            Connection([*deltas("a", "b")], cut=True),
            Connection(cut=True),
            Connection([*deltas("b", "c", first=2)], cut=True),
            Connection([DONE]),
        ]
    )
    assert await _ids(stub) == ["1-1", "1-2", "1-3", "1-9"]
    assert stub.cursors == [None, "1-2", "1-2", "1-3"]


async def test_a_clean_end_before_the_last_event_is_not_the_end() -> None:
    stub = StubGateway(
        connections=[Connection([*deltas("a")]), Connection([*deltas("b", first=2)]), Connection([DONE])],
        answers={RUN: [run_shown(status="running"), run_shown()]},
    )
    assert await _ids(stub) == ["1-1", "1-2", "1-9"]


async def test_an_interrupted_run_that_went_on_is_followed() -> None:
    interrupted = ("2-1", "run.interrupted", {"reason": "owner_lost"})
    resumed = ("3-1", "run.resumed", {"keep_through": None})
    stub = StubGateway(connections=[Connection([interrupted, resumed], cut=True), Connection([("3-2", *DONE[1:])])])
    assert await _ids(stub) == ["2-1", "3-1", "3-2"]
    assert await _ids(StubGateway(connections=[Connection([interrupted])])) == ["2-1"]


async def test_a_cursor_at_the_end_of_an_ended_run_gives_nothing() -> None:
    stub = StubGateway(connections=[Connection(), Connection()], answers={RUN: run_shown()})
    assert await _ids(stub, after="1-9") == []
    assert stub.cursors == ["1-9", "1-9"]


async def test_events_between_the_record_and_the_next_look_are_not_missed() -> None:
    """A proxy ended the stream cleanly; the run ended before the record was asked."""
    stub = StubGateway(
        connections=[Connection([*deltas("a")]), Connection([*deltas("b", first=2), DONE])], answers={RUN: run_shown()}
    )
    assert await _ids(stub) == ["1-1", "1-2", "1-9"]


async def test_an_absence_is_told_once_and_a_blink_never() -> None:
    links: list[str | None] = []
    away = problem(503, "record_unavailable", "Postgres did not answer")
    stub = StubGateway(
        connections=[
            Connection([*deltas("a")], cut=True),
            Connection([*deltas("b", first=2)], cut=True),
            Connection(refused=away), Connection(refused=away), Connection(refused=away),
            Connection([DONE]),
        ]
    )  # fmt: skip
    assert await _ids(stub, links=links) == ["1-1", "1-2", "1-9"]
    assert links == ["the gateway at http://gateway.test cannot do it now: Postgres did not answer", None]


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_STREAM_PATIENCE_S", 0.3)
    stub = StubGateway(connections=[Connection(cut=True)] * 2 + [Connection(refused=httpx2.Response(502))] * 50)
    with pytest.raises(NoGateway, match=rf"HTTP 502; gave up after 0.3 s; the run goes on: `holdfast tail {RUN_ID}`"):
        await _ids(stub)


async def test_a_gateway_that_was_never_there_is_an_error_at_once() -> None:
    stub = StubGateway(answers={"POST /v1/runs": httpx2.ConnectError("refused"), RUN: httpx2.ConnectTimeout("late")})
    async with _gateway(stub) as gateway:
        for asked in (gateway.submit(agent="a", run_input={}), gateway.run(RUN_ID)):
            with pytest.raises(NoGateway, match=r"no gateway at http://gateway\.test: is `holdfast up` running"):
                await asked
    assert len(stub.requests) == 2


async def test_f58_a_submit_whose_answer_got_lost_is_the_same_submit() -> None:
    lost: list[object] = [
        httpx2.ReadError("lost"), httpx2.ConnectError("restarting"), problem(503, "draining", "stopping"), run_shown(),
    ]  # fmt: skip
    stub = StubGateway(answers={"POST /v1/runs": lost})
    async with _gateway(stub) as gateway:
        run = await gateway.submit(agent="assistant", run_input={"messages": []}, thread_id="chat")
    assert run["id"] == RUN_ID
    assert len({headers["idempotency-key"] for _, headers, _ in stub.requests}) == 1
    assert {str(body) for _, _, body in stub.requests} == {
        str({"agent": "assistant", "input": {"messages": []}, "thread_id": "chat"})
    }


async def test_two_submits_are_two() -> None:
    stub = StubGateway(answers={"POST /v1/runs": run_shown()})
    async with _gateway(stub) as gateway:
        for _ in range(2):
            await gateway.submit(agent="assistant", run_input={})
    assert len({headers["idempotency-key"] for _, headers, _ in stub.requests}) == 2
    assert all("thread_id" not in body for _, _, body in stub.requests)


@pytest.mark.parametrize(
    ("key", "answer", "error", "words"),
    [
        (
            None,
            problem(401, "key_missing", "send a key"),
            ApiRefused,
            "wants a key: give one with --key or HOLDFAST_KEY",
        ),
        ("hf_x", problem(401, "key_invalid", "not known"), ApiRefused, "refuses this key: not known"),
        (None, problem(404, "run_not_found", "no run 'x'"), ApiRefused, "^no run 'x'$"),
        (None, problem(403, "host_not_loopback", "not from there"), ApiRefused, "^not from there$"),
        (None, httpx2.Response(404, text="<html>"), NotAGateway, "answered 404 Not Found: is it a Holdfast gateway"),
        (None, httpx2.Response(200, text="<html>"), NotAGateway, "did not answer with JSON"),
        (None, httpx2.Response(502), NoGateway, "cannot do it now: HTTP 502"),
        (None, httpx2.ReadTimeout("late"), NoGateway, "did not answer in time"),
        (None, httpx2.RemoteProtocolError("cut"), NoGateway, "broke the connection"),
    ],
)
async def test_errors_are_words(key: str | None, answer: object, error: type[Exception], words: str) -> None:
    stub = StubGateway(answers={RUN: answer})
    async with _gateway(stub, key) as gateway:
        with pytest.raises(error, match=words):
            await gateway.run(RUN_ID)
    assert stub.requests[0][1].get("authorization") == (f"Bearer {key}" if key else None)


async def test_an_unknown_agent_is_met_with_those_that_there_are() -> None:
    body = {"status": 422, "code": "unknown_agent", "detail": "no such agent 'x'", "known": ["assistant", "echo"]}
    refused = httpx2.Response(422, json=body, headers={"content-type": "application/problem+json"})
    async with _gateway(StubGateway(answers={"POST /v1/runs": refused})) as gateway:
        with pytest.raises(ApiRefused, match=r"^no such agent 'x'; there are assistant, echo$"):
            await gateway.submit(agent="x", run_input={})


async def test_what_streams_something_else_is_no_gateway() -> None:
    page = httpx2.Response(200, text="<html>", headers={"content-type": "text/html"})
    with pytest.raises(NotAGateway, match="does not stream as Holdfast does"):
        await _ids(StubGateway(connections=[Connection(refused=page)]))


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://here", "http://", ""])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(NotAGateway, match="is not the URL of a gateway"):
        Gateway(url, None)


async def test_a_list_is_read_over_its_pages_and_no_further_than_wanted() -> None:
    pages = [
        {"items": [{"id": n} for n in range(200)], "next_cursor": "c1"},
        {"items": [{"id": n} for n in range(200, 250)], "next_cursor": "c2"},
    ]
    stub = StubGateway(answers={"GET /v1/runs": pages})
    async with _gateway(stub) as gateway:
        runs = await gateway.runs(statuses=["queued", "running"], agent=None, limit=250)
    assert [run["id"] for run in runs] == list(range(250))
    assert [asked for _, _, asked in stub.requests] == [
        "status=queued&status=running&limit=200",
        "status=queued&status=running&limit=50&cursor=c1",
    ]
