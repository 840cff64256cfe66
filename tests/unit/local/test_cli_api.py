"""What commands ask of a gateway, and its errors in words. How it is asked is the client's (``tests/unit/client``)."""

from __future__ import annotations

from contextlib import aclosing

import httpx2
import pytest

from holdfast.runs import EventId
from holdfast_local import api
from holdfast_local.answers import ApiRefused, NoGateway, NotAGateway
from holdfast_local.api import Gateway
from tests.unit.local.stub_gateway import RUN_ID, Connection, StubGateway, deltas, problem

DONE = ("1-9", "run.completed", {"output": None})
RUN = f"GET /v1/runs/{RUN_ID}"


def _gateway(stub: StubGateway, key: str | None = None) -> Gateway:
    return Gateway("http://gateway.test", key, transport=stub.transport())


async def _ids(stub: StubGateway, *, after: str | None = None, links: list[str | None] | None = None) -> list[str]:
    start = EventId.parse(after) if after else None
    async with _gateway(stub) as gateway:
        on_link = links.append if links is not None else None
        async with aclosing(gateway.follow(RUN_ID, after=start, on_link=on_link)) as events:
            return [str(event.id) async for event in events]


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


async def test_json_of_another_service_is_no_gateways() -> None:
    stub = StubGateway(answers={RUN: {"hello": 1}, "GET /v1/runs": ["hello"]})
    async with _gateway(stub) as gateway:
        for asked in (gateway.run(RUN_ID), gateway.runs(limit=5)):
            with pytest.raises(NotAGateway, match=r"http://gateway\.test does not answer as Holdfast does"):
                await asked


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
